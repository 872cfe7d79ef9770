//! A world in memory, and the handles that keep it there.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::World;

/// A world in memory, and what the engine made of it.
///
/// As long as a handle is held, its world is in use and is not evicted. Clones are handles of the
/// same world. What is read through it is the engine's own type; [`Cached::world`] writes.
///
/// A clone of the [`World`] does not keep the world in memory: after an eviction it answers
/// `Closed`.
pub struct Cached<W> {
    slot: Arc<Slot<W>>,
    use_of_it: Use,
}

/// What a handle counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// The world was used, and its age begins anew when the handle is dropped.
    Gotten,
    /// The world was only looked at.
    Peeked,
}

/// A world in memory.
pub(super) struct Slot<W> {
    pub(super) world: World,
    pub(super) value: W,
    usage: Mutex<Usage>,
}

/// How a world is used.
#[derive(Debug)]
pub(super) struct Usage {
    pub(super) handles: usize,
    /// When it was used last, and the how-manieth use of all that was.
    pub(super) used_at: Instant,
    pub(super) order: u64,
    /// Changed only under the lock of the shelf, which knows the sum.
    pub(super) bytes: usize,
    /// Whether the world may have changed since the bytes were estimated.
    pub(super) changed: bool,
    /// The save that was begun last.
    pub(super) save: Option<AbortHandle>,
}

impl<W> Slot<W> {
    pub(super) fn new(world: World, value: W, bytes: usize) -> Self {
        Self {
            world,
            value,
            usage: Mutex::new(Usage {
                handles: 0,
                used_at: Instant::now(),
                order: 0,
                bytes,
                changed: false,
                save: None,
            }),
        }
    }

    /// Locked for as long as it takes to read or to change a number.
    pub(super) fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the world has changes that are only in memory, and no way into the store.
    pub(super) fn holds_what_is_lost(&self) -> bool {
        self.world.is_dirty() || self.world.has_unpersisted()
    }
}

impl<W> Cached<W> {
    /// A handle. The lock of the shelf is held, or another handle.
    pub(super) fn new(slot: &Arc<Slot<W>>, use_of_it: Use) -> Self {
        let mut usage = slot.usage();
        usage.handles += 1;
        usage.changed = true;
        drop(usage);
        Self {
            slot: Arc::clone(slot),
            use_of_it,
        }
    }

    /// The world, for writing.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.slot.world
    }
}

impl<W> Clone for Cached<W> {
    fn clone(&self) -> Self {
        Self::new(&self.slot, self.use_of_it)
    }
}

impl<W> Deref for Cached<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.slot.value
    }
}

impl<W> Drop for Cached<W> {
    fn drop(&mut self) {
        let mut usage = self.slot.usage();
        usage.handles -= 1;
        if self.use_of_it == Use::Gotten {
            usage.used_at = Instant::now();
        }
    }
}

impl<W> fmt::Debug for Cached<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cached").field(self.world()).finish()
    }
}
