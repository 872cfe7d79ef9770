//! The flush controller: takes records from an engine without letting it wait, and persists them.

mod capture;
mod closing;
mod coalesce;
mod dead_letter;
mod dirty;
mod ending;
mod entity;
mod exposure;
#[cfg(feature = "metrics")]
mod figures;
mod flush;
mod group;
mod health;
mod in_flight;
mod inbox;
mod jobs;
mod lane;
mod messages;
mod opening;
mod reads;
mod report;
mod retry;
mod saving;
mod shared;
mod starting;
mod ticket;
mod world;
mod worlds;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::{
    Error, ErrorKind, Limit, Reads, Result, Sequence, StorageBackend, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange, WorldRecord,
};
use flush::Outcome;
use group::Urgency;
use inbox::Inbox;
use opening::Opening;
use reads::{Remote, run_on};
use report::Report;
use worlds::Worlds;

pub(crate) use opening::Opened;

pub use capture::{Captured, Cut, StateSource};
pub use entity::{Entities, Entity, IntoEntities};
pub use exposure::Exposure;
pub use health::Health;
pub use report::ControllerStats;
pub use shared::Unpersisted;
pub use ticket::{Refused, Ticket, Unflushed};
pub use world::World;

/// Takes records from an engine and persists them, on a thread and a runtime of its own.
///
/// Every call may be made from any thread, within any runtime or none. The async calls that an
/// engine makes often have a `_blocking` twin; [`block_on`] serves for the others. What is accepted
/// is persisted when the first of these happens: the number or the bytes of pending records reach
/// their capacity, the interval since the first of them has passed, a commit or a flush asks for
/// it, the controller shuts down. Answers of the kinds
/// `Unavailable`, `Ambiguous` and `Full` are retried for as long as the controller runs
/// (clause C2).
///
/// Dropping the controller without [`StorageController::shutdown`] persists what it can, for at
/// most the shutdown timeout, during which the dropping thread waits (clause C8).
pub struct StorageController {
    store: Arc<dyn StorageBackend>,
    inbox: Arc<Inbox>,
    report: Arc<Report>,
    runtime: Handle,
    outcome: watch::Receiver<Outcome>,
    worlds: Arc<Worlds>,
    lanes: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

impl StorageController {
    /// What the store is; `None` until a store that was away at the start has been reached.
    #[must_use]
    pub fn store_info(&self) -> Option<&StoreInfo> {
        self.inbox.info().get()
    }

    /// How the controller stands with its store, now and whenever that changes.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use aqevia_storage::{ControllerConfig, Memory, StorageController};
    /// # fn main() -> aqevia_storage::Result<()> {
    /// let store = Arc::new(Memory::new());
    /// let controller = StorageController::start_blocking(store, ControllerConfig::default())?;
    /// assert!(controller.health().borrow().is_healthy());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.report.health()
    }

    /// What would be lost if the process ended now.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        self.inbox.exposure()
    }

    /// Says where the state of dirty entities comes from, once and for all worlds. What was marked
    /// before is captured as well.
    ///
    /// # Errors
    /// `Invalid` if there is a source already.
    pub fn set_state_source(&self, source: Arc<dyn StateSource>) -> Result<()> {
        let set = self.inbox.source().set(source);
        set.map_err(|_| Error::invalid("set the state source: there is one already"))?;
        self.inbox.wake();
        Ok(())
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
        let opening = self.opening(id);
        // A task of its own: a claim that its caller gave up must not come in after the next one.
        self.on_runtime(opening.run()).await
    }

    /// Opens a world whose state the engine already has, as it was at `head`: zero for a new one.
    /// The world takes records at once, whether or not the store can be reached.
    ///
    /// It is claimed when the store is there. If it does not stand at `head` then, because another
    /// has written to it, it is stopped as `Fenced` and nothing is written. Who has claimed it and
    /// not written yet is fenced, as by [`StorageController::open_world`].
    ///
    /// # Errors
    /// `Invalid` if the world is open, or being opened; `Closed` after shutdown.
    pub fn adopt_world(&self, id: WorldId, head: Sequence) -> Result<World> {
        let opening = self.opening(id);
        let doing = |error: Error| error.context(format_args!("adopt world {:?}", opening.id));
        // Nobody finds the world before the loop has been told of it.
        let adopted = self.worlds.meanwhile(|| opening.adopt(head));
        adopted.map_err(doing)
    }

    /// Lets go of a world: everything that was accepted or marked for it is persisted, and its
    /// handles refuse what comes later. Opening it again claims it anew.
    ///
    /// A world that is not open is closed. One that was stopped is let go of, and its claim is not
    /// asked for: what it left is its handle's, and [`StorageController::shutdown`] tells of it.
    ///
    /// # Errors
    /// Those of [`World::save`]; `Unavailable` if the engine goes on handing over records, so that
    /// there is always something unsaved. The world stays open then.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the world open or closed.
    pub async fn close_world(&self, id: &WorldId) -> Result<()> {
        for _ in 0..CLOSING_TRIES {
            let Some(world) = self.worlds.find(id) else {
                return Ok(());
            };
            if world.stopped().is_none() {
                world.save().await?;
                world.commit(Vec::new()).await?;
            }
            if self.close_if_clean(&world).await? {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("close world {id:?}: records come in all the time; stop them and try again"),
        ))
    }

    /// Closes a world if nothing of it is unsaved; whether it did.
    async fn close_if_clean(&self, world: &World) -> Result<bool> {
        let closed = self.begin_close(world)?.await.unwrap_or(false);
        if closed {
            self.let_go(world);
        }
        Ok(closed)
    }

    /// Captures what is dirty in every open world, and waits until it is durable.
    ///
    /// # Errors
    /// The first error of [`World::save`], after all other worlds are saved; `Closed` after
    /// shutdown.
    ///
    /// # Cancel safety
    /// The captures are under way when this is first polled; dropping the future gives up the
    /// answer.
    pub async fn save_all(&self) -> Result<Saved> {
        self.inbox.check_open()?;
        let worlds = self.worlds.all();
        let worlds = worlds.values().filter(|world| world.stopped().is_none());
        let saving: Vec<_> = worlds.map(World::begin_save).collect();
        let mut saved = Ok(Saved::default());
        for saving in saving {
            let entities = match saving {
                Ok(saving) => saving.finish().await,
                Err(error) => Err(error),
            };
            saved = match (saved, entities) {
                (Ok(saved), Ok(entities)) => Ok(saved.and(entities)),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        saved
    }

    /// [`StorageController::save_all`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::save_all`].
    pub fn save_all_blocking(&self) -> Result<Saved> {
        block_on(self.save_all())
    }

    /// [`StorageController::open_world`] on this thread, which may be any.
    ///
    /// # Errors
    /// As [`StorageController::open_world`].
    pub fn open_world_blocking(&self, id: WorldId) -> Result<World> {
        block_on(self.open_world(id))
    }

    fn opening(&self, id: WorldId) -> Opening {
        Opening {
            worlds: Arc::clone(&self.worlds),
            place: self.worlds.place(&id),
            id,
            store: Arc::clone(&self.store),
            inbox: Arc::clone(&self.inbox),
            lane: self.lanes.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// Hands over one record of any open world without asking what becomes of it.
    ///
    /// # Errors
    /// `Invalid` if its world is not open, and those of [`World::record`]. The record is handed
    /// back.
    pub fn record(&self, record: WorldRecord) -> Result<(), Refused> {
        let Some(world) = self.worlds.find(&record.world) else {
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
        let worlds = self.worlds.all();
        let marks = worlds
            .values()
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
        self.report.read(&self.inbox)
    }

    /// Gives the recorder of the crate `metrics` the figures of this moment: those of
    /// [`metric`](crate::metric) that begin with `aqevia_controller_`.
    ///
    /// The controller does so itself after each flush, each try that failed, and each capture. In
    /// between the age of what waits grows, and nothing is flushed while a store does not answer:
    /// whoever reads the figures calls this before. It waits for nothing but the recorder, and is
    /// not for the engine's thread. Of several controllers in a program the counters are sums, and
    /// the gauges those of the one that told last.
    #[cfg(feature = "metrics")]
    pub fn record_metrics(&self) {
        self.report.record_metrics(&self.inbox);
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
            .field("store", &self.store_info())
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

/// What [`StorageController::save_all`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Worlds that had dirty entities.
    pub worlds: usize,
    /// Those entities.
    pub entities: usize,
}

impl Saved {
    fn and(self, entities: usize) -> Self {
        Self {
            worlds: self.worlds + usize::from(entities > 0),
            entities: self.entities + entities,
        }
    }
}

/// How often a world is saved before it is given up to close it.
const CLOSING_TRIES: usize = 8;

#[cfg(test)]
mod tests;
