//! Time is paused: it moves on only when every task waits for it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::*;
use crate::Memory;
use crate::layer::held::{Held, batch, claim, claim_one, part, persist, world};

const EVERY: u16 = 1000;

/// A store with world `a` claimed, and then the faults of a plan.
async fn start(plan: impl FnOnce(&mut FaultPlan)) -> (Fault<Memory>, FaultHandle) {
    let mut faults = FaultPlan::new(1);
    plan(&mut faults);
    let store = Fault::new(Memory::new(), faults).unwrap();
    let handle = store.handle();
    handle.end();
    claim(&store, &["a"]).await;
    handle.begin();
    (store, handle)
}

/// The kinds of errors that all calls but `init`, `claim` and `close` answer.
async fn kinds(store: &impl StorageBackend) -> Vec<Option<ErrorKind>> {
    let (arda, limit) = (world("a"), Limit::default());
    let kind = |error: Option<Error>| error.map(|error| error.kind());
    vec![
        kind(store.log(&arda, LogRange::ALL, limit).await.err()),
        kind(store.state(&arda, StateRange::default(), limit).await.err()),
        kind(store.snapshot(&arda).await.err()),
        kind(store.worlds(WorldRange::default(), limit).await.err()),
        kind(store.usage(&arda).await.err()),
        kind(persist(store, &part("a", 1)).await.err()),
    ]
}

#[tokio::test]
async fn a_refused_part_is_not_executed() {
    let (store, handle) = start(|plan| plan.parts.full_permille = EVERY).await;
    let error = persist(&store, &part("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(
        error
            .to_string()
            .starts_with("persist batch 1 of world \"a\": ")
    );
    assert_eq!(handle.counts().full, 1);
    assert_eq!(store.stats().errors.of(ErrorKind::Full), 1);
    handle.end();
    assert!(!persist(&store, &part("a", 1)).await.unwrap().repeated);
}

#[tokio::test]
async fn a_part_whose_answer_is_lost_is_executed() {
    let (store, handle) = start(|plan| plan.parts.lost_permille = EVERY).await;
    let error = persist(&store, &part("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert_eq!(handle.counts().lost, 1);
    let stats = store.stats();
    assert_eq!(
        (stats.records, stats.errors.of(ErrorKind::Ambiguous)),
        (1, 1)
    );
    handle.end();
    assert!(persist(&store, &part("a", 1)).await.unwrap().repeated);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_executed() {
    let (store, handle) = start(|plan| plan.claims.lost_permille = EVERY).await;
    let error = claim_one(&store, "a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    handle.end();
    assert_eq!(claim_one(&store, "a").await.unwrap().epoch.get(), 3);
}

#[tokio::test]
async fn reads_fail_also_in_a_snapshot_which_counts_nothing() {
    let (store, handle) = start(|plan| plan.reads = FaultRates::all_unavailable()).await;
    let away = Some(ErrorKind::Unavailable);
    assert_eq!(kinds(&store).await, [away, away, away, away, away, None]);
    handle.end();
    let arda = world("a");
    let snapshot = store.snapshot(&arda).await.unwrap();
    handle.begin();
    let log = snapshot.log(&arda, LogRange::ALL, Limit::default());
    assert_eq!(log.await.unwrap_err().kind(), ErrorKind::Unavailable);
    let state = snapshot.state(&arda, StateRange::default(), Limit::default());
    assert_eq!(state.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(handle.counts().unavailable, 7);
    assert_eq!(store.stats().errors.total(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_is_executed_within_the_longest_delay() {
    let (store, handle) = start(|plan| {
        plan.parts.delayed_permille = EVERY;
        plan.delay_max = Duration::from_secs(9);
    })
    .await;
    let mut waited = Vec::new();
    for number in 1..=20 {
        let begin = Instant::now();
        persist(&store, &part("a", number)).await.unwrap();
        waited.push(begin.elapsed());
    }
    assert!(
        waited
            .iter()
            .all(|waited| *waited <= Duration::from_secs(9))
    );
    assert!(waited.iter().any(|waited| *waited > Duration::from_secs(6)));
    assert!(waited.iter().any(|waited| *waited < Duration::from_secs(3)));
    assert_eq!(handle.counts().delayed, 20);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_executed_when_faults_are_ended() {
    let (store, handle) = start(|plan| plan.parts.hung_permille = EVERY).await;
    let first = part("a", 1);
    let mut hanging = Box::pin(persist(&store, &first));
    let day = Duration::from_secs(86_400);
    assert!(timeout(day, &mut hanging).await.is_err());
    assert_eq!((handle.counts().hung, store.stats().records), (1, 0));
    handle.end();
    assert!(!hanging.await.unwrap().repeated);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_executed_also_if_faults_begin_again_at_once() {
    let (store, handle) = start(|plan| plan.parts.hung_permille = EVERY).await;
    let first = part("a", 1);
    let mut hanging = Box::pin(persist(&store, &first));
    assert!(timeout(Duration::from_secs(1), &mut hanging).await.is_err());
    handle.end();
    handle.begin();
    let executed = timeout(Duration::from_secs(1), hanging).await;
    assert!(executed.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_hangs_meets_an_outage_when_it_goes_on() {
    let (store, handle) = start(|plan| plan.parts.hung_permille = EVERY).await;
    let first = part("a", 1);
    let mut hanging = Box::pin(persist(&store, &first));
    assert!(timeout(Duration::from_secs(1), &mut hanging).await.is_err());
    handle.begin_outage();
    handle.end();
    assert_eq!(hanging.await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.stats().records, 0);
}

#[tokio::test]
async fn in_an_outage_every_call_but_close_is_unavailable() {
    let (store, handle) = start(|plan| plan.parts.lost_permille = EVERY).await;
    handle.begin_outage();
    assert_eq!(kinds(&store).await, [Some(ErrorKind::Unavailable); 6]);
    let init = store.init(SchemaPolicy::Upgrade).await;
    assert_eq!(init.unwrap_err().kind(), ErrorKind::Unavailable);
    let claim = claim_one(&store, "a").await;
    assert_eq!(claim.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(handle.counts().outage, 8);
    assert_eq!(handle.counts().lost, 0);
    assert_eq!(store.stats().errors.of(ErrorKind::Unavailable), 8);
    handle.end();
    handle.end_outage();
    assert_eq!(kinds(&store).await, [None; 6]);
    handle.begin_outage();
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_same_seed_and_calls_meet_the_same_faults() {
    let answers = async |seed| {
        let (store, handle) = start(|plan| {
            plan.seed = seed;
            plan.parts.unavailable_permille = 300;
            plan.parts.full_permille = 100;
            plan.parts.lost_permille = 300;
            plan.claims.unavailable_permille = 300;
        })
        .await;
        let mut kinds = Vec::new();
        for number in 1..=60 {
            let answer = persist(&store, &part("a", number)).await;
            kinds.push(answer.err().map(|error| error.kind()));
            let claim = claim_one(&store, "b").await;
            kinds.push(claim.err().map(|error| error.kind()));
        }
        (kinds, handle.counts())
    };
    let (kinds, counts) = answers(5).await;
    assert_eq!(answers(5).await, (kinds.clone(), counts.clone()));
    assert_ne!(answers(6).await.0, kinds);
    let answered = |kind| kinds.iter().filter(|k| **k == Some(kind)).count() as u64;
    assert_eq!(answered(ErrorKind::Unavailable), counts.unavailable);
    assert_eq!(answered(ErrorKind::Full), counts.full);
    assert_eq!(answered(ErrorKind::Ambiguous), counts.lost);
    assert!(counts.unavailable > 10 && counts.full > 0 && counts.lost > 5);
}

#[tokio::test]
async fn a_fault_of_a_part_leaves_the_others_of_its_batch_alone() {
    let held = Held::new();
    let mut plan = FaultPlan::new(3);
    plan.parts.unavailable_permille = 500;
    let store = Fault::new(Arc::clone(&held), plan).unwrap();
    claim(&store, &["a", "b", "c", "d", "e", "f"]).await;
    let parts = ["a", "b", "c", "d", "e", "f"].map(|name| part(name, 1));
    let answers = store.persist_batch(batch(&parts.each_ref())).await;
    let refused = answers.iter().filter(|answer| answer.is_err()).count();
    assert!((1..6).contains(&refused), "{refused}");
    // What came to the store is just what has a receipt.
    let there: Vec<_> = parts
        .iter()
        .zip(&answers)
        .filter(|(_, answer)| answer.is_ok())
        .map(|(part, _)| format!("{} 1", part.world()))
        .collect();
    assert_eq!(held.calls().last(), Some(&there.join(", ")));
    assert_eq!(store.stats().records, 6 - refused as u64);
}
