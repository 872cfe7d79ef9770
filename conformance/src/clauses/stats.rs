//! Stats: what a backend counts.

use std::sync::Arc;

use aqevia_storage::{ErrorKind, LogRange, StorageBackend, StorageStats, Usage, WorldId};

use crate::Harness;
use crate::contents::{WHOLE, everything};
use crate::harness::{open, reopen};
use crate::sample::{Kind, event, world};
use crate::writer::{Writer, persist, persist_all};

/// Each call moves the counts by what it did: written parts, and errors by their kind.
pub async fn s1_counts_are_exact<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let mut expected = StorageStats::default();
    let check = |expected: &StorageStats, what: &str| {
        assert_eq!(backend.stats(), *expected, "S1: the counts after {what}");
    };
    check(&expected, "`init`");
    let [one, two, three] = ["one", "two", "three"].map(world);
    let mut first = Writer::claim(&backend, &one).await;
    let second = Writer::claim(&backend, &two).await;
    let third = Writer::claim(&backend, &three).await;
    check(&expected, "claims");

    let records = vec![event(&one, "ü"), Kind::Fleets.put(&one, "key", "payload")];
    let bytes: usize = records.iter().map(|record| record.record().bytes()).sum();
    let part = first.part(records);
    first.persist(part.records().to_vec()).await;
    expected.flush_count = 1;
    expected.records = 2;
    expected.bytes = bytes as u64;
    expected.last_flush_at_ms = Some(part.at_ms());
    check(&expected, "a part");

    persist(&*backend, &part).await.expect("a part again");
    persist(&*backend, &first.part(Vec::new()))
        .await
        .expect("an empty part");
    everything(&*backend).await;
    check(&expected, "a repeated part, an empty part and reads");

    let wrong = second.part_numbered(5, vec![event(&two, "1")]);
    persist(&*backend, &wrong)
        .await
        .expect_err("a number that is skipped");
    expected.errors.add(ErrorKind::Invalid);
    check(&expected, "an invalid part");

    Writer::claim(&backend, &three).await;
    let fenced = third.part(vec![event(&three, "1")]);
    let good = first.part(vec![Kind::Treaties.delete(&one, "key")]);
    let parts = [&good, &fenced, &wrong].map(Arc::clone);
    persist_all(&*backend, &parts).await;
    expected.flush_count += 1;
    expected.records += 1;
    expected.bytes += good.bytes() as u64;
    expected.last_flush_at_ms = Some(good.at_ms());
    expected.errors.add(ErrorKind::Fenced);
    expected.errors.add(ErrorKind::Invalid);
    check(&expected, "a batch of which one part is good");

    backend.close().await.expect("`close`");
    check(&expected, "`close`");
    backend
        .log(&one, LogRange::ALL, WHOLE)
        .await
        .expect_err("a read after `close`");
    persist(&*backend, &good)
        .await
        .expect_err("a part after `close`");
    expected.errors.add(ErrorKind::Closed);
    expected.errors.add(ErrorKind::Closed);
    check(&expected, "calls after `close`");
}

/// A batch of several parts is one flush, and its time is that of its newest part.
pub async fn s1_a_batch_is_one_flush<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let [one, two] = ["one", "two"].map(world);
    let first = Writer::claim(&backend, &one).await;
    let mut second = Writer::claim(&backend, &two).await;
    second.claim.last_at_ms = 1000;
    let parts = [
        first.part(vec![event(&one, "1")]),
        second.part(vec![event(&two, "1")]),
    ];
    let answers = persist_all(&*backend, &parts).await;
    assert!(
        answers.iter().all(Result::is_ok),
        "S1: a batch of two parts is written"
    );
    let stats = backend.stats();
    assert_eq!(
        stats.flush_count, 1,
        "S1: a batch of two parts is one flush"
    );
    assert_eq!(stats.records, 2, "S1: the records of all parts are counted");
    assert_eq!(
        stats.last_flush_at_ms,
        Some(1001),
        "S1: the time of the newest part"
    );
}

/// `usage` counts a world's rows, keys, parts and payload bytes, and those of no other world.
pub async fn s2_usage_is_exact<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let [arda, other] = ["arda", "other"].map(world);
    check_usage(&*backend, &arda, Usage::default()).await;
    let mut writer = Writer::claim(&backend, &arda).await;
    check_usage(&*backend, &arda, Usage::default()).await;
    let first = vec![
        event(&arda, "four"),
        event(&arda, "\u{e9}\0"),
        Kind::Fleets.put(&arda, "a", "1"),
        Kind::Fleets.put(&arda, "b", "22"),
        Kind::Treaties.put(&arda, "a", "333"),
    ];
    writer.persist(first).await;
    writer.persist(vec![]).await;
    let second = vec![
        Kind::Fleets.put(&arda, "a", "55555"),
        Kind::Fleets.delete(&arda, "b"),
        Kind::Treaties.delete(&arda, "a"),
        Kind::Treaties.put(&arda, "c", ""),
    ];
    writer.persist(second).await;
    let mut elsewhere = Writer::claim(&backend, &other).await;
    elsewhere.persist(vec![event(&other, "of another")]).await;
    let expected = Usage {
        log_records: 5,
        log_bytes: 4 + 3 + 3,
        state_keys: 2,
        state_bytes: 5,
        parts: 2,
        ..Usage::default()
    };
    check_usage(&*backend, &arda, expected).await;
    let backend = reopen(harness, backend).await;
    check_usage(&*backend, &arda, expected).await;
}

async fn check_usage(backend: &dyn StorageBackend, world: &WorldId, expected: Usage) {
    let usage = backend.usage(world).await.expect("`usage`");
    let store_bytes = usage.store_bytes;
    let expected = Usage {
        store_bytes,
        ..expected
    };
    assert_eq!(usage, expected, "S2: the usage of world {world:?}");
}

/// A backend counts for itself: another over the same store starts from zero, while the first is
/// open where the store is `shared`, and after it elsewhere.
pub async fn s1_a_backend_counts_its_own<H: Harness>(harness: &H) {
    let backend = open(harness).await;
    let arda = world("arda");
    let mut writer = Writer::claim(&backend, &arda).await;
    writer.persist(vec![event(&arda, "1")]).await;
    let first = Arc::clone(&backend);
    let other = match harness.capabilities().shared {
        true => open(harness).await,
        false => reopen(harness, backend).await,
    };
    everything(&*other).await;
    assert_eq!(
        other.stats(),
        StorageStats::default(),
        "S1: a backend counts from zero"
    );
    let mut writer = Writer::claim(&other, &arda).await;
    writer.persist(vec![event(&arda, "2")]).await;
    let counts = [first.stats(), other.stats()].map(|stats| (stats.flush_count, stats.records));
    assert_eq!(
        counts,
        [(1, 1), (1, 1)],
        "S1: a backend counts what it did itself"
    );
}
