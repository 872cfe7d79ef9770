//! Backends that are broken in one way each: the reference backend behind a defect.

use std::sync::Arc;

use aqevia_storage::{
    Batch, BatchRecord, Claim, Fingerprint, History, Limit, LogRange, LogRow, Memory, Owner, Page,
    Part, Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldHead, WorldId, WorldPage, WorldRange, WorldRecord,
};
use async_trait::async_trait;
use conformance::render;

use store::Store;

pub(crate) mod attempt;
pub(crate) mod bootstrap;
pub(crate) mod cached;
pub(crate) mod counts;
pub(crate) mod document;
pub(crate) mod errors;
pub(crate) mod exclusive;
pub(crate) mod fidelity;
pub(crate) mod folding;
pub(crate) mod layouts;
pub(crate) mod matrix;
pub(crate) mod numbers;
pub(crate) mod pages;
pub(crate) mod parts;
pub(crate) mod reading;
pub(crate) mod store;
pub(crate) mod table;
pub(crate) mod writers;

pub(crate) type LogPage = Page<LogRow, LogRange>;
pub(crate) type StatePage = Page<StateRow, StateRange>;

/// What a backend does instead of what the store behind it does. Each backend has its own.
///
/// A defect overrides what it breaks; what it leaves is sound. What it reads from is the store, or
/// a snapshot that the defect itself passes on.
#[async_trait]
pub(crate) trait Defect: Send + Sync + 'static {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        memory.init(policy).await
    }

    async fn claim(
        &self,
        memory: &Memory,
        id: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        memory.claim(id, owner, schema).await
    }

    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        memory.persist_batch(batch).await
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        from.log(id, of, to).await
    }

    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        from.state(id, of, to).await
    }

    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        memory.snapshot(id).await
    }

    /// The world that is meant by a name.
    fn world(&self, id: &WorldId) -> WorldId {
        id.clone()
    }

    async fn worlds(&self, memory: &Memory, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        memory.worlds(range, limit).await
    }

    async fn usage(&self, memory: &Memory, id: &WorldId) -> Result<Usage> {
        memory.usage(id).await
    }

    fn stats(&self, memory: &Memory) -> StorageStats {
        memory.stats()
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        memory.close().await
    }

    /// The defect of another backend over the same store.
    fn another(&self) -> Self
    where
        Self: Default,
    {
        Self::default()
    }
}

/// No defect: shows that the wrapper breaks nothing by itself.
#[derive(Default)]
pub(crate) struct Sound;

impl Defect for Sound {}

/// A backend with a defect.
pub(crate) struct Broken<D> {
    memory: Memory,
    defect: D,
}

#[async_trait]
impl<D: Defect> Reads for Broken<D> {
    async fn log(&self, id: &WorldId, range: LogRange, limit: Limit) -> Result<LogPage> {
        let id = self.defect.world(id);
        self.defect.log(&self.memory, &id, range, limit).await
    }

    async fn state(&self, id: &WorldId, range: StateRange, limit: Limit) -> Result<StatePage> {
        let id = self.defect.world(id);
        self.defect.state(&self.memory, &id, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<D: Defect> StorageBackend for Broken<D> {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.defect.init(&self.memory, policy).await
    }

    async fn claim(&self, id: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let id = self.defect.world(id);
        self.defect.claim(&self.memory, &id, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        self.defect.persist(&self.memory, batch).await
    }

    async fn snapshot(&self, id: &WorldId) -> Result<Box<dyn Reads>> {
        let id = self.defect.world(id);
        self.defect.snapshot(&self.memory, &id).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.defect.worlds(&self.memory, range, limit).await
    }

    async fn usage(&self, id: &WorldId) -> Result<Usage> {
        let id = self.defect.world(id);
        self.defect.usage(&self.memory, &id).await
    }

    fn stats(&self) -> StorageStats {
        self.defect.stats(&self.memory)
    }

    async fn close(&self) -> Result<()> {
        self.defect.close(&self.memory).await
    }
}

/// A store whose backends all have a defect.
pub(crate) struct BrokenStore<D> {
    memory: Memory,
    defect: D,
}

impl<D: Defect + Default> Default for BrokenStore<D> {
    fn default() -> Self {
        Self {
            memory: Memory::new(),
            defect: D::default(),
        }
    }
}

#[async_trait]
impl<D: Defect + Default> Store for BrokenStore<D> {
    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Broken {
            memory: self.memory.reopen(),
            defect: self.defect.another(),
        })
    }

    async fn dump(&self) -> Vec<u8> {
        let backend = self.memory.reopen();
        backend.init(SchemaPolicy::Upgrade).await.expect("`init`");
        render(&backend).await
    }
}

/// The same part with other records.
pub(crate) fn with_records(part: &Part, records: Vec<BatchRecord>) -> Arc<Part> {
    let (world, link) = (part.world().clone(), part.link());
    let part = Part::new(
        world,
        part.epoch(),
        part.number(),
        part.at_ms(),
        link,
        records,
    );
    Arc::new(part.expect("a part within its limits"))
}

/// Persists a batch after `change` made each of its parts another one.
pub(crate) async fn persist_changed(
    memory: &Memory,
    batch: &Batch,
    change: impl Fn(&Part) -> Arc<Part>,
) -> Vec<Result<Receipt>> {
    let changed = batch.parts().iter().map(|part| {
        let changed = change(part);
        // A part that is left as it was keeps its link.
        match changed.records() == part.records() {
            true => Arc::clone(part),
            false => changed,
        }
    });
    let batch = Batch::new(changed.collect()).expect("one part a world");
    memory.persist_batch(batch).await
}

/// The part with each of its records changed; what is logged stays so.
pub(crate) fn each(part: &Part, mut change: impl FnMut(WorldRecord) -> WorldRecord) -> Arc<Part> {
    let records = part.records().iter().map(|record| {
        let history = match record.is_logged() {
            true => History::All,
            false => History::Latest,
        };
        BatchRecord::new(change(record.record().clone()), history)
    });
    with_records(part, records.collect())
}

/// Where a world stands, if it was claimed.
pub(crate) async fn head(memory: &Memory, world: &WorldId) -> Option<WorldHead> {
    let page = beside(memory).await.worlds(WorldRange::all(), WHOLE).await;
    let heads = page.expect("`worlds`").items;
    heads.into_iter().find(|head| head.world == *world)
}

/// The store seen by a backend of its own, which is open and counts for itself.
pub(crate) async fn beside(memory: &Memory) -> Memory {
    let beside = memory.reopen();
    beside.init(SchemaPolicy::Upgrade).await.expect("`init`");
    beside
}

/// A page that holds whatever the suite writes.
pub(crate) const WHOLE: Limit = Limit {
    items: usize::MAX,
    bytes: usize::MAX,
};

/// Persists one part.
pub(crate) async fn persist_one(memory: &Memory, part: Arc<Part>) -> Result<Receipt> {
    let batch = Batch::new(vec![part]).expect("one part");
    let mut answers = memory.persist_batch(batch).await;
    answers.pop().expect("one answer")
}
