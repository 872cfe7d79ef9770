//! What an engine's handles and the flush loop know of a world, and what was left of it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;

use super::dirty::Dirty;
use super::entity::Entity;
use super::inbox::Inbox;
use super::lane::LaneId;
use crate::{Claim, Error, Sequence, WorldId, WorldRecord};

/// What an engine's handles and the flush loop know of a world.
pub(super) struct WorldShared {
    pub(super) id: WorldId,
    pub(super) lane: LaneId,
    pub(super) opened_at: Sequence,
    pub(super) claim: OnceLock<Claim>,
    pub(super) stopped: OnceLock<Error>,
    /// Whether `close_world` stopped it.
    pub(super) closed: AtomicBool,
    /// Whether the controller has ended, with nothing left of the world.
    ended: AtomicBool,
    /// Told when the world is stopped, or the controller has ended.
    pub(super) stopping: Notify,
    pub(super) unpersisted: Mutex<Unpersisted>,
    pub(super) dirty: Mutex<Dirty>,
}

/// What was accepted for a world before it was stopped, and did not get into the store.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Unpersisted {
    /// The records that are not in the store, in their order.
    pub pending: Vec<WorldRecord>,
    /// The records of which it is not known whether they are in the store, in their order.
    pub in_doubt: Vec<WorldRecord>,
    /// The entities that were marked as dirty and whose state is not in the store.
    pub dirty: Vec<Entity>,
}

impl Unpersisted {
    pub(super) fn extend(&mut self, other: Self) {
        self.pending.extend(other.pending);
        self.in_doubt.extend(other.in_doubt);
        self.dirty.extend(other.dirty);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.in_doubt.is_empty() && self.dirty.is_empty()
    }
}

impl fmt::Debug for Unpersisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pending, in_doubt) = (self.pending.len(), self.in_doubt.len());
        let dirty = self.dirty.len();
        write!(
            f,
            "{pending} records pending, {in_doubt} in doubt, {dirty} entities dirty"
        )
    }
}

impl WorldShared {
    pub(super) fn new(id: WorldId, lane: LaneId, opened_at: Sequence) -> Self {
        Self {
            id,
            lane,
            opened_at,
            claim: OnceLock::new(),
            stopped: OnceLock::new(),
            closed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            stopping: Notify::new(),
            unpersisted: Mutex::default(),
            dirty: Mutex::default(),
        }
    }

    pub(super) const fn id(&self) -> &WorldId {
        &self.id
    }

    pub(super) const fn lane(&self) -> LaneId {
        self.lane
    }

    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.get()
    }

    /// Keeps what the claim found. There is one claim a lane.
    pub(super) fn set_claim(&self, claim: Claim) {
        drop(self.claim.set(claim));
    }

    /// Stops the world and keeps what was not persisted. The first error counts.
    pub(super) fn stop(&self, error: &Error, left: Unpersisted) {
        // Order matters: who sees the error may take the records at once.
        self.keep(left);
        // A second stop changes nothing: `set` refuses it.
        drop(self.stopped.set(error.clone()));
        self.stopping.notify_waiters();
    }

    /// The controller has ended, with nothing left of the world.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        self.stopping.notify_waiters();
    }

    /// What stopped the world, or that nothing is written any more.
    pub(super) fn end_of_writing(&self) -> Option<Error> {
        let ended = || Error::closed("the controller has ended");
        let has_ended = self.ended.load(Ordering::Relaxed);
        self.stopped().cloned().or_else(|| has_ended.then(ended))
    }

    pub(super) fn lock_dirty(&self) -> MutexGuard<'_, Dirty> {
        self.dirty.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets nothing be marked any more. The entities that were.
    pub(super) fn seal_dirty(&self) -> Vec<Entity> {
        self.lock_dirty().seal()
    }

    /// Keeps more of what was not persisted.
    pub(super) fn keep(&self, left: Unpersisted) {
        self.lock_unpersisted().extend(left);
    }

    pub(super) fn stopped(&self) -> Option<&Error> {
        self.stopped.get()
    }

    /// Lets the world be written no more, unless something of it is dirty or was accepted.
    pub(super) fn close_if_clean(&self, inbox: &Inbox) -> bool {
        let mut dirty = self.lock_dirty();
        if dirty.total() > 0 {
            return false;
        }
        // Order matters: nothing is marked or accepted between the looks and this.
        let closed = inbox.close_world(self, || {
            self.closed.store(true, Ordering::Relaxed);
            let closed = Error::closed(format!("world {:?} has been closed", self.id));
            self.stop(&closed, Unpersisted::default());
        });
        if closed {
            drop(dirty.seal());
        }
        closed
    }

    /// Whether something is kept that was not persisted before the world was stopped, or opened
    /// again.
    pub(super) fn has_unpersisted(&self) -> bool {
        !self.lock_unpersisted().is_empty()
    }

    /// Whether nothing is left of a world that was stopped, and nothing can come.
    pub(super) fn is_settled(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && !self.has_left()
    }

    /// Whether a record of the world is neither persisted nor taken, or an entity still dirty.
    fn has_left(&self) -> bool {
        self.has_unpersisted() || self.lock_dirty().total() > 0
    }

    /// The error that stopped the world, if something is left of it.
    pub(super) fn reason(&self) -> Option<Error> {
        let stopped = self.stopped.get().cloned();
        stopped.filter(|_| self.has_left())
    }

    /// What is kept, and what is dirty of a world that was stopped.
    pub(super) fn take_unpersisted(&self) -> Unpersisted {
        let mut left = std::mem::take(&mut *self.lock_unpersisted());
        if self.stopped().is_some() {
            left.dirty.extend(self.seal_dirty());
        }
        left
    }

    fn lock_unpersisted(&self) -> MutexGuard<'_, Unpersisted> {
        self.unpersisted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for WorldShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.claim() {
            Some(claim) => write!(f, "world {:?} at {:?}", self.id, claim.epoch),
            None => write!(f, "world {:?}, not claimed yet", self.id),
        }
    }
}
