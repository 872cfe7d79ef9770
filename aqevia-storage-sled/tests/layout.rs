//! Whose a folder is, and stores that were never finished.

use std::fs;

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};

use crate::store::{Folder, arda, backend, log, open, with_an_event};

const POLICIES: [SchemaPolicy; 2] = [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment];
const STAMP: &str = "aqevia-storage-sled layout 1\n";
const UNFINISHED: &str = "aqevia-storage-sled layout 1 unfinished\n";

async fn refuse(folder: &Folder, policy: SchemaPolicy, kind: ErrorKind, says: &str) {
    let before = folder.files();
    let error = backend(folder.config()).init(policy).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert_eq!(folder.files(), before, "a refused folder stays as it was");
}

#[tokio::test]
async fn an_empty_folder_and_one_that_is_not_there_become_stores() {
    for is_there in [true, false] {
        let folder = Folder::new();
        if is_there {
            fs::create_dir(folder.store()).unwrap();
        }
        with_an_event(&folder).await;
        assert_eq!(
            fs::read_to_string(folder.of("aqevia.layout")).unwrap(),
            STAMP
        );
        assert!(folder.of("sled/db").is_file());
        assert!(!folder.of("aqevia.layout.draft").exists());
    }
}

#[tokio::test]
async fn the_folder_above_has_to_be_there() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.folder = folder.of("deeper");
    let error = backend(config).init(SchemaPolicy::Upgrade).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("create it first"), "{error}");
    assert!(!folder.store().exists());
}

#[tokio::test]
async fn a_file_in_the_place_of_the_folder_is_refused() {
    let folder = Folder::new();
    fs::write(folder.store(), "a file").unwrap();
    for policy in POLICIES {
        let error = backend(folder.config()).init(policy).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("is no folder"), "{error}");
    }
    assert_eq!(fs::read_to_string(folder.store()).unwrap(), "a file");
}

#[tokio::test]
async fn a_folder_with_something_else_in_it_is_refused_untouched() {
    for name in ["notes.txt", "aqevia.layout.old", "sled", "db"] {
        let folder = Folder::new();
        fs::create_dir(folder.store()).unwrap();
        fs::write(folder.of(name), "mine").unwrap();
        for policy in POLICIES {
            refuse(&folder, policy, ErrorKind::Incompatible, "choose another").await;
        }
    }
}

#[tokio::test]
async fn another_programs_sled_is_refused_untouched() {
    let folder = Folder::new();
    let db = sled::open(folder.store()).unwrap();
    db.insert("a", "b").unwrap();
    db.flush().unwrap();
    drop(db);
    for policy in POLICIES {
        refuse(&folder, policy, ErrorKind::Incompatible, "no store of ours").await;
    }
}

#[tokio::test]
async fn a_strange_stamp_is_refused_untouched() {
    for stamp in ["", "aqevia", "another program's layout 1\n"] {
        let folder = Folder::new();
        with_an_event(&folder).await;
        fs::write(folder.of("aqevia.layout"), stamp).unwrap();
        for policy in POLICIES {
            refuse(&folder, policy, ErrorKind::Incompatible, "no store of ours").await;
        }
    }
}

#[tokio::test]
async fn a_newer_layout_is_refused_untouched_with_what_to_do() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    for stamp in [
        "aqevia-storage-sled layout 2\n",
        "aqevia-storage-sled layout 2 unfinished\n",
    ] {
        fs::write(folder.of("aqevia.layout"), stamp).unwrap();
        let says = "its layout is version 2, and this program knows version 1: use";
        refuse(
            &folder,
            SchemaPolicy::Upgrade,
            ErrorKind::Incompatible,
            says,
        )
        .await;
    }
}

#[tokio::test]
async fn a_stamp_of_ours_that_names_no_layout_is_corrupt() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    fs::write(folder.of("aqevia.layout"), "aqevia-storage-sled layout ?\n").unwrap();
    let says = "names no layout";
    refuse(&folder, SchemaPolicy::Upgrade, ErrorKind::Corrupt, says).await;
}

#[tokio::test]
async fn a_reset_that_was_interrupted_is_finished_by_the_next_init_under_any_policy() {
    for policy in POLICIES {
        let folder = Folder::new();
        with_an_event(&folder).await;
        // The moment after the first stamp of a reset: the old rows are still there.
        fs::write(folder.of("aqevia.layout"), UNFINISHED).unwrap();
        let store = backend(folder.config());
        store.init(policy).await.unwrap();
        assert!(log(&*store, &arda()).await.is_empty());
        store.close().await.unwrap();
        with_an_event(&folder).await;
    }
}

#[tokio::test]
async fn a_store_whose_creation_was_interrupted_is_made_anew() {
    type Leave = fn(&Folder);
    let steps: [Leave; 6] = [
        |folder| fs::write(folder.of("aqevia.lock"), "").unwrap(),
        |folder| fs::write(folder.of("aqevia.layout.draft"), "aqevia-st").unwrap(),
        |folder| fs::write(folder.of("aqevia.layout"), UNFINISHED).unwrap(),
        |folder| fs::create_dir_all(folder.of("sled/blobs")).unwrap(),
        |folder| fs::write(folder.of("sled/conf"), "segment_size: 2").unwrap(),
        |folder| fs::write(folder.of("sled/db"), [7; 100]).unwrap(),
    ];
    for reached in 1..=steps.len() {
        let folder = Folder::new();
        fs::create_dir(folder.store()).unwrap();
        steps[..reached].iter().for_each(|leave| leave(&folder));
        with_an_event(&folder).await;
        let store = open(folder.config()).await;
        assert_eq!(log(&*store, &arda()).await.len(), 1, "after step {reached}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_a_kill_while_opening_leaves_is_cleared() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    let leftover = folder.of("sled/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&leftover, "half").unwrap();
    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    assert!(!leftover.exists());
}

#[tokio::test]
async fn what_is_being_made_by_another_is_not_cleared() {
    let folder = Folder::new();
    let first = open(folder.config()).await;
    let theirs = folder.of("sled/snap.0000000000000001.generating");
    fs::write(&theirs, "half").unwrap();
    let second = backend(folder.impatient())
        .init(SchemaPolicy::Upgrade)
        .await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(theirs.exists());
    first.close().await.unwrap();
}
