//! Where each world of a cache is: coming, in memory, or going.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::config::CacheStats;
use super::slot::{Cached, Slot, Use};
use super::victim::{Victim, is_idle};
use crate::{Error, Result, WorldId};

/// The worlds of a cache. All of it is decided under one lock, which is never held for longer than
/// it takes to look.
#[derive(Debug)]
pub(super) struct Shelf<W> {
    places: HashMap<WorldId, Place<W>>,
    stats: CacheStats,
    uses: u64,
}

impl<W> Default for Shelf<W> {
    fn default() -> Self {
        Self {
            places: HashMap::new(),
            stats: CacheStats::default(),
            uses: 0,
        }
    }
}

/// Who waits for a handle.
type Waiter<W> = oneshot::Sender<Result<Cached<W>>>;

/// Where a handle comes from.
pub(super) type Coming<W> = oneshot::Receiver<Result<Cached<W>>>;

/// Where a world is.
///
/// Invariant: a handle is made only of a world that is here, so that one that is going is in
/// nobody's hands.
enum Place<W> {
    Loading {
        waiters: Vec<Waiter<W>>,
        /// The same world until it was stopped, which stays if the load fails.
        before: Option<Arc<Slot<W>>>,
    },
    Here(Arc<Slot<W>>),
    Closing {
        waiters: Vec<Waiter<W>>,
        /// `None` once the world is closed.
        slot: Option<Arc<Slot<W>>>,
    },
}

impl<W> std::fmt::Debug for Place<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Loading { .. } => "Loading",
            Self::Here(_) => "Here",
            Self::Closing { .. } => "Closing",
        })
    }
}

/// What `get` found.
#[derive(Debug)]
pub(super) enum Found<W> {
    Here(Cached<W>),
    /// It is being loaded or closed.
    Coming(Coming<W>),
    /// It is to be loaded by whoever found this.
    Missing(Coming<W>),
    /// It was stopped, and somebody still holds it.
    Stopped(Error),
}

/// Answers to be given once the lock is released.
#[must_use]
pub(super) struct Answers<W> {
    waiters: Vec<(Waiter<W>, Result<Cached<W>>)>,
    /// What nobody has any more.
    gone: Option<Arc<Slot<W>>>,
}

impl<W> Answers<W> {
    pub(super) fn tell(self) {
        // Order matters: what is gone is gone before somebody has its successor.
        drop(self.gone);
        for (waiter, answer) in self.waiters {
            // Nobody may be waiting any more.
            drop(waiter.send(answer));
        }
    }
}

/// What may be done with a world that is to be evicted.
#[derive(Debug)]
pub(super) enum Closing {
    /// It was used meanwhile.
    CalledOff,
    /// It has unsaved changes.
    Unsaved,
    /// Nobody gets it now, until [`Shelf::end_closing`].
    Begun,
}

impl<W> Shelf<W> {
    /// Finds a world for `get`.
    pub(super) fn find(&mut self, id: &WorldId) -> Found<W> {
        let (sender, coming) = oneshot::channel();
        let before = match self.places.get_mut(id) {
            Some(Place::Loading { waiters, .. } | Place::Closing { waiters, .. }) => {
                waiters.push(sender);
                return Found::Coming(coming);
            }
            Some(Place::Here(slot)) => match slot.world.stopped() {
                None => {
                    let slot = Arc::clone(slot);
                    self.stats.hits += 1;
                    return Found::Here(self.take(&slot));
                }
                Some(error) if slot.usage().handles > 0 => return Found::Stopped(error.clone()),
                Some(_) => Some(Arc::clone(slot)),
            },
            None => None,
        };
        let waiters = vec![sender];
        self.places
            .insert(id.clone(), Place::Loading { waiters, before });
        Found::Missing(coming)
    }

    /// A handle of a world that is here, also if it was stopped.
    pub(super) fn peek(&self, id: &WorldId) -> Option<Cached<W>> {
        match self.places.get(id)? {
            Place::Here(slot) => Some(Cached::new(slot, Use::Peeked)),
            Place::Loading { .. } | Place::Closing { .. } => None,
        }
    }

    /// A load has ended.
    pub(super) fn loaded(&mut self, id: &WorldId, loaded: Result<Slot<W>>) -> Answers<W> {
        let Some(Place::Loading { waiters, before }) = self.places.remove(id) else {
            return Answers {
                waiters: Vec::new(),
                gone: None,
            };
        };
        self.stats.misses += waiters.len() as u64;
        match loaded {
            Ok(slot) => {
                self.stats.loads += 1;
                if let Some(before) = &before {
                    self.subtract(before);
                }
                self.stats.worlds += 1;
                self.stats.bytes += slot.usage().bytes;
                let mut answers = self.put(id, Arc::new(slot), waiters);
                answers.gone = before;
                answers
            }
            Err(error) => {
                self.stats.load_failures += 1;
                if let Some(before) = before {
                    self.places.insert(id.clone(), Place::Here(before));
                }
                let waiters = waiters.into_iter();
                let waiters = waiters.map(|waiter| (waiter, Err(error.clone())));
                Answers {
                    waiters: waiters.collect(),
                    gone: None,
                }
            }
        }
    }

    /// Lets nobody get a world that is to be evicted, if that can still be.
    pub(super) fn begin_closing(&mut self, victim: &Victim) -> Closing {
        let Some(place) = self.places.get_mut(victim.world.id()) else {
            return Closing::CalledOff;
        };
        let Place::Here(slot) = &*place else {
            return Closing::CalledOff;
        };
        if !is_idle(slot) || slot.usage().order != victim.order {
            return Closing::CalledOff;
        }
        let stopped = slot.world.stopped().is_some();
        if slot.world.is_dirty() || (stopped && slot.holds_what_is_lost()) {
            return Closing::Unsaved;
        }
        let slot = Some(Arc::clone(slot));
        let waiters = Vec::new();
        *place = Place::Closing { waiters, slot };
        Closing::Begun
    }

    /// Takes a world out that is closed. Its place is kept until it is gone.
    pub(super) fn closed(&mut self, id: &WorldId) -> Option<Arc<Slot<W>>> {
        let Some(Place::Closing { slot, .. }) = self.places.get_mut(id) else {
            return None;
        };
        let slot = slot.take()?;
        self.stats.evictions += 1;
        self.subtract(&slot);
        Some(slot)
    }

    /// A world is gone, or stays. `None` if it is to be loaded at once.
    pub(super) fn end_closing(&mut self, id: &WorldId) -> Option<Answers<W>> {
        let Some(Place::Closing { waiters, slot }) = self.places.remove(id) else {
            return Some(Answers {
                waiters: Vec::new(),
                gone: None,
            });
        };
        if let Some(slot) = slot {
            self.stats.hits += waiters.len() as u64;
            return Some(self.put(id, slot, waiters));
        }
        if waiters.iter().all(oneshot::Sender::is_closed) {
            return Some(Answers {
                waiters: Vec::new(),
                gone: None,
            });
        }
        let before = None;
        self.places
            .insert(id.clone(), Place::Loading { waiters, before });
        None
    }

    /// Lets go of a world that was stopped, with whatever is unsaved in it.
    pub(super) fn discard(&mut self, id: &WorldId) -> Option<Arc<Slot<W>>> {
        let Some(Place::Here(slot)) = self.places.get(id) else {
            return None;
        };
        if slot.world.stopped().is_none() || slot.usage().handles > 0 {
            return None;
        }
        let slot = Arc::clone(slot);
        self.places.remove(id);
        self.subtract(&slot);
        Some(slot)
    }

    /// The worlds whose size may have changed since it was estimated.
    pub(super) fn changed(&self) -> Vec<Arc<Slot<W>>> {
        let here = self.here();
        here.filter(|slot| slot.usage().changed)
            .map(Arc::clone)
            .collect()
    }

    /// A world was measured, which was in use at that time or not.
    pub(super) fn measured(&mut self, slot: &Arc<Slot<W>>, bytes: usize, in_use: bool) {
        let place = self.places.get(slot.world.id());
        let same = |place: &Place<W>| matches!(place, Place::Here(at) if Arc::ptr_eq(at, slot));
        if place.is_some_and(same) {
            let mut usage = slot.usage();
            self.stats.bytes = self.stats.bytes - usage.bytes + bytes;
            usage.bytes = bytes;
            usage.changed = in_use || usage.handles > 0;
        }
    }

    /// A world that is to be evicted, unless it was used meanwhile.
    pub(super) fn slot(&self, victim: &Victim) -> Option<Arc<Slot<W>>> {
        match self.places.get(victim.world.id())? {
            Place::Here(slot) if slot.usage().order == victim.order => Some(Arc::clone(slot)),
            _ => None,
        }
    }

    pub(super) const fn stats(&self) -> CacheStats {
        self.stats
    }

    pub(super) fn here(&self) -> impl Iterator<Item = &Arc<Slot<W>>> {
        self.places.values().filter_map(|place| match place {
            Place::Here(slot) => Some(slot),
            Place::Loading { .. } | Place::Closing { .. } => None,
        })
    }

    /// Puts a world where it is found, and hands it to who waits.
    fn put(&mut self, id: &WorldId, slot: Arc<Slot<W>>, waiters: Vec<Waiter<W>>) -> Answers<W> {
        let waiters = waiters.into_iter();
        let waiters = waiters.map(|waiter| (waiter, Ok(self.take(&slot))));
        let waiters = waiters.collect();
        self.places.insert(id.clone(), Place::Here(slot));
        Answers {
            waiters,
            gone: None,
        }
    }

    /// A handle, and the newest use.
    fn take(&mut self, slot: &Arc<Slot<W>>) -> Cached<W> {
        self.uses += 1;
        let mut usage = slot.usage();
        usage.order = self.uses;
        usage.used_at = Instant::now();
        drop(usage);
        Cached::new(slot, Use::Gotten)
    }

    fn subtract(&mut self, slot: &Slot<W>) {
        self.stats.worlds -= 1;
        self.stats.bytes -= slot.usage().bytes;
    }
}
