//! Pages, and snapshots that hold a session.

use std::time::Duration;

use aqevia_storage::{
    Collection, ErrorKind, Fingerprint, Limit, LogRange, Owner, Reads, StateRange, StorageBackend,
    WorldRange,
};

use crate::store::{
    Schema, Writer, arda, event, fleets, json, key, log, open, put, run, state, texts,
};

#[tokio::test]
async fn a_read_that_gets_no_session_in_time_names_the_settings() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.pool.size = 1;
    config.pool.acquire_timeout = Duration::from_millis(200);
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    let page = store.log(&arda(), LogRange::ALL, Limit::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "read log of world \"arda\": none of 1 connections came free within 200 ms: ask less at \
         once, or raise pool_size or acquire_timeout_ms"
    );
    assert_eq!(store.stats().errors.total(), 1);
    // Writing has sessions of its own.
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();

    drop(snapshot);
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_snapshot_ends_at_its_age_and_gives_its_session_back() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.pool.size = 1;
    config.snapshot_age_max = Duration::from_millis(300);
    let store = open(config).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    assert!(
        log(&*store, &arda()).await.is_empty(),
        "the read waits for the snapshot to end"
    );

    let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "read snapshot of \"arda\": it is older than 300 ms, or its connection broke: take another, \
         or raise snapshot_age_max_ms"
    );
}

#[tokio::test]
async fn closing_ends_snapshots() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    store.close().await.unwrap();
    let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
    assert_eq!(page.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_snapshot_sees_the_store_as_it_was_when_it_was_taken() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
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
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = ["a", "b", "c"].map(|name| put(&arda(), name, json("1")));
    writer.persist(records.to_vec()).await.unwrap();
    let other = |name| Collection::new(name).unwrap();
    let in_fleets = || StateRange::collection(fleets());
    for (range, expected) in [
        (StateRange::all().after(fleets(), key("a")), 2),
        (in_fleets().after(fleets(), key("b")), 1),
        (in_fleets().after(other("earlier"), key("z")), 3),
        (in_fleets().after(other("later"), key("a")), 0),
        (StateRange::collection(other("empty")), 0),
        (StateRange::key(fleets(), key("b")), 1),
        (StateRange::key(fleets(), key("d")), 0),
        (
            StateRange::key(fleets(), key("b")).after(fleets(), key("a")),
            1,
        ),
        (
            StateRange::key(fleets(), key("b")).after(fleets(), key("b")),
            0,
        ),
    ] {
        let page = store.state(&arda(), range.clone(), Limit::default()).await;
        let page = page.unwrap();
        assert_eq!(
            (page.items.len(), page.head.get()),
            (expected, 3),
            "{range:?}"
        );
    }
}

#[tokio::test]
async fn a_page_ends_at_its_items_or_its_bytes() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    // Each is 7 bytes of collection, a key of one, and a payload of 2, 20, 0 and 2.
    let sizes = [("a", 2), ("b", 20), ("c", 0), ("d", 2)];
    let records = sizes.map(|(name, size)| put(&arda(), name, json(&"x".repeat(size))));
    let bytes: Vec<_> = records.iter().map(|record| record.bytes()).collect();
    writer.persist(records.to_vec()).await.unwrap();
    for (items, bytes, expected) in [
        (1, 1 << 20, 1),
        (3, 1 << 20, 3),
        (4, 1 << 20, 4),
        (9, 1 << 20, 4),
        (9, bytes[0] + bytes[1], 2),
        (9, bytes[0] + bytes[1] - 1, 1),
        (9, 0, 1),
        (0, 0, 1),
        (usize::MAX, usize::MAX, 4),
    ] {
        let limit = Limit { items, bytes };
        let log = store.log(&arda(), LogRange::ALL, limit).await.unwrap();
        let state = store
            .state(&arda(), StateRange::all(), limit)
            .await
            .unwrap();
        assert_eq!(
            (log.items.len(), state.items.len()),
            (expected, expected),
            "{limit:?}"
        );
        assert_eq!(
            (log.next.is_none(), state.next.is_none()),
            (expected == 4, expected == 4)
        );
    }
    let limit = Limit { items: 9, bytes: 0 };
    let worlds = store.worlds(WorldRange::all(), limit).await.unwrap();
    assert_eq!((worlds.items.len(), worlds.next), (1, None));
}

#[tokio::test]
async fn rows_that_cannot_be_right_are_corrupt_and_named() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    let mut sql = schema.sql().await;
    for (damage, undo) in [
        ("form = 2", "form = 1"),
        ("form = 9", "form = 1"),
        (
            "payload = NULL, payload_bytes = '\\xff'",
            "payload = '1', payload_bytes = NULL",
        ),
        ("payload = NULL", "payload = '1'"),
        ("payload_bytes = '\\x31'", "payload_bytes = NULL"),
        ("collection = 'Ä'", "collection = 'records'"),
        ("change = 9", "change = 3"),
        ("change = 1", "change = 3"),
        ("key = ''", "key = NULL"),
    ] {
        run(&mut sql, &format!("UPDATE world_records SET {damage}")).await;
        let page = store.log(&arda(), LogRange::ALL, Limit::default()).await;
        let error = page.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}");
        assert!(
            error.to_string().contains("row 1 of world_records"),
            "{error}"
        );
        run(&mut sql, &format!("UPDATE world_records SET {undo}")).await;
    }
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_state_without_a_payload_and_a_world_that_cannot_be_are_corrupt() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let record = put(&arda(), "key", json("1"));
    writer.persist(vec![record]).await.unwrap();
    let mut sql = schema.sql().await;
    run(&mut sql, "UPDATE world_state SET payload = NULL").await;
    let (world, range) = (arda(), StateRange::all());
    let state = store.state(&world, range, Limit::default()).await;
    let error = state.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("world_state"), "{error}");

    for (damage, undo) in [
        ("head = -1", "head = 1"),
        ("last_number = -1", "last_number = 1"),
        ("link = '\\xff'", "link = link"),
    ] {
        run(&mut sql, &format!("UPDATE worlds SET {damage}")).await;
        let owner = Owner::new("another").unwrap();
        let claim = store.claim(&arda(), &owner, Fingerprint([0; 32])).await;
        let error = claim.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{damage}: {error}");
        assert!(error.to_string().contains("worlds"), "{error}");
        run(&mut sql, &format!("UPDATE worlds SET {undo}")).await;
    }
}

#[tokio::test]
async fn sessions_that_read_cannot_write_and_bear_their_settings() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    let name = format!("of {}", config.schema);
    config.application_name = name.clone();
    config.statement_timeout = Some(Duration::from_millis(12_345));
    let store = open(config).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    let mut sql = schema.sql().await;
    let query = format!(
        "SELECT state FROM pg_stat_activity WHERE application_name = '{name}' ORDER BY state"
    );
    assert_eq!(
        texts(&mut sql, &query).await,
        ["idle", "idle in transaction"]
    );
    drop(snapshot);
    store.close().await.unwrap();
}
