//! Worlds in and out of memory: loaded when they are asked for, let go of when nobody uses them.

mod config;
mod evicting;
#[cfg(feature = "metrics")]
mod figures;
mod loading;
mod shelf;
mod slot;
mod victim;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;

use crate::{Error, Reads, Result, StorageController, World, WorldId, block_on};
use shelf::{Found, Shelf};

pub use config::{CacheConfig, CacheStats, Evicted};
pub use slot::Cached;

/// The engine's side of a cache: makes its own type of what the store holds of a world.
#[async_trait]
pub trait WorldLoader<W>: Send + Sync + 'static {
    /// Makes what the engine keeps in memory of a world. `reads` is a snapshot with all that was
    /// accepted for it: of a world that was claimed for this, all up to [`World::opened_at`].
    ///
    /// It is not called twice at once for one world. It runs on the controller's runtime, beside
    /// the flush loop: what computes for long belongs on a thread of its own, as
    /// `tokio::task::spawn_blocking` gives. Where a snapshot does not let the writer of its world
    /// go on (clause R7), what is submitted here is not to be waited for here.
    ///
    /// A world that was stopped and is opened anew may hold what was not persisted: it is taken
    /// with [`World::take_unpersisted`], here or later.
    ///
    /// # Errors
    /// Whatever is told to those who wait for the world.
    async fn load(&self, world: &World, reads: &dyn Reads) -> Result<W>;

    /// About how many bytes of memory a world takes. Asked for when it was loaded, and when worlds
    /// are evicted, of those that were used; on the controller's thread, so it is to be quick.
    fn bytes(&self, value: &W) -> usize;
}

/// The worlds that an engine has in memory.
///
/// A world that is asked for and not there is opened and loaded, once, however many wait for it.
/// Whoever gets it holds a handle, [`Cached`]. When nobody does, the world is *idle*; it is kept
/// until there are more bytes or worlds than [`CacheConfig`] allows, or it has been idle for too
/// long. Then it is *evicted*, the one first that was used least recently: what is dirty or pending
/// is saved, the world is closed, and the engine's type is dropped. A world that cannot be saved
/// stays, and so does one that is used meanwhile.
///
/// Eviction runs after a load that leads over a bound, and by [`WorldCache::evict`], which an
/// engine calls from time to time: nothing else lets go of what has become old, or idle since the
/// last load. There is no thread for it.
///
/// All that writes a world of the cache gets it from the cache. While a handle of a world is held,
/// there is no second value of that world.
///
/// ```
/// # use std::collections::BTreeMap;
/// # use std::sync::{Arc, Mutex};
/// use aqevia_storage::{
///     CacheConfig, Collection, ControllerConfig, Key, Limit, Memory, Payload, Reads, Result,
///     StateRange, StorageController, World, WorldCache, WorldId, WorldLoader, WorldRecord,
/// };
///
/// #[derive(Default)]
/// struct Galaxy {
///     planets: Mutex<BTreeMap<Key, Payload>>,
/// }
///
/// struct FromStore;
///
/// #[async_trait::async_trait]
/// impl WorldLoader<Galaxy> for FromStore {
///     async fn load(&self, world: &World, reads: &dyn Reads) -> Result<Galaxy> {
///         let mut planets = BTreeMap::new();
///         let mut next = Some(StateRange::all());
///         while let Some(range) = next {
///             let page = reads.state(world.id(), range, Limit::default()).await?;
///             planets.extend(page.items.into_iter().map(|row| (row.key, row.payload)));
///             next = page.next;
///         }
///         Ok(Galaxy { planets: Mutex::new(planets) })
///     }
///
///     fn bytes(&self, galaxy: &Galaxy) -> usize {
///         let planets = galaxy.planets.lock().unwrap();
///         planets.iter().map(|(key, planet)| key.as_str().len() + planet.len()).sum()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<()> {
/// let store = Arc::new(Memory::new());
/// let controller = StorageController::start(store, ControllerConfig::default()).await?;
/// let controller = Arc::new(controller);
/// let cache = WorldCache::new(&controller, Arc::new(FromStore), CacheConfig::default());
///
/// let id = WorldId::new("galaxy-7")?;
/// let galaxy = cache.get(&id).await?;
/// let (planets, key) = (Collection::new("planets")?, Key::new("p1")?);
/// let planet = Payload::json(&"blue")?;
/// galaxy.planets.lock().unwrap().insert(key.clone(), planet.clone());
/// galaxy.world().record(WorldRecord::put(&id, &planets, key, planet, 0))?;
/// drop(galaxy); // it is idle now, and goes when room is needed
///
/// let again = cache.get(&id).await?;
/// assert_eq!(again.planets.lock().unwrap().len(), 1);
/// assert_eq!(cache.stats().hits, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Worlds that were stopped
/// A world that was fenced, or stopped otherwise, is still in memory: who holds it goes on reading,
/// and [`WorldCache::peek`] finds it. As long as a handle is held, `get` answers with what stopped
/// it. Once none is, `get` **opens it anew, which takes it over from whoever writes it by then**
/// (clause C10), and loads it; what was dirty in it and not saved is dropped with the former value.
/// If that fails, the former stays. An engine that does not mean to take the world over calls
/// [`WorldCache::discard`] instead. Unless something of it is unsaved, it is evicted like others.
///
/// # With a state source
/// A [`StateSource`](crate::StateSource) of the same engine finds its worlds through a
/// [`WorldPeek`], which keeps neither the cache nor the controller alive:
///
/// ```
/// # use std::sync::Mutex;
/// # use aqevia_storage::{Captured, Cut, Payload, StateSource, WorldId, WorldPeek};
/// # struct Galaxy { turn: Mutex<u32> }
/// struct Source(WorldPeek<Galaxy>);
///
/// impl StateSource for Source {
///     fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
///         let Some(galaxy) = self.0.peek(world) else {
///             return Vec::new(); // What is dirty stays so, and is asked for again.
///         };
///         let turn = galaxy.turn.lock().unwrap();
///         let now = *turn;
///         let dirty = cut.take().into_iter();
///         dirty.map(|entity| Captured::put(entity, 0, move || Payload::json(&now))).collect()
///     }
/// }
/// ```
///
/// A world is saved before it is evicted, and is found by `peek` while it is being saved.
pub struct WorldCache<W: Send + Sync + 'static> {
    controller: Arc<StorageController>,
    shared: Arc<Shared<W>>,
}

/// What the tasks of a cache know. They outlive neither it nor the controller on purpose: a
/// controller that is dropped waits until all is persisted, in the thread that drops it.
struct Shared<W> {
    controller: Weak<StorageController>,
    loader: Arc<dyn WorldLoader<W>>,
    config: CacheConfig,
    shelf: Mutex<Shelf<W>>,
    /// One pass of eviction runs at a time.
    passes: tokio::sync::Mutex<()>,
    /// Whether a pass waits to run after the one that does.
    queued: AtomicBool,
    #[cfg(feature = "metrics")]
    figures: Mutex<figures::Figures>,
}

impl<W: Send + Sync + 'static> WorldCache<W> {
    /// An empty cache of worlds that `controller` writes. It keeps the controller alive.
    pub fn new(
        controller: &Arc<StorageController>,
        loader: Arc<dyn WorldLoader<W>>,
        config: CacheConfig,
    ) -> Self {
        Self {
            controller: Arc::clone(controller),
            shared: Arc::new(Shared {
                controller: Arc::downgrade(controller),
                loader,
                config,
                shelf: Mutex::default(),
                passes: tokio::sync::Mutex::default(),
                queued: AtomicBool::new(false),
                #[cfg(feature = "metrics")]
                figures: Mutex::default(),
            }),
        }
    }

    /// A handle of a world, which is opened and loaded if it is not in memory.
    ///
    /// A world that is being evicted is waited for, and loaded anew. A load that fails is told to
    /// all who wait, its world is closed again, and the next call tries again.
    ///
    /// # Errors
    /// Those of [`StorageController::open_world`], of taking a snapshot, and of the loader;
    /// `Invalid` if the loader panics; what stopped the world, if somebody holds a handle of it
    /// still; `Closed` after shutdown. If the world was open already, not by this cache, those of
    /// [`World::save`].
    ///
    /// # Cancel safety
    /// Once this is polled the world is loaded, also when the future is dropped.
    pub async fn get(&self, id: &WorldId) -> Result<Cached<W>> {
        let found = self.shared.lock().find(id);
        let coming = match found {
            Found::Here(cached) => return Ok(cached),
            Found::Stopped(error) => {
                let doing = format_args!("get world {id:?}: it was stopped and is still in use");
                return Err(error.context(doing));
            }
            Found::Missing(coming) => {
                self.shared.begin_load(id.clone());
                coming
            }
            Found::Coming(coming) => coming,
        };
        let ended = |_| Err(Error::closed("the cache ended before the world was loaded"));
        coming.await.unwrap_or_else(ended)
    }

    /// [`WorldCache::get`] on this thread, which may be any but the controller's own.
    ///
    /// # Errors
    /// As [`WorldCache::get`].
    pub fn get_blocking(&self, id: &WorldId) -> Result<Cached<W>> {
        block_on(self.get(id))
    }

    /// A handle of a world that is in memory, also if it was stopped. This loads nothing and does
    /// not count as a use, but the world stays as long as the handle is held. `None` also while the
    /// world is being loaded or evicted.
    #[must_use]
    pub fn peek(&self, id: &WorldId) -> Option<Cached<W>> {
        self.shared.lock().peek(id)
    }

    /// What a [`StateSource`](crate::StateSource) has of this cache.
    #[must_use]
    pub fn peeker(&self) -> WorldPeek<W> {
        WorldPeek(Arc::downgrade(&self.shared))
    }

    /// Evicts what is over the bounds or too old, as far as nobody uses it and it can be saved
    /// within five seconds. After shutdown nothing is evicted that is open.
    ///
    /// # Cancel safety
    /// Once this is polled the worlds are evicted, also when the future is dropped.
    pub async fn evict(&self) -> Evicted {
        let evicting = self.controller.spawn(Arc::clone(&self.shared).evict());
        match evicting.await {
            Ok(evicted) => evicted,
            Err(error) => {
                tracing::error!(target: "aqevia_storage::cache", %error, "eviction ended early");
                Evicted::default()
            }
        }
    }

    /// [`WorldCache::evict`] on this thread, which may be any but the controller's own.
    pub fn evict_blocking(&self) -> Evicted {
        block_on(self.evict())
    }

    /// Lets go of a world that was stopped, with whatever is unsaved in memory, and does not open
    /// it again. `false` if it is not in memory, was not stopped, or is in use.
    ///
    /// What was accepted for it and not persisted is still to be had: from a handle by
    /// [`World::take_unpersisted`], or by `shutdown`, which also tells what was dirty.
    pub fn discard(&self, id: &WorldId) -> bool {
        let slot = self.shared.lock().discard(id);
        slot.is_some()
    }

    /// What the cache holds and what it did.
    #[must_use]
    pub fn stats(&self) -> CacheStats {
        self.shared.lock().stats()
    }

    /// Gives the recorder of the crate `metrics` the figures of this moment: those of
    /// [`metric`](crate::metric) that begin with `aqevia_cache_`.
    ///
    /// The cache does so itself after each load and each pass of eviction. Whoever reads the figures
    /// calls this before, since a hit alone tells nothing. Of several caches in a program the
    /// counters are sums, and the gauges those of the one that told last.
    #[cfg(feature = "metrics")]
    pub fn record_metrics(&self) {
        self.shared.record_metrics();
    }
}

impl<W> Shared<W> {
    /// Locked for as long as it takes to look; no code of the engine's runs meanwhile.
    fn lock(&self) -> MutexGuard<'_, Shelf<W>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(feature = "metrics")]
    fn record_metrics(&self) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        // Order matters: who tells later tells what came later.
        let stats = self.lock().stats();
        figures.tell(stats);
    }

    fn controller(&self) -> Result<Arc<StorageController>> {
        let gone = || Error::closed("the controller has been dropped");
        self.controller.upgrade().ok_or_else(gone)
    }
}

impl<W: Send + Sync + 'static> fmt::Debug for WorldCache<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorldCache")
            .field("config", &self.shared.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Finds the worlds that a cache has in memory, without keeping the cache alive.
pub struct WorldPeek<W>(Weak<Shared<W>>);

impl<W> WorldPeek<W> {
    /// As [`WorldCache::peek`]; `None` also once the cache has been dropped.
    #[must_use]
    pub fn peek(&self, id: &WorldId) -> Option<Cached<W>> {
        self.0.upgrade()?.lock().peek(id)
    }
}

impl<W> Clone for WorldPeek<W> {
    fn clone(&self) -> Self {
        Self(Weak::clone(&self.0))
    }
}

impl<W> fmt::Debug for WorldPeek<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorldPeek")
    }
}

#[cfg(test)]
mod tests;
