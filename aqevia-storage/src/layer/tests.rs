//! The layers upon each other, under paused time.

use std::sync::Arc;
use std::time::Duration;

use super::held::{batch, claim, part, world};
use super::{Fault, FaultHandle, FaultPlan, Timeout, Timeouts};
use crate::{Memory, Part, Result, StorageBackend};

const WORLDS: [&str; 3] = ["a", "b", "c"];
const PARTS: u64 = 15;
/// After so many attempts of one batch the faults are ended, and begin again.
const ATTEMPTS_MAX: usize = 8;

/// Every fault there is, delays of more than the time of a call among them.
fn plan(seed: u64) -> FaultPlan {
    let mut plan = FaultPlan::new(seed);
    plan.parts.unavailable_permille = 150;
    plan.parts.full_permille = 50;
    plan.parts.lost_permille = 150;
    plan.parts.delayed_permille = 150;
    plan.parts.hung_permille = 30;
    plan.delay_max = Duration::from_secs(12);
    plan
}

/// Persists parts until all of them have a receipt; the sequences at which they lie.
async fn settle(
    store: &impl StorageBackend,
    faults: &FaultHandle,
    parts: &[Arc<Part>],
) -> Vec<u64> {
    let mut firsts = vec![None; parts.len()];
    let mut attempts = 0;
    while firsts.contains(&None) {
        attempts += 1;
        assert!(
            attempts < 20 * ATTEMPTS_MAX,
            "faults that end leave parts unsettled"
        );
        if attempts % ATTEMPTS_MAX == 0 {
            faults.end();
            faults.begin();
        }
        let open = firsts
            .iter()
            .zip(parts)
            .filter(|(first, _)| first.is_none());
        let open: Vec<_> = open.map(|(_, part)| part).collect();
        for answer in by_world(store.persist_batch(batch(&open)).await, &open) {
            let (part, answer) = answer;
            let at = parts
                .iter()
                .position(|p| p.world() == part.world())
                .unwrap();
            match answer {
                Ok(receipt) => firsts[at] = Some(receipt.first.get()),
                Err(error) => assert!(error.kind().is_retryable(), "{error:?}"),
            }
        }
    }
    firsts.into_iter().flatten().collect()
}

fn by_world<T>(answers: Vec<Result<T>>, parts: &[&Arc<Part>]) -> Vec<(Arc<Part>, Result<T>)> {
    assert_eq!(answers.len(), parts.len());
    let parts = parts.iter().map(|part| Arc::clone(part));
    parts.zip(answers).collect()
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_tried_again_are_written_once_and_in_order_under_any_faults() {
    let mut counts = Vec::new();
    for seed in 0..40 {
        let store = Fault::new(Memory::new(), plan(seed)).unwrap();
        let faults = store.handle();
        let limits = Timeouts::all(Duration::from_secs(5));
        let store = Timeout::new(store, limits).unwrap();
        claim(&store, &WORLDS).await;
        for number in 1..=PARTS {
            let parts = WORLDS.map(|name| part(name, number));
            let firsts = settle(&store, &faults, &parts).await;
            assert_eq!(firsts, [number; 3], "seed {seed}");
        }
        for name in WORLDS {
            let usage = store.usage(&world(name)).await.unwrap();
            assert_eq!(usage.parts, PARTS, "seed {seed}");
        }
        assert_eq!(store.stats().records, 3 * PARTS, "seed {seed}");
        faults.end();
        store.close().await.unwrap();
        counts.push(faults.counts());
    }
    for met in [
        counts.iter().map(|c| c.unavailable).sum::<u64>(),
        counts.iter().map(|c| c.full).sum(),
        counts.iter().map(|c| c.lost).sum(),
        counts.iter().map(|c| c.delayed).sum(),
        counts.iter().map(|c| c.hung).sum(),
    ] {
        assert!(met > 20, "{counts:?}");
    }
}
