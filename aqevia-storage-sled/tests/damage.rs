//! Files that are damaged, and rows that cannot be right.

use std::fs::{self, OpenOptions};
use std::sync::Arc;

use aqevia_storage::{
    Batch, ErrorKind, Limit, LogRange, Reads, SchemaPolicy, StateRange, StorageBackend,
};

use crate::store::{
    Folder, Writer, arda, backend, claim, event, json, log, numenor, open, put, with_an_event,
};

async fn init_kind(folder: &Folder) -> ErrorKind {
    let init = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
    let error = init.unwrap_err();
    assert!(error.to_string().contains("from a copy"), "{error}");
    error.kind()
}

#[tokio::test]
async fn a_store_whose_files_are_gone_is_corrupt_and_not_made_anew() {
    for lost in ["sled/db", "sled"] {
        let folder = Folder::new();
        with_an_event(&folder).await;
        let path = folder.of(lost);
        match path.is_dir() {
            true => fs::remove_dir_all(path).unwrap(),
            false => fs::remove_file(path).unwrap(),
        }
        assert_eq!(init_kind(&folder).await, ErrorKind::Corrupt, "{lost}");
        assert_eq!(init_kind(&folder).await, ErrorKind::Corrupt, "{lost} again");
    }
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_corrupt_and_not_an_empty_store() {
    for length in [0, 100] {
        let folder = Folder::new();
        with_an_event(&folder).await;
        let db = OpenOptions::new().write(true).open(folder.of("sled/db"));
        db.unwrap().set_len(length).unwrap();
        assert_eq!(
            init_kind(&folder).await,
            ErrorKind::Corrupt,
            "{length} bytes"
        );
    }
}

#[tokio::test]
async fn a_file_full_of_noise_is_corrupt_however_sled_takes_it() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    let path = folder.of("sled/db");
    let noise: Vec<u8> = (0_u32..)
        .map(|n| (n.wrapping_mul(n) >> 3) as u8)
        .take(2 << 20)
        .collect();
    fs::write(path, noise).unwrap();
    assert_eq!(init_kind(&folder).await, ErrorKind::Corrupt);
}

#[tokio::test]
async fn settings_of_another_sled_are_incompatible() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    fs::remove_dir_all(folder.of("sled")).unwrap();
    let other = sled::Config::new().path(folder.of("sled"));
    drop(other.segment_size(1 << 19).open().unwrap());
    let init = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
    assert_eq!(init.unwrap_err().kind(), ErrorKind::Incompatible);
}

/// Changes a value of a tree: its first key's, by a function of the bytes.
fn damage(folder: &Folder, tree: &str, change: impl Fn(&mut Vec<u8>)) {
    let db = folder.sled();
    let tree = db.open_tree(tree).unwrap();
    let (key, value) = tree.first().unwrap().unwrap();
    let mut value = value.to_vec();
    change(&mut value);
    tree.insert(key, value).unwrap();
}

#[tokio::test]
async fn rows_that_cannot_be_right_are_corrupt_and_named() {
    for (tree, says) in [
        ("log", "row 1 of log cannot be right"),
        ("state", "a row of state cannot be right"),
        ("worlds", "the row of world \"arda\" cannot be right"),
    ] {
        for change in [
            |value: &mut Vec<u8>| value.truncate(value.len() - 1),
            |value: &mut Vec<u8>| value.push(0),
            |value: &mut Vec<u8>| value.clear(),
        ] {
            let folder = Folder::new();
            let store = open(folder.config()).await;
            let mut writer = Writer::claim(&store, &arda()).await;
            let put = put(&arda(), "a", json("1"));
            writer.persist(vec![put]).await.unwrap();
            store.close().await.unwrap();
            damage(&folder, tree, change);

            let store = open(folder.config()).await;
            let log = store.log(&arda(), LogRange::ALL, Limit::default()).await;
            let state = store
                .state(&arda(), StateRange::all(), Limit::default())
                .await;
            let errors = [log.err(), state.err()].into_iter().flatten();
            let errors: Vec<_> = errors.collect();
            assert!(!errors.is_empty(), "{tree}");
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{tree}");
                assert!(error.to_string().contains(says), "{error}");
            }
            assert_eq!(
                store.usage(&arda()).await.unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
}

#[tokio::test]
async fn a_payload_that_misses_a_piece_is_corrupt() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let large = event(&arda(), vec![7; 100_000]);
    writer.persist(vec![large]).await.unwrap();
    store.close().await.unwrap();
    let db = folder.sled();
    db.open_tree("chunks").unwrap().pop_min().unwrap().unwrap();
    drop(db);
    let store = open(folder.config()).await;
    let page = store.log(&arda(), LogRange::ALL, Limit::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error
            .to_string()
            .contains("83616 bytes are there of a payload of 100000"),
        "{error}"
    );
}

#[tokio::test]
async fn a_damaged_world_does_not_hold_up_the_others() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let damaged = Writer::claim(&store, &arda()).await;
    let sound = Writer::claim(&store, &numenor()).await;
    let parts = vec![
        Arc::new(damaged.part(vec![event(&arda(), json("1"))])),
        Arc::new(sound.part(vec![event(&numenor(), json("1"))])),
    ];
    drop((damaged, sound));
    store.close().await.unwrap();
    damage(&folder, "worlds", Vec::clear);

    let store = open(folder.config()).await;
    let results = store.persist_batch(Batch::new(parts).unwrap()).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(results[1].as_ref().unwrap().count, 1);
    assert_eq!(log(&*store, &numenor()).await.len(), 1);
    assert_eq!(
        claim(&store, &arda()).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    assert_eq!(
        (store.stats().flush_count, store.stats().errors.total()),
        (1, 2)
    );
}
