//! The flush controller: takes records from an engine without letting it wait, and persists them.

mod flush;
mod inbox;
mod lane;
mod opening;
mod reads;
mod report;
mod ticket;
mod world;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{OnceCell, oneshot, watch};

use crate::{
    ControllerConfig, Error, Limit, Reads, Result, StorageBackend, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange, WorldRecord,
};
use flush::{FlushLoop, Outcome};
use inbox::{Inbox, Urgency};
use opening::{Opening, Place};
use reads::{Remote, run_on};
use report::Report;

pub use report::ControllerStats;
pub use ticket::{Refused, Ticket, Unflushed};
pub use world::{Unpersisted, World};

/// Takes records from an engine and persists them, on a thread and a runtime of its own.
///
/// Every call may be made from any thread, within any runtime or none. The async calls that an
/// engine makes often have a `_blocking` twin; [`block_on`] serves for the others. What is accepted is persisted when the first of these happens: the number or
/// the bytes of pending records reach their capacity, the interval since the first of them has
/// passed, a commit or a flush asks for it, the controller shuts down. Answers of the kinds
/// `Unavailable`, `Ambiguous` and `Full` are retried for as long as the controller runs
/// (clause C2).
///
/// Dropping the controller without [`StorageController::shutdown`] persists what it can, for at
/// most the shutdown timeout, during which the dropping thread waits (clause C8).
pub struct StorageController {
    store: Arc<dyn StorageBackend>,
    info: StoreInfo,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    runtime: Handle,
    outcome: watch::Receiver<Outcome>,
    worlds: Mutex<HashMap<WorldId, Arc<Place>>>,
    lanes: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl StorageController {
    /// Initialises the store and starts the controller on a thread of its own.
    ///
    /// # Errors
    /// `Invalid` if a setting is out of its range, and those of [`StorageBackend::init`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves an initialised store, and ends the thread.
    pub async fn start(store: Arc<dyn StorageBackend>, config: ControllerConfig) -> Result<Self> {
        config.check()?;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| no_thread(error, "make a runtime"))?;
        let handle = runtime.handle().clone();
        let (started, starting) = oneshot::channel();
        let to_init = Arc::clone(&store);
        let thread = thread::Builder::new().name("aqevia-storage".into());
        let thread = thread.spawn(move || {
            runtime.block_on(serve(to_init, config, started));
            // A call that hangs in the store must not hold up who waits for this thread.
            runtime.shutdown_background();
        });
        let thread = thread.map_err(|error| no_thread(error, "start a thread"))?;
        let ended = |_| Error::closed("start the controller: its thread ended");
        let parts = starting.await.map_err(ended)??;
        Ok(Self::assemble(store, parts, handle, Some(thread)))
    }

    /// [`StorageController::start`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::start`].
    pub fn start_blocking(
        store: Arc<dyn StorageBackend>,
        config: ControllerConfig,
    ) -> Result<Self> {
        block_on(Self::start(store, config))
    }

    /// Starts the controller on the runtime that this is called in, for a test that pauses time.
    ///
    /// Dropping such a controller asks its loop to end and does not wait for that. On a runtime of
    /// one thread, a `_blocking` twin would wait for a loop that it keeps from running.
    ///
    /// # Errors
    /// As [`StorageController::start`].
    ///
    /// # Panics
    /// If it is polled outside a Tokio runtime.
    pub async fn start_here(
        store: Arc<dyn StorageBackend>,
        config: ControllerConfig,
    ) -> Result<Self> {
        config.check()?;
        let (started, starting) = oneshot::channel();
        tokio::spawn(serve(Arc::clone(&store), config, started));
        let ended = |_| Error::closed("start the controller: its task ended");
        let parts = starting.await.map_err(ended)??;
        Ok(Self::assemble(store, parts, Handle::current(), None))
    }

    fn assemble(
        store: Arc<dyn StorageBackend>,
        parts: Started,
        runtime: Handle,
        thread: Option<JoinHandle<()>>,
    ) -> Self {
        Self {
            store,
            info: parts.info,
            inbox: parts.inbox,
            report: parts.report,
            runtime,
            outcome: parts.outcome,
            worlds: Mutex::default(),
            lanes: AtomicU64::new(0),
            thread,
        }
    }

    /// What the store is.
    #[must_use]
    pub const fn store_info(&self) -> &StoreInfo {
        &self.info
    }

    /// Claims a world for writing, or returns the one that is open (clause C10).
    ///
    /// A world that was stopped, by being fenced or otherwise, is claimed anew: call this again
    /// only if taking the world over is meant, and read its state again. What was not persisted
    /// before is then taken from the new handle, by [`World::take_unpersisted`].
    ///
    /// # Errors
    /// Those of [`StorageBackend::claim`]; `Closed` after shutdown.
    ///
    /// # Cancel safety
    /// Once this is polled the world is opened, also when the future is dropped.
    pub async fn open_world(&self, id: WorldId) -> Result<World> {
        let opening = Opening {
            place: self.place(&id),
            id,
            store: Arc::clone(&self.store),
            inbox: Arc::clone(&self.inbox),
            lane: self.lanes.fetch_add(1, Ordering::Relaxed),
        };
        // A task of its own: a claim that its caller gave up must not come in after the next one.
        self.on_runtime(opening.run()).await
    }

    /// [`StorageController::open_world`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::open_world`].
    pub fn open_world_blocking(&self, id: WorldId) -> Result<World> {
        block_on(self.open_world(id))
    }

    /// The place of a world: the one there is, or another after one that was stopped.
    fn place(&self, id: &WorldId) -> Arc<Place> {
        let mut worlds = self.lock_worlds();
        let place = worlds.entry(id.clone()).or_default();
        let world = place.world.get();
        if let Some(before) = world.filter(|world| world.stopped().is_some()).cloned() {
            *place = Arc::new(Place {
                world: OnceCell::new(),
                before: Some(before),
            });
        }
        Arc::clone(place)
    }

    /// Hands over one record of any open world without asking what becomes of it.
    ///
    /// # Errors
    /// `Invalid` if its world is not open, and those of [`World::record`]. The record is handed
    /// back.
    pub fn record(&self, record: WorldRecord) -> Result<(), Refused> {
        let world = {
            let worlds = self.lock_worlds();
            worlds
                .get(&record.world)
                .and_then(|place| place.world.get().cloned())
        };
        let Some(world) = world else {
            let id = &record.world;
            let error = Error::invalid(format!("record in world {id:?}: it is not open"));
            return Err(Refused::new(error, vec![record]));
        };
        world.record(record)
    }

    /// Waits until everything accepted before is durable, in every open world (clause C1).
    ///
    /// A world that another writer has claimed is found out by the next part, not by this.
    ///
    /// # Errors
    /// The error of a world that is stopped, after all others are durable; `Closed` after shutdown.
    ///
    /// # Cancel safety
    /// The flush is under way when this is first polled; dropping the future gives up the answer.
    pub async fn flush(&self) -> Result<()> {
        self.inbox.check_open()?;
        let worlds: Vec<World> = {
            let worlds = self.lock_worlds();
            worlds
                .values()
                .filter_map(|place| place.world.get().cloned())
                .collect()
        };
        let marks = worlds
            .iter()
            .map(|world| world.hand_over(Vec::new(), Urgency::Now));
        let marks: Vec<Result<Ticket, Refused>> = marks.collect();
        let mut result = Ok(());
        for mark in marks {
            let durable = match mark {
                Ok(ticket) => ticket.await.map(|_| ()),
                Err(refused) => Err(refused.error),
            };
            result = result.and(durable);
        }
        result
    }

    /// [`StorageController::flush`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::flush`].
    pub fn flush_blocking(&self) -> Result<()> {
        block_on(self.flush())
    }

    /// Accepts nothing more, persists all that was accepted, and closes the store (clause C6).
    ///
    /// Calling it again gives the same answer.
    ///
    /// # Errors
    /// What could not be persisted within the shutdown timeout, and why.
    ///
    /// # Cancel safety
    /// The shutdown is under way when this is first polled, and goes on when the future is dropped.
    pub async fn shutdown(&self) -> Result<(), Unflushed> {
        self.inbox.close();
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await;
        match ended.ok().and_then(|outcome| outcome.clone()) {
            Some(outcome) => outcome,
            None => {
                let error = Error::closed("the flush loop ended without an outcome");
                Err(Unflushed::nothing(error))
            }
        }
    }

    /// [`StorageController::shutdown`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::shutdown`].
    pub fn shutdown_blocking(&self) -> Result<(), Unflushed> {
        block_on(self.shutdown())
    }

    /// What the controller did so far, and how it stands.
    #[must_use]
    pub fn stats(&self) -> ControllerStats {
        self.report.read(self.inbox.pending())
    }

    /// A page of the store's worlds, open or not. This claims none.
    ///
    /// # Errors
    /// Those of [`StorageBackend::worlds`]; `Closed` after shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let store = Arc::clone(&self.store);
        self.on_runtime(async move { store.worlds(range, limit).await })
            .await
    }

    /// What a world holds, counted in the store. Pending records are not in it.
    ///
    /// # Errors
    /// Those of [`StorageBackend::usage`]; `Closed` after shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn usage(&self, world: &WorldId) -> Result<Usage> {
        let (store, world) = (Arc::clone(&self.store), world.clone());
        self.on_runtime(async move { store.usage(&world).await })
            .await
    }

    /// A consistent view of one world for any number of pages, read on the controller's runtime.
    ///
    /// # Errors
    /// Those of [`StorageBackend::snapshot`]; `Closed` after shutdown.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let (store, world) = (Arc::clone(&self.store), world.clone());
        let snapshot = self.on_runtime(async move { store.snapshot(&world).await });
        Ok(Box::new(Remote {
            reads: Arc::from(snapshot.await?),
            runtime: self.runtime.clone(),
        }))
    }

    /// Runs work on the controller's runtime, where the store's connections live.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        run_on(&self.runtime, work).await
    }

    fn lock_worlds(&self) -> MutexGuard<'_, HashMap<WorldId, Arc<Place>>> {
        self.worlds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StorageController {
    fn drop(&mut self) {
        self.inbox.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A task of the controller's own runtime may hold the last reference to it.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!(target: "aqevia_storage::controller", "the flush loop panicked");
        }
    }
}

impl fmt::Debug for StorageController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageController")
            .field("store", &self.info)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Waits for any future of this crate on this thread, which may be one of a runtime or not.
///
/// ```
/// # use std::sync::Arc;
/// use aqevia_storage::{
///     ControllerConfig, Limit, Memory, Reads, StateRange, StorageController, WorldId, block_on,
/// };
///
/// # fn main() -> aqevia_storage::Result<()> {
/// let store = Arc::new(Memory::new());
/// let controller = StorageController::start_blocking(store, ControllerConfig::default())?;
/// let arda = WorldId::new("arda")?;
/// let page = block_on(controller.state(&arda, StateRange::all(), Limit::default()))?;
/// assert!(page.items.is_empty());
/// # Ok(())
/// # }
/// ```
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // Within a task Tokio lets a future come to rest now and then, to be polled again once others
    // had their turn. Here that turn never comes.
    pollster::block_on(tokio::task::unconstrained(future))
}

/// What a started loop shares with its controller.
struct Started {
    info: StoreInfo,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    outcome: watch::Receiver<Outcome>,
}

/// Initialises the store, tells the controller, and runs the flush loop.
async fn serve(
    store: Arc<dyn StorageBackend>,
    config: ControllerConfig,
    started: oneshot::Sender<Result<Started>>,
) {
    let info = match store.init(config.schema_policy).await {
        Ok(info) => info,
        // Nobody may be waiting any more.
        Err(error) => return drop(started.send(Err(error))),
    };
    let inbox = Arc::new(Inbox::new(config));
    let report = Arc::new(Report::default());
    report.set_ready(true);
    let (sender, outcome) = watch::channel(None);
    let flush_loop = FlushLoop::new(store, Arc::clone(&inbox), Arc::clone(&report), sender);
    let parts = Started {
        info,
        inbox: Arc::clone(&inbox),
        report,
        outcome,
    };
    if started.send(Ok(parts)).is_err() {
        inbox.close();
    }
    flush_loop.run().await;
}

fn no_thread(error: std::io::Error, doing: &str) -> Error {
    let message = format!("start the controller: {doing}: {error}");
    Error::new(crate::ErrorKind::Unavailable, message).with_source(error)
}

#[cfg(test)]
mod tests;
