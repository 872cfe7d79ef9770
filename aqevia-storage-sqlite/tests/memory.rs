//! A store in memory.

use aqevia_storage::{Durability, ErrorKind, SchemaPolicy, StorageBackend, WorldRange};
use aqevia_storage_sqlite::SqliteConfig;

use crate::store::{Writer, arda, backend, event, json, log, open, put, state};

#[tokio::test]
async fn it_keeps_log_and_state_and_takes_snapshots() {
    let store = open(SqliteConfig::memory()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = vec![event(&arda(), json("1")), put(&arda(), "a", json("2"))];
    writer.persist(records).await.unwrap();
    let snapshot = store.snapshot(&arda()).await.unwrap();
    writer
        .persist(vec![put(&arda(), "a", json("3"))])
        .await
        .unwrap();

    assert_eq!(log(&*store, &arda()).await.len(), 3);
    assert_eq!(state(&*store, &arda()).await[0].payload, json("3"));
    assert_eq!(state(&*snapshot, &arda()).await[0].payload, json("2"));
    let worlds = store
        .worlds(WorldRange::all(), Default::default())
        .await
        .unwrap();
    assert_eq!(worlds.items.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn it_says_that_it_ends_with_its_process() {
    let store = backend(SqliteConfig::memory());
    let info = store.init(SchemaPolicy::Upgrade).await.unwrap();
    assert_eq!(info.capabilities.durability, Durability::None);
    assert!(!info.capabilities.shared);
}

#[tokio::test]
async fn two_of_them_share_nothing() {
    let (one, other) = (
        open(SqliteConfig::memory()).await,
        open(SqliteConfig::memory()).await,
    );
    let mut writer = Writer::claim(&one, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    assert!(log(&*other, &arda()).await.is_empty());
}

#[tokio::test]
async fn closing_ends_its_snapshots() {
    let store = open(SqliteConfig::memory()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    store.close().await.unwrap();
    let page = snapshot
        .state(&arda(), Default::default(), Default::default())
        .await;
    assert_eq!(page.unwrap_err().kind(), ErrorKind::Closed);
}
