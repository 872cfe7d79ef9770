//! Writes for which there is no room.
//!
//! A test starts its own binary again, where files may grow up to a limit only: a write past it
//! fails as one to a full disk does. The limit is that of a shell, and the signal that goes with
//! it is ignored there, so that the child gets the error. The child raises the limit by itself.
#![cfg(unix)]

use std::env;
use std::process::Command;
use std::time::Duration;

use aqevia_storage::{ErrorKind, Limit, LogRange, Reads, StorageBackend};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::store::{Folder, Writer, arda, event, log, numenor, open};

const PATH: &str = "AQEVIA_TEST_SLED_ROOM";

#[test]
fn a_store_that_found_no_room_goes_on_when_there_is_some() {
    let folder = Folder::new();
    let script = r#"trap '' XFSZ; ulimit -S -f 20480; exec "$0" --exact "$1" --nocapture"#;
    let output = Command::new("sh")
        .args(["-c", script])
        .arg(env::current_exe().unwrap())
        .arg("room::child_with_little_room")
        .env(PATH, folder.store())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
}

/// The child of the test above; by itself it has nothing to show.
#[tokio::test]
async fn child_with_little_room() {
    let Some(path) = env::var_os(PATH) else {
        return;
    };
    let config = aqevia_storage_sled::SledConfig::new(path);
    let store = open(config.clone()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = || vec![event(&arda(), vec![7; 100_000])];
    let (mut parts, mut tries) = (0, 250);
    let failed = loop {
        match writer.persist(records()).await {
            Ok(_) => parts += 1,
            Err(error) => break error,
        }
    };
    assert!(parts > 10, "there was some room: {parts}");
    assert!(
        matches!(failed.kind(), ErrorKind::Full | ErrorKind::Ambiguous),
        "{failed:?}"
    );
    raise_limit();
    // It is not known whether the part is in; the same again is.
    let receipt = loop {
        match writer.persist(records()).await {
            // sled's threads take a moment to let go of a store that failed.
            Err(error) if error.kind() == ErrorKind::Unavailable && tries > 0 => {
                tries -= 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            persisted => break persisted.unwrap(),
        }
    };
    assert_eq!(receipt.first.get(), parts + 1);
    assert_eq!(log(&*store, &arda()).await.len() as u64, parts + 1);
    Writer::claim(&store, &numenor()).await;
    store.close().await.unwrap();

    let store = open(config).await;
    let page = store.log(&arda(), LogRange::ALL, Limit::items(1)).await;
    assert_eq!(page.unwrap().head.get(), parts + 1);
}

fn raise_limit() {
    let limit = getrlimit(Resource::Fsize);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Fsize, raised).unwrap();
}
