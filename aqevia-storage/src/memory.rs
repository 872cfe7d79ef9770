//! The reference backend: the contract in its shortest code, for tests and as a model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::{
    Batch, BatchNumber, Capabilities, Change, Claim, Collection, Digest, Durability, Epoch,
    Fingerprint, Key, Limit, LogRange, LogRow, Owner, Page, Part, Payload, Phase, Reads, Receipt,
    Result, SchemaPolicy, Sequence, StateRange, StateRow, StatsCounter, StorageBackend,
    StorageStats, StoreInfo, Usage, WorldHead, WorldId, WorldPage, WorldRange, WriterCheck,
    check_snapshot,
};

/// A store in the memory of this process. It ends with the last backend that uses it.
///
/// ```
/// # use aqevia_storage::{Memory, SchemaPolicy, StorageBackend};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqevia_storage::Result<()> {
/// let memory = Memory::new();
/// memory.init(SchemaPolicy::Upgrade).await?;
/// memory.close().await?;
/// let again = memory.reopen(); // the same worlds, as after a restart
/// again.init(SchemaPolicy::Upgrade).await
/// #     .map(|_| ())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Memory {
    worlds: Arc<Mutex<Worlds>>,
    phase: Phase,
    stats: StatsCounter,
}

type Worlds = BTreeMap<WorldId, World>;

impl Memory {
    /// A backend over a new, empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another backend, not yet initialised, over the same store.
    #[must_use]
    pub fn reopen(&self) -> Self {
        Self {
            worlds: Arc::clone(&self.worlds),
            ..Self::default()
        }
    }

    fn worlds(&self) -> Result<MutexGuard<'_, Worlds>> {
        self.phase.check()?;
        Ok(self.worlds.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn persist(&self, part: &Part) -> Result<Receipt> {
        let mut worlds = self.worlds()?;
        let world = worlds.entry(part.world().clone()).or_default();
        world.persist(part)
    }
}

#[async_trait]
impl Reads for Memory {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let worlds = self.stats.count(self.worlds())?;
        let world = worlds.get(world);
        Ok(world.map_or_else(no_page, |world| world.log(range, limit)))
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let worlds = self.stats.count(self.worlds())?;
        let world = worlds.get(world);
        Ok(world.map_or_else(no_page, |world| world.state(range, limit)))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Memory {
    async fn init(&self, _policy: SchemaPolicy) -> Result<StoreInfo> {
        self.stats.count(self.phase.init())?;
        let capabilities = Capabilities {
            durability: Durability::None,
            shared: true,
            snapshot: true,
        };
        Ok(StoreInfo::new(1, "memory", capabilities))
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let mut worlds = self.stats.count(self.worlds())?;
        let world = worlds.entry(world.clone()).or_default();
        world.claim.epoch = world.claim.epoch.advance(1)?;
        world.owner = Some(owner.clone());
        let claim = world.claim.clone();
        world.claim.schema = Some(schema);
        Ok(claim)
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let parts = batch.parts().iter();
        let results: Vec<_> = parts
            .map(|part| self.persist(part).map_err(|error| part.failed(error)))
            .collect();
        self.stats.count_batch(&batch, &results);
        results
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let snapshot = Snapshot {
            world: self.stats.count(self.worlds())?.get(world).cloned(),
            id: world.clone(),
        };
        Ok(Box::new(snapshot))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let worlds = self.stats.count(self.worlds())?;
        let heads = worlds
            .iter()
            .filter(|(id, _)| range.after.as_ref().is_none_or(|after| *id > after))
            .filter_map(|(id, world)| world.head(id));
        let (items, full) = take(heads, limit, |head| head.world.as_str().len());
        let last = items.last().filter(|_| full);
        let next = last.map(|head| WorldRange::after(head.world.clone()));
        Ok(WorldPage::new(items, next))
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        let worlds = self.stats.count(self.worlds())?;
        Ok(worlds.get(world).map(World::usage).unwrap_or_default())
    }

    fn stats(&self) -> StorageStats {
        self.stats.read()
    }

    async fn close(&self) -> Result<()> {
        self.phase.close();
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct World {
    owner: Option<Owner>,
    /// What the next claimant gets, but for the epoch, which is raised then.
    claim: Claim,
    log: Vec<LogRow>,
    state: BTreeMap<(Collection, Key), StateRow>,
    batches: BTreeMap<BatchNumber, PersistedPart>,
}

#[derive(Clone, Debug)]
struct PersistedPart {
    epoch: Epoch,
    digest: Digest,
    first: Sequence,
    count: u32,
}

impl Default for World {
    fn default() -> Self {
        let unclaimed = Claim {
            epoch: Epoch::ZERO,
            ..Claim::first()
        };
        Self {
            owner: None,
            claim: unclaimed,
            log: Vec::new(),
            state: BTreeMap::new(),
            batches: BTreeMap::new(),
        }
    }
}

impl World {
    fn persist(&mut self, part: &Part) -> Result<Receipt> {
        let first = self.claim.head.advance(1)?;
        if let Some(persisted) = self.batches.get(&part.number())
            && (persisted.epoch, &persisted.digest) == (part.epoch(), part.digest())
        {
            return Ok(Receipt::repeated(persisted.first, persisted.count));
        }
        self.check_writer(part)?;
        if part.records().is_empty() {
            return Ok(Receipt::written(first, 0));
        }
        let head = self.claim.head.advance(u64::from(part.count()))?;
        for (sequence, record) in (first.get()..).zip(part.records()) {
            let row = LogRow::new(Sequence::new(sequence)?, record.record().clone());
            self.apply(&row);
            if record.is_logged() {
                self.log.push(row);
            }
        }
        self.claim.head = head;
        self.claim.last_number = part.number();
        self.claim.last_at_ms = part.at_ms();
        self.claim.link = part.link();
        let persisted = PersistedPart {
            epoch: part.epoch(),
            digest: *part.digest(),
            first,
            count: part.count(),
        };
        self.batches.insert(part.number(), persisted);
        Ok(Receipt::written(first, part.count()))
    }

    fn check_writer(&self, part: &Part) -> Result<()> {
        let claim = &self.claim;
        WriterCheck {
            epoch: claim.epoch,
            last_number: claim.last_number,
            owner: self.owner.as_ref(),
        }
        .check(part)
    }

    fn apply(&mut self, row: &LogRow) {
        let collection = &row.record.collection;
        match &row.record.change {
            Change::Event { .. } => {}
            Change::Delete { key } => {
                self.state.remove(&(collection.clone(), key.clone()));
            }
            Change::Put { key, payload } => {
                let (sequence, timestamp) = (row.sequence, row.record.timestamp);
                self.state
                    .entry((collection.clone(), key.clone()))
                    .and_modify(|state| {
                        state.payload = payload.clone();
                        state.sequence = sequence;
                        state.last_timestamp = timestamp;
                    })
                    .or_insert_with(|| {
                        let (collection, key) = (collection.clone(), key.clone());
                        StateRow::new(collection, key, payload.clone(), sequence, timestamp)
                    });
            }
        }
    }

    fn head(&self, id: &WorldId) -> Option<WorldHead> {
        let owner = self.owner.clone()?;
        Some(WorldHead {
            head: self.claim.head,
            epoch: self.claim.epoch,
            last_number: self.claim.last_number,
            last_at_ms: self.claim.last_at_ms,
            ..WorldHead::claimed(id.clone(), owner)
        })
    }

    fn usage(&self) -> Usage {
        let logged = self.log.iter().filter_map(|row| row.record.payload());
        let held = self.state.values().map(|row| &row.payload);
        Usage {
            log_records: self.log.len() as u64,
            log_bytes: bytes_of(logged),
            state_keys: self.state.len() as u64,
            state_bytes: bytes_of(held),
            parts: self.batches.len() as u64,
            store_bytes: 0,
        }
    }

    fn log(&self, range: LogRange, limit: Limit) -> Page<LogRow, LogRange> {
        let begin = self.log.partition_point(|row| row.sequence <= range.after);
        let rows = self.log.iter().skip(begin);
        let rows = rows.take_while(|row| row.sequence <= range.until).cloned();
        let (items, full) = take(rows, limit, |row| row.record.bytes());
        let last = items.last().filter(|_| full);
        let next = last.map(|row| LogRange::after(row.sequence).until(range.until));
        Page::new(items, next, self.claim.head)
    }

    fn state(&self, range: StateRange, limit: Limit) -> Page<StateRow, StateRange> {
        let rows = self.state.values();
        let rows = rows.filter(|row| range.contains(&row.collection, &row.key));
        let (items, full) = take(rows.cloned(), limit, StateRow::bytes);
        let last = items.last().filter(|_| full);
        let next = last.map(|row| range.after(row.collection.clone(), row.key.clone()));
        Page::new(items, next, self.claim.head)
    }
}

fn bytes_of<'a>(payloads: impl Iterator<Item = &'a Payload>) -> u64 {
    payloads
        .map(|payload| payload.as_bytes().len() as u64)
        .sum()
}

/// The page of a world that does not exist.
const fn no_page<T, R>() -> Page<T, R> {
    Page::new(Vec::new(), None, Sequence::ZERO)
}

/// The items of a page, and whether others follow.
fn take<T>(
    items: impl Iterator<Item = T>,
    limit: Limit,
    bytes: impl Fn(&T) -> usize,
) -> (Vec<T>, bool) {
    let mut meter = limit.meter();
    let mut page = Vec::new();
    for item in items {
        if !meter.admit(bytes(&item)) {
            return (page, true);
        }
        page.push(item);
    }
    (page, false)
}

struct Snapshot {
    id: WorldId,
    world: Option<World>,
}

impl Snapshot {
    fn check(&self, world: &WorldId) -> Result<()> {
        check_snapshot(&self.id, world)
    }
}

#[async_trait]
impl Reads for Snapshot {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.check(world)?;
        let world = self.world.as_ref();
        Ok(world.map_or_else(no_page, |world| world.log(range, limit)))
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.check(world)?;
        let world = self.world.as_ref();
        Ok(world.map_or_else(no_page, |world| world.state(range, limit)))
    }
}
