//! What is this backend's own: the file, what is beside it, and what is in its place.

use std::fs;

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};
use conformance::Harness;
use redb::Database;

use crate::backend::Redb;
use crate::harness::{RedbHarness, foreign, newer_layout};

const POLICIES: [SchemaPolicy; 2] = [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment];

/// `init` answers a kind, and leaves every byte.
async fn refuses(harness: &RedbHarness, policy: SchemaPolicy, kind: ErrorKind) {
    let before = fs::read(&harness.file).ok();
    let backend = harness.open().await;
    let refused = backend.init(policy).await.unwrap_err();
    assert_eq!(refused.kind(), kind, "{refused:?}");
    backend.close().await.unwrap();
    assert!(
        fs::read(&harness.file).ok() == before,
        "{refused:?} changes a byte"
    );
}

#[tokio::test]
async fn another_programs_file_that_was_not_closed_is_refused_untouched() {
    let harness = RedbHarness::new().await;
    let open = harness.file.with_extension("open");
    let _program = foreign(&open);
    fs::copy(&open, &harness.file).unwrap();
    for policy in POLICIES {
        refuses(&harness, policy, ErrorKind::Incompatible).await;
    }
}

#[tokio::test]
async fn a_newer_store_that_was_not_closed_is_refused_untouched() {
    let harness = RedbHarness::new().await;
    let newer = harness.file.with_extension("newer");
    newer_layout(&newer).await;
    let _program = Database::open(&newer).unwrap();
    fs::copy(&newer, &harness.file).unwrap();
    refuses(&harness, SchemaPolicy::Upgrade, ErrorKind::Incompatible).await;
}

#[tokio::test]
async fn a_file_that_is_none_of_redbs_is_refused_untouched() {
    for text in ["", "r", "redb, or something like it\n"] {
        let harness = RedbHarness::new().await;
        fs::write(&harness.file, text.repeat(500)).unwrap();
        for policy in POLICIES {
            refuses(&harness, policy, ErrorKind::Incompatible).await;
        }
    }
}

#[tokio::test]
async fn a_store_that_was_not_closed_needs_no_repair() {
    let harness = RedbHarness::new().await;
    let backend = harness.open().await;
    backend.init(SchemaPolicy::Upgrade).await.unwrap();
    let killed = harness.file.with_extension("killed");
    fs::copy(&harness.file, &killed).unwrap();
    let mut builder = Database::builder();
    builder.set_repair_callback(|repair| repair.abort());
    builder.open(&killed).unwrap();
}

#[tokio::test]
async fn what_a_kill_left_of_a_store_in_the_making_is_in_nobodys_way() {
    let harness = RedbHarness::new().await;
    let unfinished = harness.file.with_extension("redb.unfinished");
    fs::write(&unfinished, [0; 4096]).unwrap();
    let backend = harness.open().await;
    backend.init(SchemaPolicy::Upgrade).await.unwrap();
    assert!(!unfinished.exists(), "the file stays");
}

#[tokio::test]
async fn a_store_that_is_being_made_in_the_folder_is_unavailable() {
    let harness = RedbHarness::new().await;
    let folder = fs::File::open(harness.file.parent().unwrap()).unwrap();
    folder.lock().unwrap();
    refuses(&harness, SchemaPolicy::Upgrade, ErrorKind::Unavailable).await;
    folder.unlock().unwrap();
    let backend = harness.open().await;
    backend.init(SchemaPolicy::Upgrade).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_invalid() {
    let harness = RedbHarness::new().await;
    let path = harness.file.join("storage.redb");
    let refused = Redb::new(path).init(SchemaPolicy::Upgrade).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}
