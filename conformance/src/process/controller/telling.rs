//! The store below a child's controller, which tells what is asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aqevia_storage::{
    Batch, Claim, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Reads, Receipt, Result,
    SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats, StoreInfo, Usage, WorldId,
    WorldPage, WorldRange,
};
use async_trait::async_trait;

use super::watch::Watch;
use crate::process::announce::Announcer;
use crate::process::ledger::text;
use crate::process::line::Line;
use crate::process::writes::{ANSWERED, CALLED};

/// A backend that tells the parent of each call that writes, and of each part that is answered.
pub(super) struct Telling {
    store: Arc<dyn StorageBackend>,
    announcer: Arc<Announcer>,
    watch: Arc<Watch>,
    calls: AtomicU64,
}

impl Telling {
    pub(super) fn new(
        store: Arc<dyn StorageBackend>,
        announcer: &Arc<Announcer>,
        watch: &Arc<Watch>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            announcer: Arc::clone(announcer),
            watch: Arc::clone(watch),
            calls: AtomicU64::new(0),
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Reads for Telling {
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
        self.store.state(world, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Telling {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        self.announcer.step("call: init");
        let initialised = self.store.init(policy).await;
        self.announcer.step("done: init");
        initialised
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.announcer.step("call: claim");
        let claim = self.store.claim(world, owner, schema).await;
        self.announcer.step("done: claim");
        claim
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let parts = batch.parts().to_vec();
        for violation in parts.iter().filter_map(|part| self.watch.part(part).err()) {
            // The parent ends this process: a panic here would be one of the store.
            Line::Violated { message: violation }.say();
        }
        Line::Persisting { call }.say();
        self.announcer.step(CALLED);
        let answers = self.store.persist_batch(batch).await;
        self.announcer.step(ANSWERED);
        for (part, receipt) in parts.iter().zip(answers.iter().flatten()) {
            Line::Acknowledged {
                world: part.world().to_string(),
                number: part.number().get(),
                first: receipt.first.get(),
                count: part.count(),
                digest: text(part.digest()),
            }
            .say();
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
        self.announcer.step("call: close");
        let closed = self.store.close().await;
        self.announcer.step("done: close");
        closed
    }
}
