//! A store that is open: its writer, its readers, its snapshots.

use std::sync::Arc;

use aqevia_storage::{Error, Phase, Result, SchemaPolicy, StatsCounter, WorldId};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::SqliteConfig;
use crate::error::reading;
use crate::layout;
use crate::pool::{Pool, blocking};
use crate::read;
use crate::snapshot::{Snapshot, Snapshots, View};
use crate::writer::Writer;

/// The connections of a store.
///
/// Order matters: dropped one after the other, the writer's connection is the last that is closed,
/// and takes the write-ahead log away. One that only reads cannot.
#[derive(Debug)]
pub(crate) struct Store {
    snapshots: Arc<Snapshots>,
    /// Only of a file: a database in memory is seen by one connection.
    pool: Option<Pool>,
    pub(crate) writer: Writer,
}

impl Store {
    /// Makes, upgrades or finds the store, and starts its threads.
    pub(crate) async fn open(
        config: SqliteConfig,
        policy: SchemaPolicy,
        stats: Arc<StatsCounter>,
    ) -> Result<Self> {
        blocking(move || {
            let opened = layout::open(&config, policy)?;
            let pool = opened.path.as_ref().map(|path| Pool::new(path, &config));
            Ok(Self {
                snapshots: Arc::new(Snapshots::new(config.snapshot_age_max)),
                pool,
                writer: Writer::start(opened, &config, stats)?,
            })
        })
        .await
    }

    /// Reads in one transaction.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        page: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let Some(pool) = self.pool.clone() else {
            return self.writer.read(page).await;
        };
        let permit = pool.permit().await?;
        blocking(move || pool.lease(permit)?.read(page)).await
    }

    /// A view of a world as it is at this moment.
    pub(crate) async fn snapshot(&self, world: &WorldId, phase: Arc<Phase>) -> Result<Snapshot> {
        let view = match self.pool.clone() {
            None => View::Copy(self.writer.read(copy).await?),
            Some(pool) => {
                let permit = pool.permit().await?;
                let world = world.clone();
                blocking(move || {
                    let mut lease = pool.lease(permit)?;
                    let connection = lease.connection()?;
                    connection.execute_batch("BEGIN").map_err(reading)?;
                    // Order matters: a transaction sees the store as of its first read.
                    read::head(connection, &world)?;
                    Ok(View::Transaction(lease))
                })
                .await?
            }
        };
        self.snapshots.add(world, view, phase)
    }

    /// Ends all work: who reads, who checkpoints, who writes.
    pub(crate) async fn close(&self) -> Result<()> {
        let snapshots = Arc::clone(&self.snapshots);
        blocking(move || {
            snapshots.end();
            Ok(())
        })
        .await?;
        if let Some(pool) = &self.pool {
            pool.close().await;
        }
        self.writer.close().await
    }
}

fn copy(connection: &Connection) -> Result<Connection> {
    let mut copy = Connection::open_in_memory().map_err(reading)?;
    let step = Backup::new(connection, &mut copy).and_then(|backup| backup.step(-1));
    match step.map_err(reading)? {
        StepResult::Done => Ok(copy),
        _ => Err(Error::corrupt("the database in memory could not be copied")),
    }
}
