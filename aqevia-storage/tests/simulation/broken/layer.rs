//! A layer that stands between a controller and its store, and tampers with what goes through.

use std::sync::Arc;

use aqevia_storage::{
    Batch, Claim, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Part, Reads, Receipt, Result,
    SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange,
};
use async_trait::async_trait;

pub(super) fn layer(
    store: Arc<dyn StorageBackend>,
    tamper: impl Tamper + 'static,
) -> Arc<dyn StorageBackend> {
    Arc::new(Layer {
        store,
        tamper: Box::new(tamper),
    })
}

/// What a layer does to parts, to their answers, and to reads.
#[async_trait]
pub(super) trait Tamper: Send + Sync {
    /// The part that is handed over instead.
    fn before(&self, part: &Arc<Part>) -> Arc<Part> {
        Arc::clone(part)
    }

    /// The answer that is given instead.
    async fn after(
        &self,
        _store: &dyn StorageBackend,
        _part: &Part,
        answer: Result<Receipt>,
    ) -> Result<Receipt> {
        answer
    }

    async fn before_batch(&self) {}

    async fn before_read(&self, _store: &dyn StorageBackend, _world: &WorldId) {}
}

struct Layer {
    store: Arc<dyn StorageBackend>,
    tamper: Box<dyn Tamper>,
}

#[async_trait]
impl Reads for Layer {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        self.store.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        self.tamper.before_read(&*self.store, world).await;
        self.store.state(world, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Layer {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.store.init(policy).await
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.store.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        self.tamper.before_batch().await;
        let sent: Vec<_> = batch
            .parts()
            .iter()
            .map(|part| self.tamper.before(part))
            .collect();
        // Invariant: what is handed over instead is of the same worlds.
        let given = self.store.persist_batch(Batch::new(sent).unwrap()).await;
        let mut answers = Vec::new();
        for (part, answer) in batch.parts().iter().zip(given) {
            answers.push(self.tamper.after(&*self.store, part, answer).await);
        }
        answers
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        self.store.snapshot(world).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        self.store.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        self.store.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        self.store.stats()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
