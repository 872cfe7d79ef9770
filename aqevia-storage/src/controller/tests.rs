//! What the clauses leave open: when the loop flushes, how it retries, how it ends.
//!
//! Time is paused: it moves on only when every task waits for it.

mod capturing;
mod closing;
mod coalescing;
mod faults;
#[cfg(feature = "metrics")]
mod figures;
mod found;
mod scripted;
mod turns;

use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::{
    Batch, BatchRecord, Claim, Collection, ControllerConfig, ErrorKind, Fingerprint, Key, LogRange,
    LogRow, Memory, Owner, Page, Payload, Receipt, SchemaPolicy, StateRange, StateRow,
    StorageStats,
};
use scripted::{Act, Refuses, Scripted};

fn arda() -> WorldId {
    WorldId::new("arda").unwrap()
}

fn event() -> WorldRecord {
    WorldRecord::new(arda(), Payload::Json("{}".into()), 0)
}

fn put(key: &str) -> WorldRecord {
    let fleets = Collection::new("fleets").unwrap();
    let key = Key::new(key).unwrap();
    WorldRecord::put(&arda(), &fleets, key, Payload::Json("{}".into()), 0)
}

async fn start(store: &Arc<Scripted>, config: ControllerConfig) -> (StorageController, World) {
    let store = Arc::clone(store) as Arc<dyn StorageBackend>;
    let controller = StorageController::start_here(store, config).await.unwrap();
    let world = controller.open_world(arda()).await.unwrap();
    (controller, world)
}

async fn head(controller: &StorageController) -> u64 {
    let page = controller
        .log(&arda(), LogRange::ALL, Limit::items(1))
        .await;
    page.unwrap().head.get()
}

#[tokio::test(start_paused = true)]
async fn the_interval_counts_from_the_first_pending_record() {
    let store = Scripted::new([]);
    let (_controller, world) = start(&store, ControllerConfig::default()).await;
    tokio::time::advance(Duration::from_millis(700)).await;
    let begin = Instant::now();
    let ticket = world.submit(vec![event()]).unwrap();
    tokio::time::advance(Duration::from_millis(400)).await;
    world.record(event()).unwrap();
    assert_eq!(ticket.await.unwrap().first.get(), 1);
    let batches = store.batches();
    assert_eq!(batches.len(), 1);
    // Timers of a paused runtime have a resolution of a millisecond.
    let took = batches[0].0 - begin;
    assert!((1000..=1001).contains(&took.as_millis()), "{took:?}");
    assert_eq!(batches[0].1.parts()[0].count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_full_capacity_flushes_at_once() {
    let store = Scripted::new([]);
    let (_controller, world) = start(&store, ControllerConfig::default()).await;
    let begin = Instant::now();
    for _ in 0..9 {
        world.record(event()).unwrap();
    }
    let last = world.submit(vec![event()]).unwrap();
    assert_eq!(last.await.unwrap().first.get(), 10);
    assert_eq!(Instant::now(), begin);
}

#[tokio::test(start_paused = true)]
async fn a_full_capacity_in_bytes_flushes_at_once() {
    let store = Scripted::new([]);
    let config = ControllerConfig {
        batch_capacity_bytes: event().bytes() * 2,
        ..ControllerConfig::default()
    };
    let (_controller, world) = start(&store, config).await;
    let begin = Instant::now();
    world.record(event()).unwrap();
    world.submit(vec![event()]).unwrap().await.unwrap();
    assert_eq!(Instant::now(), begin);
}

#[tokio::test(start_paused = true)]
async fn a_commit_takes_what_was_accepted_before_with_it() {
    let store = Scripted::new([]);
    let (_controller, world) = start(&store, ControllerConfig::default()).await;
    let begin = Instant::now();
    world.record(event()).unwrap();
    let receipt = world.commit(vec![event(), event()]).await.unwrap();
    assert_eq!((receipt.first.get(), receipt.count), (2, 2));
    assert_eq!(Instant::now(), begin);
    assert_eq!(store.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_part_is_retried_with_the_same_number_and_content_until_it_is_in() {
    let store = Scripted::new([
        Act::LoseAnswer,
        Act::Fail(ErrorKind::Unavailable),
        Act::Fail(ErrorKind::Full),
    ]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let first = world.submit(vec![event()]).unwrap();
    let later = async {
        tokio::time::sleep(Duration::from_millis(1020)).await;
        assert!(!controller.stats().ready);
        world.commit(vec![event()]).await.unwrap()
    };
    let (first, later) = tokio::join!(first, later);
    assert!(first.unwrap().repeated);
    assert_eq!(later.first.get(), 2);
    let batches = store.batches();
    let numbers = batches.iter().map(|(_, b)| b.parts()[0].number().get());
    assert_eq!(numbers.collect::<Vec<_>>(), [1, 1, 1, 1, 2]);
    let digests = batches[..4].iter().map(|(_, b)| *b.parts()[0].digest());
    assert!(
        digests
            .collect::<Vec<_>>()
            .windows(2)
            .all(|two| two[0] == two[1])
    );
    let stats = controller.stats();
    assert_eq!(
        (stats.errors.total(), stats.records, stats.ready),
        (3, 2, true)
    );
    assert_eq!(head(&controller).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_backend_is_an_unknown_outcome() {
    let store = Scripted::new([Act::Panic]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    assert_eq!(world.commit(vec![event()]).await.unwrap().first.get(), 1);
    assert_eq!(controller.stats().errors.of(ErrorKind::Ambiguous), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_world_stops_and_hands_back_what_was_not_persisted() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let other = Owner::new("another").unwrap();
    let schema = crate::Schema::new().fingerprint();
    store.claim(&arda(), &other, schema).await.unwrap();
    world.record(put("a")).unwrap();
    let error = world.commit(vec![put("b")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    let refused = world.submit(vec![put("c")]).unwrap_err();
    assert_eq!(
        (refused.error.kind(), refused.records.len()),
        (ErrorKind::Fenced, 1)
    );
    assert_eq!(
        controller.flush().await.unwrap_err().kind(),
        ErrorKind::Fenced
    );
    assert_eq!(controller.stats().pending_records, 0, "the room is free");
    let again = controller.open_world(arda()).await.unwrap();
    assert_eq!(again.take_unpersisted().pending, [put("a"), put("b")]);
    let receipt = again.commit(vec![put("d")]).await.unwrap();
    assert_eq!(receipt.first.get(), 1);
    controller.flush().await.unwrap();
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_what_a_stopped_world_left() {
    let store = Scripted::new([Act::Fail(ErrorKind::Corrupt)]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.commit(vec![put("a")]).await.unwrap_err();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(
        (left.error.kind(), left.pending),
        (ErrorKind::Corrupt, vec![put("a")])
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_tries_at_once_what_waits_to_be_tried_again() {
    let failures = std::iter::repeat_with(|| Act::Fail(ErrorKind::Unavailable));
    let store = Scripted::new(failures.take(10));
    let config = ControllerConfig {
        shutdown_timeout: Duration::from_secs(1),
        ..ControllerConfig::default()
    };
    let (controller, world) = start(&store, config).await;
    world.record(put("a")).unwrap();
    while store.batches().len() < 10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The next try is five seconds off.
    controller.shutdown().await.unwrap();
    assert_eq!(store.batches().len(), 11);
}

#[tokio::test(start_paused = true)]
async fn shutdown_names_the_error_that_stood_in_the_way() {
    let store = Scripted::new([Act::Fail(ErrorKind::Full), Act::Persist, Act::Hang]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.commit(vec![put("a")]).await.unwrap();
    world.record(put("b")).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.in_doubt, [put("b")]);
    assert_eq!(
        left.error.kind(),
        ErrorKind::Unavailable,
        "not the error of before"
    );
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_panics_loses_no_record() {
    let store = Scripted::new([]);
    let config = ControllerConfig {
        clock: crate::Clock::from_fn(|| panic!("scripted")),
        ..ControllerConfig::default()
    };
    let (controller, world) = start(&store, config).await;
    world.commit(vec![put("a")]).await.unwrap_err();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!((left.pending, left.in_doubt), (vec![put("a")], Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn an_opening_that_its_caller_gives_up_does_not_fence_the_next() {
    let store = Scripted::new([]);
    let (controller, _) = start(&store, ControllerConfig::default()).await;
    let elsewhere = WorldId::new("elsewhere").unwrap();
    {
        let mut opening = std::pin::pin!(controller.open_world(elsewhere.clone()));
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(opening.as_mut().poll(context).is_pending());
    }
    let world = controller.open_world(elsewhere.clone()).await.unwrap();
    assert_eq!(world.claim().unwrap().epoch.get(), 1);
    let event = WorldRecord::new(elsewhere, Vec::new(), 0);
    world.commit(vec![event]).await.unwrap();
}

#[tokio::test]
async fn blocking_twins_go_on_within_a_task() {
    let store = Arc::new(Memory::new());
    let controller = StorageController::start(store, ControllerConfig::default()).await;
    let controller = controller.unwrap();
    let world = controller.open_world_blocking(arda()).unwrap();
    // More often than Tokio lets a task come to rest.
    let task = tokio::spawn(async move {
        for _ in 0..300 {
            world.commit_blocking(vec![event()]).unwrap();
        }
    });
    task.await.unwrap();
    assert_eq!(controller.stats().records, 300);
    controller.shutdown_blocking().unwrap();
    assert_eq!(
        controller.flush().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_tells_what_is_pending_and_what_is_in_doubt() {
    let store = Scripted::new([Act::Hang]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let hanging = world.commit(vec![put("a")]);
    let waiting = async {
        tokio::task::yield_now().await;
        let waiting = world.submit(vec![put("b"), put("c")]).unwrap();
        let begin = Instant::now();
        let left = controller.shutdown().await.unwrap_err();
        assert_eq!((Instant::now() - begin).as_secs(), 10);
        assert_eq!(left.in_doubt, [put("a")]);
        assert_eq!(left.pending, [put("b"), put("c")]);
        waiting.await.unwrap_err()
    };
    let (hanging, waiting) = tokio::join!(hanging, waiting);
    assert_eq!(hanging.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(waiting.kind(), ErrorKind::Closed);
    let refused = world.submit(vec![event()]).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_controller_logs_what_was_lost() {
    let log = Log::default();
    let _guard = log.listen();
    let store =
        Scripted::new(std::iter::repeat_with(|| Act::Fail(ErrorKind::Unavailable)).take(99));
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.record(put("a")).unwrap();
    world.record(put("b")).unwrap();
    drop(controller);
    tokio::time::sleep(Duration::from_secs(11)).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("unpersisted=2 records pending, 0 in doubt"),
        "{log}"
    );
    assert!(log.contains("world=arda"), "{log}");
}

#[tokio::test(start_paused = true)]
async fn ending_as_asked_to_logs_no_error() {
    let log = Log::default();
    let _guard = log.listen();
    let (controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
    world.commit(vec![event()]).await.unwrap();
    let mut health = controller.health();
    controller.shutdown().await.unwrap();
    let stopped = |health: &Health| matches!(health, Health::Stopped { .. });
    health.wait_for(stopped).await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains("ERROR"), "{log}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes what this thread logs, until the guard is dropped.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        // While there is but one subscriber, `tracing` asks the thread that comes to a line first
        // whether anybody listens, and remembers that for all: with a second it asks both.
        static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| {
            let nobody = tracing_subscriber::fmt().with_writer(std::io::sink);
            tracing::Dispatch::new(nobody.finish())
        });
        LazyLock::force(&SECOND);
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn worlds_are_claimed_once_however_many_open_them() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let worlds = controller.worlds(WorldRange::all(), Limit::default()).await;
    assert_eq!(worlds.unwrap().items[0].world, arda());
    let (a, b) = tokio::join!(controller.open_world(arda()), controller.open_world(arda()));
    let epochs = [world, a.unwrap(), b.unwrap()].map(|world| world.claim().unwrap().epoch.get());
    assert_eq!(epochs, [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_world_that_is_not_open_is_handed_back() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    controller.record(event()).unwrap();
    let elsewhere = WorldRecord::new(WorldId::new("elsewhere").unwrap(), Vec::new(), 0);
    let refused = controller.record(elsewhere.clone()).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Invalid);
    assert_eq!(refused.records, std::slice::from_ref(&elsewhere));
    let refused = world.submit(vec![event(), elsewhere]).unwrap_err();
    assert_eq!(
        (refused.error.kind(), refused.records.len()),
        (ErrorKind::Invalid, 2)
    );
}

#[test]
fn a_snapshot_is_read_without_a_runtime_and_does_not_move() {
    let store = Arc::new(Memory::new());
    let controller = StorageController::start_blocking(store, ControllerConfig::default()).unwrap();
    let world = controller.open_world_blocking(arda()).unwrap();
    world.commit_blocking(vec![event()]).unwrap();
    let snapshot = pollster::block_on(controller.snapshot(&arda())).unwrap();
    world.commit_blocking(vec![event()]).unwrap();
    let heads = [&*snapshot, &controller as &dyn Reads].map(|reads| {
        let page = pollster::block_on(reads.log(&arda(), LogRange::ALL, Limit::default()));
        page.unwrap().head.get()
    });
    assert_eq!(heads, [1, 2]);
}

#[test]
fn a_thread_without_a_runtime_uses_the_blocking_twins() {
    let memory = Arc::new(Memory::new());
    let store = Arc::clone(&memory) as Arc<dyn StorageBackend>;
    let controller = StorageController::start_blocking(store, ControllerConfig::default()).unwrap();
    let world = controller.open_world_blocking(arda()).unwrap();
    let ticket = world.submit(vec![event()]).unwrap();
    assert_eq!(world.commit_blocking(vec![event()]).unwrap().first.get(), 2);
    assert_eq!(ticket.wait_blocking().unwrap().first.get(), 1);
    controller.record(event()).unwrap();
    controller.flush_blocking().unwrap();
    assert_eq!(controller.stats().records, 3);
    controller.shutdown_blocking().unwrap();
    controller.shutdown_blocking().unwrap();
}

#[test]
fn a_store_that_does_not_open_starts_no_controller() {
    let memory = Memory::new();
    pollster::block_on(memory.close()).unwrap();
    let started = StorageController::start_blocking(Arc::new(memory), ControllerConfig::default());
    assert_eq!(started.unwrap_err().kind(), ErrorKind::Closed);
}
