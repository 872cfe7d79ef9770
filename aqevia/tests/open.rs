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
        "open store: scheme \"mysql\" is not known; there are memory, null, postgres, sled, sqlite"
    );
}

#[test]
fn a_password_is_not_shown_when_the_scheme_is_forgotten() {
    for url in [
        "engine:hunter2@127.0.0.1:51987/worlds",
        "engine:hunter2%40host/worlds",
        "engine:hunter2",
    ] {
        let error = refusal(url).unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn the_url_of_a_server_is_no_file_and_its_password_is_not_shown() {
    for scheme in ["sqlite", "sled", "memory", "null"] {
        for location in [
            "postgres://engine:hunter2@host/worlds",
            "//engine:hunter2@host/worlds",
            "///engine:hunter2@host/worlds",
            "engine:hunter2@host/worlds",
        ] {
            let error = refusal(&format!("{scheme}:{location}")).unwrap();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_file_with_an_at_in_its_name_is_opened_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me@here").join("worlds.sqlite");
    let url = format!("sqlite:{}", path.display());
    let store = aqevia::open(&url).unwrap();
    let error = store.init(aqevia::SchemaPolicy::Upgrade).await.unwrap_err();
    assert!(error.to_string().contains("me@here"), "{error}");
    std::fs::create_dir(folder.path().join("me@here")).unwrap();
    let store = aqevia::open(&url).unwrap();
    store.init(aqevia::SchemaPolicy::Upgrade).await.unwrap();
    store.close().await.unwrap();
}

#[test]
fn an_unknown_parameter_is_refused() {
    for url in ["memory:?colour=red", SQLITE, POSTGRES, SLED] {
        let error = refusal(url).unwrap();
        if error.kind() == ErrorKind::Unsupported {
            continue; // without its feature, which the next test looks at
        }
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("\"colour\""), "{error}");
    }
    assert_eq!(refusal("memory:here").unwrap().kind(), ErrorKind::Invalid);
}

const SQLITE: &str = "sqlite:storage.sqlite?colour=red";
const POSTGRES: &str = "postgres://engine:hunter2@localhost/worlds?colour=red";
const SLED: &str = "sled:storage?colour=red";

/// Each scheme, whether its feature is on, and a URL.
const SCHEMES: [(&str, bool, &str); 3] = [
    ("sqlite", cfg!(feature = "sqlite"), "sqlite:storage.sqlite"),
    (
        "postgres",
        cfg!(feature = "postgres"),
        "postgres://engine:hunter2@localhost/worlds",
    ),
    ("sled", cfg!(feature = "sled"), "sled:storage"),
];

#[tokio::test]
async fn a_scheme_opens_with_its_feature_and_names_it_without() {
    for (feature, on, url) in SCHEMES {
        let error = refusal(url);
        assert_eq!(error.is_none(), on, "{url}: {error:?}");
        let Some(error) = error else { continue };
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(
            message.contains(&format!("feature `{feature}`")),
            "{message}"
        );
        assert!(!message.contains("hunter2"), "{message}");
    }
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
}

#[cfg(feature = "sled")]
#[tokio::test]
async fn a_url_opens_sled() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("storage");
    let store = aqevia::open(&format!("sled:{}", path.display())).unwrap();
    assert!(!path.exists(), "nothing is written before `init`");
    let info = store.init(aqevia::SchemaPolicy::Upgrade).await.unwrap();
    assert!(info.engine.starts_with("sled"), "{}", info.engine);
    store.close().await.unwrap();
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_url_opens_postgres() {
    let store = aqevia::open("postgres://engine:hunter2@127.0.0.1:1/worlds").unwrap();
    let error = store.init(aqevia::SchemaPolicy::Upgrade).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}
