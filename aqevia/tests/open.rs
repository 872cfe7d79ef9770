//! A store is opened by its URL, or refused with what to do.

use aqevia::{Error, ErrorKind};

fn refusal(url: &str) -> Option<Error> {
    aqevia::open(url).err()
}

#[test]
fn memory_and_null_are_always_there() {
    assert!(aqevia::open("memory:").is_ok());
    assert!(aqevia::open("null:").is_ok());
}

#[test]
fn an_unknown_scheme_names_those_there_are() {
    let error = refusal("mysql:storage").unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(
        error.to_string(),
        "open store mysql:storage: scheme \"mysql\" is not known; there are memory, null, sqlite"
    );
}

#[test]
fn an_unknown_parameter_is_refused() {
    let error = refusal("memory:?colour=red").unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("\"colour\""), "{error}");
    assert_eq!(refusal("memory:here").unwrap().kind(), ErrorKind::Invalid);
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn a_scheme_without_its_feature_names_the_feature() {
    let error = refusal("sqlite:storage.sqlite").unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("feature `sqlite`"), "{error}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_url_opens_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("storage.sqlite");
    let store = aqevia::open(&format!("sqlite:{}?pool_size=2", path.display())).unwrap();
    assert!(!path.exists(), "nothing is written before `init`");
    let info = store.init(aqevia::SchemaPolicy::Upgrade).await.unwrap();
    assert!(info.engine.starts_with("SQLite"), "{}", info.engine);
    store.close().await.unwrap();
    let error = refusal("sqlite:storage.sqlite?colour=red").unwrap();
    assert!(error.to_string().contains("\"colour\""), "{error}");
}
