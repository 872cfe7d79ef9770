//! The storage interface over a database in Postgres.

use std::sync::Arc;

use aqevia_storage::{
    Batch, Claim, Error, Fingerprint, Limit, LogRange, LogRow, Owner, Page, Phase, Reads, Receipt,
    Result, SchemaPolicy, StateRange, StateRow, StatsCounter, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::layout::LAYOUT;
use crate::store::Store;
use crate::{PostgresConfig, read, world};

/// A store in a schema of a Postgres database.
///
/// Reading takes one of a pool of sessions, writing one of another. A snapshot holds a session that
/// reads for at most [`PostgresConfig::snapshot_age_max`]. Each call is carried out by a task of its
/// own, which goes on when the call's future is dropped.
///
/// It belongs to the Tokio runtime that it is initialised in. Dropping it without `close` cuts its
/// connections after what they have been asked to do.
#[derive(Debug)]
pub struct Postgres {
    config: PostgresConfig,
    phase: Arc<Phase>,
    stats: Arc<StatsCounter>,
    store: OnceCell<Store>,
}

impl Postgres {
    /// A backend for a schema. It touches nothing: `init` does.
    ///
    /// # Errors
    /// `Invalid` if a setting is not what [`PostgresConfig`] allows.
    pub fn open(config: PostgresConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config,
            phase: Arc::default(),
            stats: Arc::default(),
            store: OnceCell::new(),
        })
    }

    async fn init_store(&self, policy: SchemaPolicy) -> Result<&Store> {
        self.phase.check_open()?;
        let open = || Store::open(self.config.clone(), policy, Arc::clone(&self.stats));
        let store = self.store.get_or_try_init(open).await?;
        if let Err(closed) = self.phase.init() {
            // It was closed while this was opening it, so nobody else will.
            store.close().await;
            return Err(closed);
        }
        Ok(store)
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
        let page = self.store()?.read(Box::new(move |c| {
            Box::pin(async move { read::log(c, &world, range, limit).await })
        }));
        page.await
    }

    async fn state_page(
        &self,
        world: WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let page = self.store()?.read(Box::new(move |c| {
            Box::pin(async move { read::state(c, &world, &range, limit).await })
        }));
        page.await
    }

    async fn world_page(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let page = self.store()?.read(Box::new(move |c| {
            Box::pin(async move { world::worlds(c, &range, limit).await })
        }));
        page.await
    }

    async fn usage_of(&self, world: WorldId) -> Result<Usage> {
        let usage = self.store()?.read(Box::new(move |c| {
            Box::pin(async move { read::usage(c, &world).await })
        }));
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
impl Reads for Postgres {
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
impl StorageBackend for Postgres {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let initialised = self.init_store(policy).await;
        let store = self.answer(initialised, || self.config.to_string())?;
        let layout = LAYOUT.cast_unsigned();
        Ok(StoreInfo::new(layout, store.engine(), store.capabilities()))
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
        if let Some(store) = self.store.get() {
            store.close().await;
        }
        Ok(())
    }
}
