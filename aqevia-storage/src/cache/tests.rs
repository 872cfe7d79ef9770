//! What a cache does, over a store that can be away.
//!
//! Time is paused: it moves on only when every task waits for it.

mod evicting;
#[cfg(feature = "metrics")]
mod figures;
mod loading;
mod stopped;
mod stress;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::*;
use crate::{
    Batch, Captured, Claim, Collection, ControllerConfig, Cut, ErrorKind, Fingerprint, Key, Limit,
    LogRange, LogRow, Memory, Owner, Page, Payload, Receipt, SchemaPolicy, StateRange, StateRow,
    StateSource, StorageBackend, StorageStats, StoreInfo, Usage, WorldPage, WorldRange,
    WorldRecord,
};

/// `Memory`, of which a test can take away the writing, the claims and the snapshots.
#[derive(Default)]
struct Store {
    memory: Memory,
    writes_fail: AtomicBool,
    claims_fail: AtomicBool,
    snapshots_fail: AtomicBool,
    claims: AtomicUsize,
}

impl Store {
    fn check(fails: &AtomicBool) -> Result<()> {
        match fails.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Unavailable, "away on purpose")),
            false => Ok(()),
        }
    }

    /// Lets the writes fail, or succeed again.
    fn away(&self, away: bool) {
        self.writes_fail.store(away, Ordering::Relaxed);
    }

    /// What the store holds of a world.
    async fn numbers(&self, id: &WorldId) -> BTreeMap<Key, u32> {
        read_numbers(&self.memory, id).await.unwrap()
    }
}

#[async_trait]
impl Reads for Store {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.memory.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.memory.state(world, range, limit).await
    }
}

#[async_trait]
impl StorageBackend for Store {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.memory.init(policy).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        Self::check(&self.claims_fail)?;
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.memory.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        match Self::check(&self.writes_fail) {
            Ok(()) => self.memory.persist_batch(batch).await,
            Err(error) => vec![Err(error); batch.parts().len()],
        }
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        Self::check(&self.snapshots_fail)?;
        self.memory.snapshot(world).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.memory.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        self.memory.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        self.memory.stats()
    }

    async fn close(&self) -> Result<()> {
        // Left open, so that a test reads what is there afterwards.
        Ok(())
    }
}

/// What the engine keeps of a world: a number for each key.
struct Galaxy {
    numbers: Mutex<BTreeMap<Key, u32>>,
    bytes: AtomicUsize,
    alive: Arc<AtomicUsize>,
}

impl Drop for Galaxy {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Loads galaxies, and is held up or fails as a test wants it.
struct Loader {
    /// A permit for each load that may go on.
    gate: Semaphore,
    fails: Mutex<VecDeque<Fails>>,
    loads: AtomicUsize,
    /// How many galaxies of each world there are.
    alive: Mutex<BTreeMap<WorldId, Arc<AtomicUsize>>>,
    /// The bytes of a galaxy that was just loaded.
    bytes: usize,
}

/// More than any test has at once.
const LOADS_MAX: u32 = 1000;

enum Fails {
    With(ErrorKind),
    Panics,
    /// Submits a record, and fails then.
    AfterSubmitting,
}

#[async_trait]
impl WorldLoader<Galaxy> for Loader {
    async fn load(&self, world: &World, reads: &dyn Reads) -> Result<Galaxy> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        drop(self.gate.acquire().await.unwrap());
        let fails = self.fails.lock().unwrap().pop_front();
        match fails {
            Some(Fails::With(kind)) => return Err(Error::new(kind, "not loaded on purpose")),
            Some(Fails::Panics) => panic!("on purpose"),
            Some(Fails::AfterSubmitting) => {
                world.record(put(world.id(), "seed", 1))?;
                return Err(Error::new(ErrorKind::Corrupt, "not loaded on purpose"));
            }
            None => {}
        }
        let numbers = read_numbers(reads, world.id()).await?;
        let alive = {
            let mut alive = self.alive.lock().unwrap();
            Arc::clone(alive.entry(world.id().clone()).or_default())
        };
        alive.fetch_add(1, Ordering::Relaxed);
        Ok(Galaxy {
            numbers: Mutex::new(numbers),
            bytes: AtomicUsize::new(self.bytes),
            alive,
        })
    }

    fn bytes(&self, galaxy: &Galaxy) -> usize {
        galaxy.bytes.load(Ordering::Relaxed)
    }
}

impl Loader {
    fn alive(&self, id: &WorldId) -> usize {
        let alive = self.alive.lock().unwrap();
        alive.get(id).map_or(0, |n| n.load(Ordering::Relaxed))
    }
}

/// Gives the numbers of what is dirty.
struct Source(WorldPeek<Galaxy>);

impl StateSource for Source {
    fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let Some(galaxy) = self.0.peek(world) else {
            return Vec::new();
        };
        let numbers = galaxy.numbers.lock().unwrap();
        let captured = cut.take().into_iter().map(|entity| {
            let number = numbers[&entity.key];
            Captured::put(entity, 0, move || Payload::json(&number))
        });
        captured.collect()
    }
}

async fn read_numbers(reads: &dyn Reads, id: &WorldId) -> Result<BTreeMap<Key, u32>> {
    let mut numbers = BTreeMap::new();
    let mut next = Some(StateRange::all());
    while let Some(range) = next {
        let page = reads.state(id, range, Limit::default()).await?;
        let rows = page.items.into_iter();
        numbers.extend(rows.map(|row| {
            let number = std::str::from_utf8(row.payload.as_bytes()).unwrap();
            (row.key, number.parse::<u32>().unwrap())
        }));
        next = page.next;
    }
    Ok(numbers)
}

fn world(name: &str) -> WorldId {
    WorldId::new(name).unwrap()
}

fn key(key: &str) -> Key {
    Key::new(key).unwrap()
}

fn hulls() -> Collection {
    Collection::new("hulls").unwrap()
}

fn put(id: &WorldId, name: &str, number: u32) -> WorldRecord {
    WorldRecord::put(id, &hulls(), key(name), Payload::json(&number).unwrap(), 0)
}

/// An engine with its cache, its controller and the store.
struct Play {
    store: Arc<Store>,
    loader: Arc<Loader>,
    controller: Arc<StorageController>,
    cache: Arc<WorldCache<Galaxy>>,
}

impl Play {
    /// An engine whose galaxies have ten bytes each.
    async fn new(config: CacheConfig) -> Self {
        let play = Self::without_source(config).await;
        let source = Source(play.cache.peeker());
        play.controller.set_state_source(Arc::new(source)).unwrap();
        play
    }

    async fn without_source(config: CacheConfig) -> Self {
        let store = Arc::new(Store::default());
        let backend = Arc::clone(&store) as Arc<dyn StorageBackend>;
        let controller = StorageController::start_here(backend, ControllerConfig::default());
        let controller = Arc::new(controller.await.unwrap());
        let loader = Arc::new(Loader {
            gate: Semaphore::new(LOADS_MAX as usize),
            fails: Mutex::default(),
            loads: AtomicUsize::new(0),
            alive: Mutex::default(),
            bytes: 10,
        });
        let cache = WorldCache::new(&controller, Arc::clone(&loader) as _, config);
        Self {
            store,
            loader,
            controller,
            cache: Arc::new(cache),
        }
    }

    async fn get(&self, name: &str) -> Cached<Galaxy> {
        self.cache.get(&world(name)).await.unwrap()
    }

    /// Gets a world and lets go of it, a second after what was done before.
    async fn touch(&self, name: &str) {
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(self.get(name).await);
    }

    /// The worlds of these that are in memory.
    fn here<'a>(&self, names: &[&'a str]) -> Vec<&'a str> {
        let here = |name: &&str| self.cache.peek(&world(name)).is_some();
        names.iter().copied().filter(here).collect()
    }

    fn loads(&self) -> usize {
        self.loader.loads.load(Ordering::Relaxed)
    }

    /// Lets no load go on until the returned is dropped.
    async fn hold_loads(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.loader.gate.acquire_many(LOADS_MAX).await.unwrap()
    }

    /// Another writer claims a world, and ours finds out.
    async fn fence(&self, name: &str) {
        let (id, owner) = (world(name), Owner::new("another").unwrap());
        let schema = Fingerprint([0; 32]);
        self.store.memory.claim(&id, &owner, schema).await.unwrap();
        let cached = self.cache.peek(&id).unwrap();
        let fenced = cached.world().commit(vec![put(&id, "lost", 1)]).await;
        assert_eq!(fenced.unwrap_err().kind(), ErrorKind::Fenced);
    }
}

impl Cached<Galaxy> {
    /// Changes a number, and hands over a record of it.
    fn put(&self, name: &str, number: u32) {
        self.numbers.lock().unwrap().insert(key(name), number);
        let record = put(self.world().id(), name, number);
        self.world().record(record).unwrap();
    }

    /// Changes a number, and says so.
    fn mark(&self, name: &str, number: u32) {
        self.numbers.lock().unwrap().insert(key(name), number);
        self.world().mark_dirty(&hulls(), &key(name)).unwrap();
    }
}

fn bytes_max(bytes_max: usize) -> CacheConfig {
    CacheConfig {
        bytes_max,
        ..CacheConfig::default()
    }
}
