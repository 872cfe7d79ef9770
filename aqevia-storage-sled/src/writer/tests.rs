use std::future::{Future, ready};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Wake, Waker};
use std::thread;

use aqevia_storage::{
    BatchNumber, BatchRecord, Epoch, History, Link, Part, STEP_TARGET, WorldRecord,
};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use super::*;
use crate::folder::Folder;
use crate::shared::tests::{arda, shared, wait_until_free};
use crate::world::World;

/// Does something on its thread at a step of the store.
struct At<F>(&'static str, F);

impl<F: Fn() + 'static> Visit for &At<F> {
    fn record_str(&mut self, _: &Field, step: &str) {
        if step == self.0 {
            self.1();
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

impl<F: Fn() + Send + Sync + 'static> Subscriber for At<F> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == STEP_TARGET
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut &*self);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Lets every step be heard from the first on.
///
/// A step that one thread comes to for the first time with nobody listening stays unheard by
/// another that begins to listen at that moment.
pub(crate) fn hear_steps() {
    static HEARD: OnceLock<Dispatch> = OnceLock::new();
    HEARD.get_or_init(|| Dispatch::new(At("", || {})));
}

/// A store that stays in memory when its writer is closed.
struct Store {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    stats: Arc<StatsCounter>,
}

impl Store {
    /// A store with one world, and the desk of its thread.
    fn new() -> (Self, Desk) {
        let folder = tempfile::tempdir().unwrap();
        let lock = lock(&folder).unwrap();
        let store = Self {
            shared: Arc::new(shared(&folder)),
            stats: Arc::default(),
            folder,
        };
        let desk = Desk {
            shared: Arc::clone(&store.shared),
            stats: Arc::clone(&store.stats),
            _lock: lock,
        };
        (store, desk)
    }

    /// The writer of such a store, which does something at a step.
    fn with(step: &'static str, act: impl Fn() + Send + Sync + 'static) -> (Self, Writer) {
        let (store, desk) = Self::new();
        let writer = Writer::at(desk, Arc::clone(&store.stats), |work| {
            let at = At(step, act);
            thread::spawn(|| tracing::subscriber::with_default(at, work));
            Ok(())
        });
        (store, writer.unwrap())
    }

    fn read(&self) -> Result<Option<World>> {
        self.shared.read(|engine| World::find(engine, &arda()))
    }

    /// Whether another backend can open the store, while this one is not dropped.
    fn is_free(&self) -> bool {
        lock(&self.folder).is_some()
    }
}

/// The lock of a store, if neither a backend nor sled has it open.
fn lock(folder: &tempfile::TempDir) -> Option<Lock> {
    Lock::take(&Folder::at(folder.path()).unwrap()).unwrap()
}

async fn claim(writer: &Writer) -> Result<Claim> {
    let owner = Owner::new("test").unwrap();
    writer.claim(&arda(), &owner, Fingerprint([0; 32])).await
}

/// A part of one event.
fn part(world: WorldId, epoch: Epoch) -> Arc<Part> {
    let event = WorldRecord::new(world.clone(), vec![7], 7);
    let records = vec![BatchRecord::new(event, History::All)];
    let part = Part::new(world, epoch, BatchNumber::FIRST, 0, Link::ORIGIN, records);
    Arc::new(part.unwrap())
}

fn panics() {
    panic!("on purpose");
}

/// A step that is waited at: who is there says so, and goes on when told.
fn halt() -> (Receiver<()>, Sender<()>, impl Fn() + Send + Sync) {
    let ((there, arrived), (go_on, told)) = (channel(), channel());
    let told = std::sync::Mutex::new(told);
    let wait = move || {
        there.send(()).unwrap();
        told.lock().unwrap().recv().unwrap();
    };
    (arrived, go_on, wait)
}

/// Begins something, and gives it up where it waits; whether that was needed.
async fn give_up<T>(future: impl Future<Output = T>) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = ready(()) => true,
    }
}

#[tokio::test]
async fn a_panic_of_a_claim_makes_the_store_fail_and_closing_frees_it() {
    let (store, writer) = Store::with("claim: world found", panics);
    let error = claim(&writer).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().contains("sled panicked"), "{error}");
    for error in [store.read().unwrap_err(), claim(&writer).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("open it again"), "{error}");
    }
    writer.close().await.unwrap();
    assert!(store.is_free());
}

#[tokio::test]
async fn a_panic_of_a_part_leaves_in_doubt_what_was_not_refused_before() {
    let (store, writer) = Store::with("part: prepared", panics);
    let epoch = claim(&writer).await.unwrap().epoch;
    let unclaimed = part(WorldId::new("aman").unwrap(), Epoch::ZERO);
    let batch = Batch::new(vec![unclaimed, part(arda(), epoch)]).unwrap();
    let results = writer.persist(batch).await.into_iter();
    let kinds: Vec<_> = results.map(|result| result.unwrap_err().kind()).collect();
    assert_eq!(kinds, [ErrorKind::Invalid, ErrorKind::Ambiguous]);
    assert_eq!(store.stats.read().errors.total(), 2);
    assert_eq!(store.read().unwrap_err().kind(), ErrorKind::Unavailable);
    writer.close().await.unwrap();
    assert!(store.is_free());
}

#[tokio::test]
async fn a_world_that_is_held_keeps_back_no_other_of_its_batch() {
    let (store, writer) = Store::with("", || {});
    let epoch = claim(&writer).await.unwrap().epoch;
    let (held, owner) = (WorldId::new("aman").unwrap(), Owner::new("test").unwrap());
    let other = writer.claim(&held, &owner, Fingerprint([0; 32])).await;
    store.shared.begin_hold(&held).unwrap();
    let parts = vec![part(held, other.unwrap().epoch), part(arda(), epoch)];
    let results = writer.persist(Batch::new(parts).unwrap()).await;
    let kinds: Vec<_> = results
        .into_iter()
        .map(|result| result.map_err(|error| error.kind()))
        .collect();
    assert_eq!(kinds.first(), Some(&Err(ErrorKind::Unavailable)));
    assert!(kinds.last().is_some_and(Result::is_ok), "{kinds:?}");
    assert_eq!(
        store.read().unwrap().unwrap().last_number,
        BatchNumber::FIRST
    );
}

#[tokio::test]
async fn a_panic_outside_the_parts_leaves_the_whole_batch_in_doubt() {
    let (store, writer) = Store::with("batch: received", panics);
    let epoch = claim(&writer).await.unwrap().epoch;
    let batch = Batch::new(vec![part(arda(), epoch)]).unwrap();
    let error = writer.persist(batch).await.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    assert!(error.to_string().contains("\"arda\""), "{error}");
    assert_eq!(store.stats.read().errors.total(), 1);
    assert_eq!(store.read().unwrap_err().kind(), ErrorKind::Unavailable);
}

#[test]
fn a_thread_that_ends_anyhow_closes_sled_before_the_lock_is_let_go() {
    let (store, desk) = Store::new();
    assert!(!store.is_free());
    drop(desk);
    assert_eq!(store.read().unwrap_err().kind(), ErrorKind::Closed);
    wait_until_free(&store.shared);
    assert!(store.is_free());
}

#[tokio::test]
async fn a_close_that_was_given_up_leaves_the_next_waiting_for_the_end() {
    let (arrived, go_on, wait) = halt();
    let (store, writer) = Store::with("claim: world found", wait);
    assert!(give_up(claim(&writer)).await);
    arrived.recv().unwrap();
    for _ in 0..2 {
        assert!(give_up(writer.close()).await, "the thread is at work");
    }
    go_on.send(()).unwrap();
    writer.close().await.unwrap();
    assert!(store.is_free());
    writer.close().await.unwrap();
}

/// Someone who waits and panics when woken, which is done on the thread that answers.
struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panics();
    }
}

#[tokio::test]
async fn a_panic_outside_the_commands_ends_the_thread_and_closing_tells_it() {
    let (arrived, go_on, wait) = halt();
    let (store, writer) = Store::with("claim: world found", wait);
    let mut claim = Box::pin(claim(&writer));
    let waker = Waker::from(Arc::new(Panics));
    let polled = claim.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "the thread is at work");
    arrived.recv().unwrap();
    go_on.send(()).unwrap();
    let error = writer.close().await.unwrap_err();
    assert_eq!(error.to_string(), "the writing thread panicked");
    assert_eq!(store.read().unwrap_err().kind(), ErrorKind::Closed);
    assert!(store.is_free());
    writer.close().await.unwrap();
}

#[tokio::test]
async fn a_panic_while_closing_frees_the_store() {
    let (store, writer) = Store::with("store: flushed", panics);
    let error = writer.close().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("closed in order"), "{error}");
    assert!(store.is_free());
}
