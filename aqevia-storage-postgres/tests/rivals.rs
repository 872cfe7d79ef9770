//! Writers that take a world from each other while they write to it.

use std::sync::Arc;

use aqevia_storage::{ErrorKind, Result, StorageBackend};
use aqevia_storage_postgres::Postgres;
use tokio::task::JoinSet;

use crate::store::{Schema, Writer, arda, claim, event, json, log, open, put, state, texts};

const WRITERS: usize = 3;
const PARTS: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_that_fence_each_other_leave_one_chain() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut rivals = JoinSet::new();
    for _ in 0..WRITERS {
        rivals.spawn(write_parts(Arc::clone(&store)));
    }
    let written: Vec<_> = rivals.join_all().await.into_iter().flatten().collect();
    assert_eq!(written.len(), WRITERS * PARTS);

    let rows = log(&*store, &arda()).await;
    let sequences: Vec<_> = rows.iter().map(|row| row.sequence.get()).collect();
    let count = 2 * written.len() as u64;
    assert_eq!(
        sequences,
        (1..=count).collect::<Vec<_>>(),
        "no gap, nothing twice"
    );
    for (first, payload) in written {
        let row = &rows[usize::try_from(first).unwrap() - 1];
        assert_eq!(
            row.record.payload(),
            Some(&json(&payload)),
            "each part at its receipt"
        );
    }
    assert_eq!(state(&*store, &arda()).await.len(), 1);
    // A part of an epoch that comes after one of a later epoch went through a fence.
    let chain = "SELECT number::text FROM (
                     SELECT number, epoch < lag(epoch) OVER parts AS late,
                         first <> coalesce(lag(first + count) OVER parts, 1) AS apart
                     FROM world_batches WINDOW parts AS (ORDER BY number)
                 ) AS chain WHERE late OR apart";
    assert!(texts(&mut schema.sql().await, chain).await.is_empty());
    assert_eq!(store.stats().flush_count, (WRITERS * PARTS) as u64);
}

/// Persists parts, and claims the world again whenever it was fenced. The first sequence and the
/// payload of each part.
async fn write_parts(store: Arc<Postgres>) -> Vec<(u64, String)> {
    let mut writer = claimed(&store).await;
    let mut written = Vec::new();
    while written.len() < PARTS {
        // Payloads differ by part, so that each part is another.
        let payload = format!("\"{} of {:?}\"", written.len(), tokio::task::id());
        let records = vec![event(&arda(), json(&payload)), put(&arda(), "a", json("1"))];
        match writer.persist(records).await {
            Ok(receipt) => written.push((receipt.first.get(), payload)),
            Err(error) if error.kind() == ErrorKind::Unavailable => tokio::task::yield_now().await,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Fenced, "{error:?}");
                writer = claimed(&store).await;
            }
        }
    }
    written
}

async fn claimed(store: &Arc<Postgres>) -> Writer {
    loop {
        let claimed: Result<_> = claim(store, &arda()).await;
        match claimed {
            Ok(claim) => return Writer::of(store, &arda(), &claim),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
        }
    }
}
