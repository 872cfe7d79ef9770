//! Connections that read, and snapshots that hold one.

use std::time::Duration;

use aqevia_storage::{ErrorKind, Limit, LogRange, Reads, StateRange, StorageBackend};

use crate::store::{Folder, Writer, arda, event, json, key, log, open, put, state};

#[tokio::test(start_paused = true)]
async fn a_read_that_gets_no_connection_in_time_names_the_settings() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.pool.size = 1;
    config.pool.acquire_timeout = Duration::from_secs(3);
    let store = open(config).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    let error = store
        .log(&arda(), LogRange::ALL, Limit::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "read log of world \"arda\": none of 1 connections came free within 3000 ms: read less at \
         once, or raise pool_size or acquire_timeout_ms"
    );
    assert_eq!(store.stats().errors.total(), 1);

    drop(snapshot);
    assert!(log(&*store, &arda()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_ends_at_its_age_and_gives_its_connection_back() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.pool.size = 1;
    config.snapshot_age_max = Duration::from_secs(20);
    let store = open(config).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    assert!(state(&*snapshot, &arda()).await.is_empty());
    assert!(
        log(&*store, &arda()).await.is_empty(),
        "the read waits for the snapshot to end"
    );

    let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "read snapshot of \"arda\": it is older than 20000 ms: take another, or raise \
         snapshot_age_max_ms"
    );
}

#[tokio::test]
async fn closing_ends_snapshots() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    store.close().await.unwrap();
    let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
    assert_eq!(page.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_snapshot_sees_the_store_as_it_was_when_it_was_taken() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    writer
        .persist(vec![put(&arda(), "a", json("1"))])
        .await
        .unwrap();
    assert!(state(&*snapshot, &arda()).await.is_empty());
    assert_eq!(state(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_range_is_kept_whatever_comes_after_what() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = ["a", "b", "c"].map(|name| put(&arda(), name, json("1")));
    writer.persist(records.to_vec()).await.unwrap();
    let fleets = crate::store::fleets();
    let other = |name| aqevia_storage::Collection::new(name).unwrap();
    let in_fleets = || StateRange::collection(fleets.clone());
    for (range, expected) in [
        (StateRange::all().after(fleets.clone(), key("a")), 2),
        (in_fleets().after(fleets.clone(), key("b")), 1),
        (in_fleets().after(other("earlier"), key("z")), 3),
        (in_fleets().after(other("later"), key("a")), 0),
        (StateRange::key(fleets.clone(), key("b")), 1),
        (
            StateRange::key(fleets.clone(), key("b")).after(fleets.clone(), key("b")),
            0,
        ),
    ] {
        let page = store
            .state(&arda(), range.clone(), Limit::default())
            .await
            .unwrap();
        assert_eq!(page.items.len(), expected, "{range:?}");
    }
}

#[tokio::test]
async fn rows_that_cannot_be_right_are_corrupt_and_named() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    for damage in [
        "payload = x'00'",
        "payload = 5",
        "payload = NULL",
        "payload = CAST(x'ff' AS TEXT)",
        "collection = 'Ä'",
        "change = 9",
        "key = ''",
        "world_id = 'numenor'",
    ] {
        let undamaged = "SELECT id, world_id, collection, change, key, payload FROM world_records";
        let sql = folder.sql();
        sql.execute_batch(&format!("CREATE TEMP TABLE kept AS {undamaged}"))
            .unwrap();
        sql.execute(&format!("UPDATE world_records SET {damage}"), [])
            .unwrap();
        let page = store.log(&arda(), LogRange::ALL, Limit::default()).await;
        let error = page.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}");
        assert!(
            error
                .to_string()
                .contains("row 1099511627777 of world_records"),
            "{error}"
        );
        sql.execute(
            "UPDATE world_records SET (world_id, collection, change, key, payload)
                 = (SELECT world_id, collection, change, key, payload FROM kept)",
            [],
        )
        .unwrap();
    }
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}
