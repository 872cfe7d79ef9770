//! Time is paused: it moves on only when every task waits for it.

use std::future::poll_fn;

use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::{Instant, timeout};

use super::*;
use crate::Memory;
use crate::layer::held::{Held, batch, claim, claim_one, part, persist, world};

const LIMIT: Duration = Duration::from_secs(5);

/// A store with worlds `a` and `b` claimed, in 5 s a call.
async fn start() -> (Arc<Held>, Arc<Timeout<Arc<Held>>>) {
    let held = Held::new();
    let store = Timeout::new(Arc::clone(&held), Timeouts::all(LIMIT)).unwrap();
    claim(&store, &["a", "b"]).await;
    (held, Arc::new(store))
}

/// What a call came to, and the seconds it took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, f64) {
    let begin = Instant::now();
    let answer = call.await;
    (answer, begin.elapsed().as_secs_f64())
}

/// Lets every task go as far as it gets without time passing.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_time_of_zero_or_without_end_is_refused() {
    for limit in [Duration::ZERO, Duration::MAX] {
        let error = Timeout::new(Memory::new(), Timeouts::all(limit)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let close = Timeouts {
        close: Some(Duration::ZERO),
        ..Timeouts::default()
    };
    let error = Timeout::new(Memory::new(), close).unwrap_err();
    assert!(
        error.to_string().starts_with("close timeout: 0ns"),
        "{error}"
    );
    assert!(Timeout::new(Memory::new(), Timeouts::default()).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_read_past_its_time_is_unavailable() {
    let (held, store) = start().await;
    let arda = world("a");
    let limit = Limit::default();
    let _held = [(); 5].map(|()| held.hold());
    let reads: [(ErrorKind, f64); 5] = [
        kind(timed(store.log(&arda, LogRange::ALL, limit)).await),
        kind(timed(store.state(&arda, StateRange::default(), limit)).await),
        kind(timed(store.worlds(WorldRange::default(), limit)).await),
        kind(timed(store.usage(&arda)).await),
        kind(timed(store.snapshot(&arda)).await),
    ];
    assert_eq!(reads, [(ErrorKind::Unavailable, 5.0); 5]);
    assert_eq!(store.stats().errors.of(ErrorKind::Unavailable), 5);
    assert_eq!(held.stats().errors.total(), 0);
    store.usage(&arda).await.unwrap();
}

fn kind<T>((answer, seconds): (Result<T>, f64)) -> (ErrorKind, f64) {
    (answer.err().unwrap().kind(), seconds)
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_has_the_time_of_reads_and_counts_nothing() {
    let (_held, store) = start().await;
    let arda = world("a");
    let snapshot = store.snapshot(&arda).await.unwrap();
    let log = snapshot.log(&arda, LogRange::ALL, Limit::default());
    assert_eq!(kind(timed(log).await), (ErrorKind::Unavailable, 5.0));
    let state = snapshot.state(&arda, StateRange::default(), Limit::default());
    assert_eq!(kind(timed(state).await), (ErrorKind::Unavailable, 5.0));
    assert_eq!(store.stats().errors.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_part_past_its_time_is_ambiguous_and_goes_on() {
    let (held, store) = start().await;
    let gate = held.hold();
    let (answers, seconds) =
        timed(store.persist_batch(batch(&[&part("a", 1), &part("b", 1)]))).await;
    assert_eq!(seconds, 5.0);
    let messages: Vec<_> = answers
        .iter()
        .map(|a| a.as_ref().unwrap_err().to_string())
        .collect();
    let late = "the store gave no answer within 5s";
    assert_eq!(
        messages,
        [
            format!("persist batch 1 of world \"a\": {late}"),
            format!("persist batch 1 of world \"b\": {late}")
        ]
    );
    let kinds = answers.iter().map(|a| a.as_ref().unwrap_err().kind());
    assert!(kinds.eq([ErrorKind::Ambiguous; 2]));
    assert_eq!(store.stats().errors.of(ErrorKind::Ambiguous), 2);
    assert_eq!(store.stats().records, 0);

    gate.send(()).unwrap();
    settle().await;
    assert_eq!(store.stats().records, 2);
    assert!(persist(&*store, &part("a", 1)).await.unwrap().repeated);
}

#[tokio::test(start_paused = true)]
async fn a_part_tried_again_does_not_overtake_the_first_attempt() {
    let (held, store) = start().await;
    let gate = held.hold();
    let first = part("a", 1);
    persist(&*store, &first).await.unwrap_err();
    let again = {
        let (store, first) = (Arc::clone(&store), Arc::clone(&first));
        tokio::spawn(async move { persist(&*store, &first).await })
    };
    settle().await;
    // Only the first attempt has come, though nothing holds a second one.
    assert_eq!(held.calls()[3..], ["a 1"]);
    gate.send(()).unwrap();
    assert!(again.await.unwrap().unwrap().repeated);
    assert_eq!(held.calls()[3..], ["a 1", "… a 1", "a 1"]);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_turn_counts_as_time_and_then_nothing_comes_to_the_store() {
    let (held, store) = start().await;
    let gate = held.hold();
    persist(&*store, &part("a", 1)).await.unwrap_err();
    for _ in 0..3 {
        let (answer, seconds) = timed(persist(&*store, &part("a", 2))).await;
        assert_eq!(
            (answer.unwrap_err().kind(), seconds),
            (ErrorKind::Ambiguous, 5.0)
        );
    }
    gate.send(()).unwrap();
    settle().await;
    assert_eq!(held.calls()[3..], ["a 1", "… a 1"]);
    assert!(!persist(&*store, &part("a", 2)).await.unwrap().repeated);
}

#[tokio::test(start_paused = true)]
async fn a_world_in_trouble_does_not_hold_up_the_rest_of_a_batch() {
    let (held, store) = start().await;
    let _gate = held.hold();
    persist(&*store, &part("a", 1)).await.unwrap_err();
    let answers = store
        .persist_batch(batch(&[&part("a", 1), &part("b", 1)]))
        .await;
    assert_eq!(
        answers[0].as_ref().unwrap_err().kind(),
        ErrorKind::Ambiguous
    );
    assert!(answers[1].is_ok());
}

#[tokio::test(start_paused = true)]
async fn parts_of_free_worlds_come_to_the_store_as_one_batch() {
    let (held, store) = start().await;
    let answers = store
        .persist_batch(batch(&[&part("a", 1), &part("b", 1)]))
        .await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(held.calls()[3..], ["a 1, b 1"]);
    assert_eq!(store.stats().flush_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_given_up_does_not_fence_the_next() {
    let (held, store) = start().await;
    let gate = held.hold();
    let (first, seconds) = timed(claim_one(&*store, "c")).await;
    assert_eq!(
        (first.unwrap_err().kind(), seconds),
        (ErrorKind::Ambiguous, 5.0)
    );
    let again = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { claim_one(&*store, "c").await })
    };
    settle().await;
    gate.send(()).unwrap();
    // The second came last, so its epoch is the one that counts.
    assert_eq!(again.await.unwrap().unwrap().epoch.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_write_goes_on_when_its_caller_is_gone() {
    let (held, store) = start().await;
    let gate = held.hold();
    let first = part("a", 1);
    drop(timeout(Duration::from_secs(1), persist(&*store, &first)).await);
    gate.send(()).unwrap();
    settle().await;
    assert_eq!(store.stats().records, 1);
}

#[tokio::test(start_paused = true)]
async fn init_past_its_time_is_ambiguous_and_goes_on() {
    let held = Held::new();
    let store = Timeout::new(Arc::clone(&held), Timeouts::all(LIMIT)).unwrap();
    let gate = held.hold();
    let init = store.init(SchemaPolicy::Upgrade);
    assert_eq!(kind(timed(init).await), (ErrorKind::Ambiguous, 5.0));
    gate.send(()).unwrap();
    settle().await;
    claim_one(&store, "a").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn close_waits_for_writes_under_way_and_refuses_others() {
    let (held, store) = start().await;
    let gate = held.hold();
    persist(&*store, &part("a", 1)).await.unwrap_err();
    let closing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.close().await })
    };
    settle().await;
    let kinds = [
        persist(&*store, &part("b", 1)).await.unwrap_err().kind(),
        claim_one(&*store, "c").await.unwrap_err().kind(),
        store.usage(&world("a")).await.unwrap_err().kind(),
    ];
    assert_eq!(kinds, [ErrorKind::Closed; 3]);
    gate.send(()).unwrap();
    closing.await.unwrap().unwrap();
    assert_eq!(held.calls()[3..], ["a 1", "… a 1", "close"]);
}

#[tokio::test(start_paused = true)]
async fn close_past_its_time_closes_all_the_same_and_the_next_waits_for_it() {
    let (held, store) = start().await;
    let (write, close) = (held.hold(), held.hold());
    persist(&*store, &part("a", 1)).await.unwrap_err();
    assert_eq!(
        kind(timed(store.close()).await),
        (ErrorKind::Unavailable, 5.0)
    );
    settle().await;
    assert_eq!(held.calls()[3..], ["a 1", "close"]);
    let again = {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.close().await })
    };
    settle().await;
    write.send(()).unwrap();
    close.send(()).unwrap();
    again.await.unwrap().unwrap();
    assert_eq!(held.calls()[5..], ["… a 1", "… close", "close"]);
}

#[tokio::test(start_paused = true)]
async fn without_times_everything_is_passed_on() {
    let held = Held::new();
    let store = Timeout::new(Arc::clone(&held), Timeouts::default()).unwrap();
    claim(&store, &["a"]).await;
    let gate = held.hold();
    let first = part("a", 1);
    let (answer, seconds) = timed(async {
        let release = async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            gate.send(()).unwrap();
        };
        tokio::join!(persist(&store, &first), release).0
    })
    .await;
    assert!(answer.is_ok());
    assert_eq!(seconds, 3600.0);
    store.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn dropping_the_layer_lets_go_of_the_store_at_once() {
    let held = Held::new();
    let store = Timeout::new(Arc::clone(&held), Timeouts::all(LIMIT)).unwrap();
    claim(&store, &["a"]).await;
    let mut gate = held.hold();
    persist(&store, &part("a", 1)).await.unwrap_err();
    assert_eq!(Arc::strong_count(&held), 2);
    drop(store);
    assert_eq!(Arc::strong_count(&held), 1);
    // The call was dropped with it, as with a caller that went away, and its task ends.
    gate.closed().await;
    settle().await;
    let tasks = tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks();
    assert_eq!(tasks, 0);
}

/// A call that ends by a panic.
fn panicking<T>() -> impl Future<Output = T> {
    poll_fn(|_| panic!("on purpose"))
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_over_and_has_no_answer() {
    let under_way = UnderWay::default();
    let mut answer = under_way.start(panicking::<()>());
    assert_eq!(answer.try_recv(), Err(TryRecvError::Empty));
    under_way.ended().await;
    assert_eq!(answer.try_recv(), Err(TryRecvError::Closed));
    let deadline = Deadline::after(LIMIT);
    let call = under_way.start(panicking::<Option<()>>());
    let (answer, seconds) = timed(deadline.answer(call, ErrorKind::Ambiguous)).await;
    let error = answer.unwrap_err();
    assert_eq!((error.kind(), seconds), (ErrorKind::Ambiguous, 0.0));
    assert_eq!(error.to_string(), NO_ANSWER);
}
