//! A store that is open: its writer, its readers, its snapshots.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{Phase, Result, SchemaPolicy, StatsCounter, WorldId};
use tokio::time::{Instant, sleep};

use crate::SledConfig;
use crate::folder::Folder;
use crate::layout;
use crate::lock::{self, Lock};
use crate::pool::{Pool, blocking};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::writer::Writer;

/// The ways to the trees of a store.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) pool: Pool,
    pub(crate) writer: Writer,
    snapshot_age_max: Duration,
}

impl Store {
    /// Makes or finds the store, and starts its thread.
    pub(crate) async fn open(
        config: SledConfig,
        policy: SchemaPolicy,
        stats: Arc<StatsCounter>,
    ) -> Result<Self> {
        let prepared = config.clone();
        let folder = blocking(move || layout::prepare(&prepared, policy)).await?;
        let lock = lock(&folder, &config).await?;
        blocking(move || {
            let engine = layout::open(&folder, config.cache_mib, policy)?;
            let shared = Arc::new(Shared::new(engine, folder, config.cache_mib));
            Ok(Self {
                pool: Pool::new(Arc::clone(&shared), &config.pool),
                writer: Writer::start(shared, lock, stats)?,
                snapshot_age_max: config.snapshot_age_max,
            })
        })
        .await
    }

    /// A view of a world as it is at this moment.
    pub(crate) async fn snapshot(&self, world: &WorldId, phase: Arc<Phase>) -> Result<Snapshot> {
        Snapshot::open(world, &self.pool, self.snapshot_age_max, phase).await
    }

    /// Ends all work: who reads, who writes.
    pub(crate) async fn close(&self) -> Result<()> {
        self.pool.close().await;
        self.writer.close().await
    }
}

/// Waits until the store is this backend's, for as long as the settings say.
///
/// A lock gives no notice when it comes free, so it is asked again from time to time.
async fn lock(folder: &Folder, config: &SledConfig) -> Result<Lock> {
    let deadline = Instant::now() + config.pool.busy_timeout;
    loop {
        let asked = folder.clone();
        if let Some(lock) = blocking(move || Lock::take(&asked)).await? {
            return Ok(lock);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(lock::taken(config));
        }
        sleep(left.min(ASK_AGAIN)).await;
    }
}

const ASK_AGAIN: Duration = Duration::from_millis(10);
