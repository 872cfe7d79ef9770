//! Turns to read, and snapshots, which keep their world from being written.

use std::time::Duration;

use aqevia_storage::{Batch, ErrorKind, Limit, LogRange, Reads, StorageBackend};

use crate::store::{
    Folder, Writer, arda, claim, event, json, log, numenor, open, persist, put, state,
};

#[tokio::test]
async fn a_snapshot_ends_at_its_age_and_its_writer_goes_on() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.snapshot_age_max = Duration::from_millis(100);
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    assert!(log(&*snapshot, &arda()).await.is_empty());
    tokio::time::timeout(Duration::from_secs(30), async {
        let records = || vec![event(&arda(), json("1"))];
        while let Err(error) = writer.persist(records()).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("snapshot_age_max_ms"), "{error}");
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
    let error = page.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "read snapshot of \"arda\": it is older than 100 ms: take another, or raise \
         snapshot_age_max_ms"
    );
}

#[tokio::test]
async fn beside_a_snapshot_its_world_can_be_claimed_and_parts_are_still_answered() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let first = writer.part(vec![event(&arda(), json("1"))]);
    let first = Batch::from(first);
    store.persist_batch(first.clone()).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();

    let claimed = claim(&store, &arda()).await.unwrap();
    assert_eq!(claimed.epoch.get(), 2);
    let repeated = store.persist_batch(first).await.pop().unwrap().unwrap();
    assert!(repeated.repeated, "a part that is there is answered");
    let fenced = writer.persist(vec![event(&arda(), json("2"))]).await;
    assert_eq!(fenced.unwrap_err().kind(), ErrorKind::Fenced);
    let next = Writer::claim(&store, &arda()).await;
    let held = persist(&store, next.part(vec![event(&arda(), json("2"))])).await;
    assert_eq!(held.unwrap_err().kind(), ErrorKind::Unavailable);
    let empty = persist(&store, next.part(Vec::new())).await;
    assert_eq!(empty.unwrap().count, 0);
    assert_eq!(log(&*snapshot, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_world_is_held_until_its_last_snapshot_is_dropped() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let [first, second] = [
        store.snapshot(&arda()).await.unwrap(),
        store.snapshot(&arda()).await.unwrap(),
    ];
    let records = || vec![event(&arda(), json("1"))];
    drop(first);
    let held = writer.persist(records()).await;
    assert_eq!(held.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(second);
    writer.persist(records()).await.unwrap();
}

#[tokio::test]
async fn counting_does_not_hold_a_world() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let puts = (0..3000).map(|n| put(&arda(), &format!("{n}"), json("1")));
    writer.persist(puts.collect()).await.unwrap();
    let counting = tokio::spawn({
        let store = std::sync::Arc::clone(&store);
        async move {
            let mut counts = Vec::new();
            for _ in 0..20 {
                counts.push(store.usage(&arda()).await.unwrap());
            }
            counts
        }
    });
    let mut parts = 1;
    while !counting.is_finished() {
        let record = put(&arda(), &format!("{}", parts % 50), json("1"));
        writer.persist(vec![record]).await.unwrap();
        parts += 1;
    }
    for usage in counting.await.unwrap() {
        assert_eq!(usage.state_keys, 3000);
        let records = 3000 + usage.parts - 1;
        assert_eq!(
            usage.log_records, records,
            "log and parts are of one moment"
        );
    }
}

#[tokio::test]
async fn closing_ends_snapshots_and_dropping_does_too() {
    let folder = Folder::new();
    for close in [true, false] {
        let store = open(folder.config()).await;
        let snapshot = store.snapshot(&arda()).await.unwrap();
        if close {
            store.close().await.unwrap();
        }
        drop(store);
        // It waits for the backend before to let go.
        open(folder.config()).await.close().await.unwrap();
        let page = snapshot.log(&arda(), LogRange::ALL, Limit::default()).await;
        assert_eq!(page.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn a_read_that_was_given_up_leaves_its_turn_to_another() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.pool.size = 1;
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &numenor()).await;
    let put = put(&numenor(), "a", json("1"));
    writer.persist(vec![put]).await.unwrap();
    let world = numenor();
    for _ in 0..10 {
        tokio::select! {
            biased;
            _ = store.log(&world, LogRange::ALL, Limit::default()) => {}
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(state(&*store, &numenor()).await.len(), 1);
}
