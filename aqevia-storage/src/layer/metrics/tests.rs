use std::sync::Arc;
use std::time::Duration;

use metrics::set_default_local_recorder;

use super::*;
use crate::layer::held::{Held, batch, claim, claim_one, part, persist, world};
use crate::layer::{Timeout, Timeouts};
use crate::metric::kept::Kept;
use crate::{ErrorKind, Memory};

#[tokio::test(start_paused = true)]
async fn a_batch_is_measured_and_its_parts_are_counted() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let store = Metrics::new(Memory::new());
    claim(&store, &["a", "b"]).await;
    persist(&store, &part("a", 1)).await.unwrap();
    let parts = [part("a", 1), part("b", 1), part("c", 1)];
    let one = parts[0].bytes() as f64;
    store.persist_batch(batch(&parts.each_ref())).await;

    assert_eq!(kept.of("aqevia_backend_batch_parts"), [1.0, 3.0]);
    assert_eq!(kept.of("aqevia_backend_batch_records"), [1.0, 3.0]);
    assert_eq!(kept.of("aqevia_backend_batch_bytes"), [one, 3.0 * one]);
    assert_eq!(kept.of("aqevia_backend_part_records"), [1.0; 4]);
    assert_eq!(kept.of("aqevia_backend_part_bytes"), [one; 4]);
    assert_eq!(kept.of("aqevia_backend_persist_seconds"), [0.0, 0.0]);
    assert_eq!(kept.of("aqevia_backend_parts_persisted_total"), [1.0, 1.0]);
    assert_eq!(kept.of("aqevia_backend_parts_repeated_total"), [1.0]);
    let failed = "aqevia_backend_parts_failed_total{kind=invalid}";
    assert_eq!(kept.of(failed), [1.0]);
    assert_eq!(
        kept.of("aqevia_backend_records_persisted_total"),
        [1.0, 1.0]
    );
    assert_eq!(kept.of("aqevia_backend_persisted_bytes_total"), [one, one]);
    assert_eq!(kept.of("aqevia_backend_claim_seconds"), [0.0, 0.0]);
}

#[tokio::test(start_paused = true)]
async fn a_duration_is_what_the_caller_waited_in_seconds() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let held = Held::new();
    let limits = Timeouts::all(Duration::from_millis(2500));
    let store = Metrics::new(Timeout::new(Arc::clone(&held), limits).unwrap());
    claim(&store, &["a"]).await;
    let _gates = [(); 3].map(|()| held.hold());
    persist(&store, &part("a", 1)).await.unwrap_err();
    claim_one(&store, "b").await.unwrap_err();
    store.usage(&world("a")).await.unwrap_err();
    assert_eq!(kept.of("aqevia_backend_persist_seconds"), [2.5]);
    assert_eq!(kept.of("aqevia_backend_claim_seconds"), [0.0, 2.5]);
    assert_eq!(kept.of("aqevia_backend_read_seconds{call=usage}"), [2.5]);
    let failed = "aqevia_backend_parts_failed_total{kind=ambiguous}";
    assert_eq!(kept.of(failed), [1.0]);
    let failed = "aqevia_backend_calls_failed_total{call=claim,kind=ambiguous}";
    assert_eq!(kept.of(failed), [1.0]);
    let failed = "aqevia_backend_calls_failed_total{call=usage,kind=unavailable}";
    assert_eq!(kept.of(failed), [1.0]);
}

#[tokio::test]
async fn reads_are_measured_by_call_those_of_snapshots_among_them() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    let store = Metrics::new(Memory::new());
    let (arda, limit) = (world("a"), Limit::default());
    let early = store.usage(&arda).await.unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Invalid);
    claim(&store, &["a"]).await;
    let snapshot = store.snapshot(&arda).await.unwrap();
    for reads in [&store as &dyn Reads, &*snapshot] {
        reads.log(&arda, LogRange::ALL, limit).await.unwrap();
        reads
            .state(&arda, StateRange::default(), limit)
            .await
            .unwrap();
    }
    store.worlds(WorldRange::default(), limit).await.unwrap();
    let count = |call| {
        kept.of(&format!("aqevia_backend_read_seconds{{call={call}}}"))
            .len()
    };
    let counts = ["log", "state", "snapshot", "worlds", "usage"].map(count);
    assert_eq!(counts, [2, 2, 1, 1, 1]);
    store.close().await.unwrap();
    store.init(SchemaPolicy::Upgrade).await.unwrap_err();
    let failed = "aqevia_backend_calls_failed_total{call=init,kind=closed}";
    assert_eq!(kept.of(failed), [1.0]);
}

#[tokio::test]
async fn what_is_recorded_is_described() {
    let kept = Kept::default();
    let _guard = set_default_local_recorder(&kept);
    metric::describe();
    let described = kept.described();
    assert!(described.contains(&"histogram aqevia_backend_persist_seconds seconds".to_owned()));
    assert!(described.contains(&"histogram aqevia_backend_part_bytes bytes".to_owned()));
    assert!(described.contains(&"counter aqevia_backend_parts_failed_total count".to_owned()));

    let store = Metrics::new(Memory::new());
    claim(&store, &["a"]).await;
    for part in [part("a", 1), part("a", 1), part("c", 1)] {
        drop(persist(&store, &part).await);
    }
    store.usage(&world("a")).await.unwrap();
    store.close().await.unwrap();
    store.usage(&world("a")).await.unwrap_err();
    let bare = |name: &String| name.split('{').next().unwrap().to_owned();
    let recorded: Vec<_> = kept.names().iter().map(bare).collect();
    let mut known: Vec<_> = described
        .iter()
        .map(|line| line.split(' ').nth(1).unwrap().to_owned())
        .filter(|name| name.starts_with("aqevia_backend_"))
        .collect();
    known.sort();
    assert_eq!(recorded, known);
}
