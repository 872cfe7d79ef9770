//! The storage interface over a folder of sled.

use std::sync::Arc;

use aqevia_storage::{
    Batch, Claim, Error, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Phase, Reads, Receipt,
    Result, SchemaPolicy, StateRange, StateRow, StatsCounter, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::stamp::LAYOUT;
use crate::store::Store;
use crate::usage::usage;
use crate::{SledConfig, read, world};

/// A store in a folder of sled.
///
/// Reading takes a thread that may block, as many at once as [`SledConfig::pool`] says; writing
/// goes through one thread. A snapshot keeps its world from being written for at most
/// [`SledConfig::snapshot_age_max`].
///
/// Dropping it without `close` ends the writing thread after what it has been asked to do, and
/// that lets go of the folder.
#[derive(Debug)]
pub struct Sled {
    config: SledConfig,
    phase: Arc<Phase>,
    stats: Arc<StatsCounter>,
    store: OnceCell<Store>,
}

impl Sled {
    /// A backend for a folder. It touches nothing: `init` does.
    ///
    /// # Errors
    /// `Invalid` if a setting is not what [`SledConfig`] allows.
    pub fn open(config: SledConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config,
            phase: Arc::default(),
            stats: Arc::default(),
            store: OnceCell::new(),
        })
    }

    async fn init_store(&self, policy: SchemaPolicy) -> Result<()> {
        self.phase.check_open()?;
        let open = || Store::open(self.config.clone(), policy, Arc::clone(&self.stats));
        let store = self.store.get_or_try_init(open).await?;
        if let Err(closed) = self.phase.init() {
            // It was closed while this was opening it, so nobody else will.
            store.close().await?;
            return Err(closed);
        }
        Ok(())
    }

    fn store(&self) -> Result<&Store> {
        self.phase.check()?;
        let not_open = || Error::closed("the store is not open");
        self.store.get().ok_or_else(not_open)
    }

    async fn log_page(
        &self,
        world: WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let page = self
            .store()?
            .pool
            .read(move |shared| shared.read(|engine| read::log(engine, &world, range, limit)));
        page.await
    }

    async fn state_page(
        &self,
        world: WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = self
            .store()?
            .pool
            .read(move |shared| shared.read(|engine| read::state(engine, &world, &range, limit)));
        page.await
    }

    async fn world_page(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let page = self
            .store()?
            .pool
            .read(move |shared| shared.read(|engine| world::worlds(engine, &range, limit)));
        page.await
    }

    async fn usage_of(&self, world: WorldId) -> Result<Usage> {
        let usage = self.store()?.pool.read(move |shared| usage(shared, &world));
        usage.await
    }

    async fn claim_world(
        &self,
        world: &WorldId,
        owner: &Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        self.store()?.writer.claim(world, owner, schema).await
    }

    async fn snapshot_of(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let snapshot = self
            .store()?
            .snapshot(world, Arc::clone(&self.phase))
            .await?;
        Ok(Box::new(snapshot))
    }

    /// Counts the error of a call, if it failed, and says what was being done.
    fn answer<T>(&self, result: Result<T>, doing: impl FnOnce() -> String) -> Result<T> {
        let result = result.map_err(|error| error.context(doing()));
        self.stats.count(result)
    }
}

#[async_trait]
impl Reads for Sled {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let page = self.log_page(world.clone(), range, limit).await;
        self.answer(page, || format!("read log of world {world:?}"))
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = self.state_page(world.clone(), range, limit).await;
        self.answer(page, || format!("read state of world {world:?}"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Sled {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let initialised = self.init_store(policy).await;
        self.answer(initialised, || self.config.to_string())?;
        Ok(StoreInfo::new(
            LAYOUT,
            "sled 0.34.7",
            self.config.capabilities(),
        ))
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let claim = self.claim_world(world, owner, schema).await;
        self.answer(claim, || format!("claim world {world:?}"))
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let error = match self.store() {
            Ok(store) => return store.writer.persist(batch).await,
            Err(error) => error,
        };
        let parts = batch.parts().iter();
        let results: Vec<_> = parts.map(|part| Err(part.failed(error.clone()))).collect();
        self.stats.count_batch(&batch, &results);
        results
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let snapshot = self.snapshot_of(world).await;
        self.answer(snapshot, || format!("take snapshot of world {world:?}"))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let page = self.world_page(range, limit).await;
        self.answer(page, || "list worlds".to_owned())
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        let usage = self.usage_of(world.clone()).await;
        self.answer(usage, || format!("count usage of world {world:?}"))
    }

    fn stats(&self) -> StorageStats {
        self.stats.read()
    }

    async fn close(&self) -> Result<()> {
        self.phase.close();
        let Some(store) = self.store.get() else {
            return Ok(());
        };
        let closed = store.close().await;
        self.answer(closed, || format!("close: {}", self.config))
    }
}
