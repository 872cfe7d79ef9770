//! Backends that are broken in one way each: the reference backend behind a defect.

use std::path::Path;
use std::sync::Arc;

use aqevia_storage::{
    Batch, BatchRecord, Capabilities, Claim, Durability, Fingerprint, Limit, LogRange, LogRow,
    Memory, Owner, Page, Part, Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow,
    StorageBackend, StorageStats, StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use conformance::{Harness, Scene, render};

pub(crate) mod bootstrap;
pub(crate) mod errors;
pub(crate) mod layouts;
pub(crate) mod persisting;
pub(crate) mod reading;
pub(crate) mod writers;

pub(crate) type LogPage = Page<LogRow, LogRange>;
pub(crate) type StatePage = Page<StateRow, StateRange>;

/// What a backend does instead of what the store behind it does. Each backend has its own.
///
/// A defect overrides what it breaks; what it leaves is sound.
#[async_trait]
pub(crate) trait Defect: Send + Sync + 'static {
    async fn init(&self, memory: &Memory, policy: SchemaPolicy) -> Result<StoreInfo> {
        memory.init(policy).await
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

    fn stats(&self, memory: &Memory) -> StorageStats {
        memory.stats()
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        memory.close().await
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
        self.memory.claim(&id, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        self.defect.persist(&self.memory, batch).await
    }

    async fn snapshot(&self, id: &WorldId) -> Result<Box<dyn Reads>> {
        let id = self.defect.world(id);
        self.defect.snapshot(&self.memory, &id).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.memory.worlds(range, limit).await
    }

    async fn usage(&self, id: &WorldId) -> Result<Usage> {
        let id = self.defect.world(id);
        self.memory.usage(&id).await
    }

    fn stats(&self) -> StorageStats {
        self.defect.stats(&self.memory)
    }

    async fn close(&self) -> Result<()> {
        self.defect.close(&self.memory).await
    }
}

/// A harness over a store whose backends all have a defect.
pub(crate) struct BrokenHarness<D> {
    memory: Memory,
    defect: std::marker::PhantomData<D>,
}

#[async_trait]
impl<D: Defect + Default> Harness for BrokenHarness<D> {
    async fn new() -> Self {
        Self {
            memory: Memory::new(),
            defect: std::marker::PhantomData,
        }
    }

    async fn new_in(_folder: &Path) -> Option<Self> {
        unreachable!("a store in memory is in no files")
    }

    async fn at(location: &str) -> Self {
        unreachable!("{location}: a store in memory is in one process")
    }

    fn location(&self) -> String {
        unreachable!("a store in memory is in one process")
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::None,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Broken {
            memory: self.memory.reopen(),
            defect: D::default(),
        })
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        unreachable!("{scene:?}: a store in memory has no layout")
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
    let changed = batch.parts().iter().map(|part| change(part)).collect();
    let batch = Batch::new(changed).expect("one part a world");
    memory.persist_batch(batch).await
}

/// Persists one part.
pub(crate) async fn persist_one(memory: &Memory, part: Arc<Part>) -> Result<Receipt> {
    let batch = Batch::new(vec![part]).expect("one part");
    let mut answers = memory.persist_batch(batch).await;
    answers.pop().expect("one answer")
}
