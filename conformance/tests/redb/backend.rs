//! The storage interface over a file of redb's.

use std::path::PathBuf;
use std::sync::Arc;

use aqevia_storage::{
    Batch, Capabilities, Claim, Durability, Error, ErrorKind, Fingerprint, Limit, LogRange, LogRow,
    Owner, Page, Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StatsCounter,
    StorageBackend, StorageStats, StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use redb::{ReadTransaction, ReadableDatabase};

use crate::error::failed;
use crate::layout::LAYOUT;
use crate::snapshot::Snapshot;
use crate::store::Store;
use crate::{read, write};

/// What a store in redb can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    durability: Durability::Power,
    shared: false,
    snapshot: true,
};

/// A store in a file of redb's, open in one backend at a time.
///
/// Each call does its work on a thread for blocking calls. redb lets writers in one after the
/// other, and readers go beside them.
///
/// Dropping it waits for the writes that have begun, and closes the file.
#[derive(Debug)]
pub(crate) struct Redb {
    store: Arc<Store>,
    stats: Arc<StatsCounter>,
}

impl Redb {
    /// A backend for a file. It touches nothing: `init` does.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            store: Arc::new(Store::new(path)),
            stats: Arc::default(),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        let work = move || store.with(|database| read(&database.begin_read().map_err(failed)?));
        blocking(ErrorKind::Unavailable, work).await
    }

    async fn claim_world(
        &self,
        world: WorldId,
        owner: Owner,
        schema: Fingerprint,
    ) -> Result<Claim> {
        let store = Arc::clone(&self.store);
        let work = move || store.with(|database| write::claim(database, &world, &owner, schema));
        blocking(ErrorKind::Ambiguous, work).await
    }

    async fn usage_of(&self, world: WorldId) -> Result<Usage> {
        let usage = self.read(move |t| read::usage(t, &world)).await?;
        let store = Arc::clone(&self.store);
        let store_bytes = blocking(ErrorKind::Unavailable, move || store.bytes()).await?;
        Ok(Usage {
            store_bytes,
            ..usage
        })
    }

    /// Counts the error of a call, if it failed, and says what was being done.
    fn answer<T>(&self, result: Result<T>, doing: impl FnOnce() -> String) -> Result<T> {
        let result = result.map_err(|error| error.context(doing()));
        self.stats.count(result)
    }

    fn named(&self, doing: &str) -> String {
        format!("{doing} {:?}", self.store.path())
    }
}

/// Does work on a thread that may block. The work goes on to its end when the caller's future is
/// dropped; `lost` is the kind of an answer that never comes.
pub(crate) async fn blocking<T: Send + 'static>(
    lost: ErrorKind,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let answer = tokio::task::spawn_blocking(work).await;
    // The panic's own message is left out, since redb may have put a payload there.
    answer.unwrap_or_else(|_| Err(Error::new(lost, "the work ended before it answered")))
}

#[async_trait]
impl Reads for Redb {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let id = world.clone();
        let page = self.read(move |t| read::log(t, &id, range, limit)).await;
        self.answer(page, || format!("read log of world {world:?}"))
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let id = world.clone();
        let page = self.read(move |t| read::state(t, &id, &range, limit)).await;
        self.answer(page, || format!("read state of world {world:?}"))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Redb {
    async fn init(&self, policy: SchemaPolicy) -> Result<StoreInfo> {
        let store = Arc::clone(&self.store);
        let opened = blocking(ErrorKind::Unavailable, move || store.open(policy)).await;
        self.answer(opened, || self.named("open"))?;
        Ok(StoreInfo::new(LAYOUT as u32, "redb 4", CAPABILITIES))
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        let claim = self.claim_world(world.clone(), owner.clone(), schema).await;
        self.answer(claim, || format!("claim world {world:?}"))
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let (store, stats, parts) = (
            Arc::clone(&self.store),
            Arc::clone(&self.stats),
            batch.clone(),
        );
        let persisted = blocking(ErrorKind::Ambiguous, move || {
            let results = write::persist(&store, parts.parts());
            // It is counted here, where it happens whether or not anyone waits for the answer.
            stats.count_batch(&parts, &results);
            Ok(results)
        });
        persisted.await.unwrap_or_else(|error| {
            let parts = batch.parts().iter();
            let results: Vec<_> = parts.map(|part| Err(part.failed(error.clone()))).collect();
            self.stats.count_batch(&batch, &results);
            results
        })
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let store = Arc::clone(&self.store);
        let begin = move || store.with(|database| database.begin_read().map_err(failed));
        let transaction = blocking(ErrorKind::Unavailable, begin).await;
        let snapshot = transaction.map(|t| Snapshot::new(world, Arc::clone(&self.store), t));
        let snapshot = self.answer(snapshot, || format!("take snapshot of world {world:?}"))?;
        Ok(Box::new(snapshot))
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let page = self.read(move |t| read::worlds(t, &range, limit)).await;
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
        let store = Arc::clone(&self.store);
        let closed = blocking(ErrorKind::Unavailable, move || store.close()).await;
        self.answer(closed, || self.named("close"))
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; what was acknowledged is durable all the same.
        let _ = self.store.close();
    }
}
