//! A store that is open: the sessions that read, those that write, its snapshots.

use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;

use aqevia_storage::{
    Capabilities, Error, ErrorKind, Phase, Result, SchemaPolicy, StatsCounter, WorldId,
};
use sqlx::PgConnection;
use tokio::time::timeout;

use crate::PostgresConfig;
use crate::connect::{Access, Connector, Server};
use crate::error::is_lost;
use crate::layout;
use crate::pool::{Pool, end};
use crate::snapshot::{Snapshot, Snapshots, begin};
use crate::writer::{Writer, finished};

/// Something that reads on a connection.
pub(crate) type Reading<T> = Box<dyn FnOnce(&mut PgConnection) -> Pending<'_, T> + Send>;
pub(crate) type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// The sessions of a store.
///
/// Those that read and those that write are apart, so that no number of snapshots keeps a world from
/// being written (clause R7).
#[derive(Debug)]
pub(crate) struct Store {
    snapshots: Snapshots,
    readers: Pool,
    pub(crate) writer: Writer,
    server: Server,
}

impl Store {
    /// Makes or finds the store.
    pub(crate) async fn open(
        config: PostgresConfig,
        policy: SchemaPolicy,
        stats: Arc<StatsCounter>,
    ) -> Result<Self> {
        let open = async move {
            check_files(&config)?;
            let connector = Connector::new(&config)?;
            let opened = timeout(config.pool.acquire_timeout, connector.open()).await;
            let (mut connection, server) = opened.map_err(|_| unanswered(&config))??;
            let settled = layout::open(&mut connection, &config, policy).await;
            if let Err(error) = settled {
                if !is_lost(&error) {
                    end(connection).await;
                }
                return Err(error);
            }
            let writers = Pool::new(&connector, Access::Write, &config.pool);
            writers.keep(connection, &server);
            warn_of_durability(&server);
            Ok(Self {
                snapshots: Snapshots::new(config.snapshot_age_max),
                readers: Pool::new(&connector, Access::Read, &config.pool),
                writer: Writer::new(writers, stats),
                server,
            })
        };
        finished(open, ErrorKind::Ambiguous).await?
    }

    /// The engine and its version, for people.
    pub(crate) fn engine(&self) -> String {
        self.server.engine()
    }

    /// What the server was able to do when the store was opened.
    pub(crate) fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    /// Reads in one statement, which is read to its end whether or not anyone waits.
    pub(crate) async fn read<T: Send + 'static>(&self, page: Reading<T>) -> Result<T> {
        let permit = self.readers.permit().await?;
        let pool = self.readers.clone();
        let read = async move {
            let mut lease = pool.lease(permit).await?;
            let read = match lease.read(page).await {
                Err(error) => Err(lease.explain(error).await),
                read => read,
            };
            lease.finish(read.as_ref().err()).await;
            read
        };
        finished(read, ErrorKind::Unavailable).await?
    }

    /// A view of a world as it is at this moment.
    pub(crate) async fn snapshot(&self, world: &WorldId, phase: Arc<Phase>) -> Result<Snapshot> {
        let permit = self.readers.permit().await?;
        let (pool, id) = (self.readers.clone(), world.clone());
        let view = async move {
            let mut lease = pool.lease(permit).await?;
            let begun = begin(&mut lease, &id).await;
            match begun {
                Ok(()) => Ok(lease),
                Err(error) => {
                    lease.finish(Some(&error)).await;
                    Err(error)
                }
            }
        };
        let view = finished(view, ErrorKind::Unavailable).await??;
        self.snapshots.add(world, view, phase)
    }

    /// Ends all work: who reads, and who writes. It waits for what is out, and that has its bounds.
    pub(crate) async fn close(&self) {
        self.snapshots.end().await;
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Finds out about a file that cannot be read here, where it can be named.
fn check_files(config: &PostgresConfig) -> Result<()> {
    let tls = &config.tls;
    for path in [&tls.root_cert, &tls.cert, &tls.key].into_iter().flatten() {
        File::open(path).map_err(|error| {
            let matter = format!("the file {path:?} cannot be read: correct its path or rights");
            Error::invalid(matter).with_source(error)
        })?;
    }
    Ok(())
}

fn unanswered(config: &PostgresConfig) -> Error {
    let ms = config.pool.acquire_timeout.as_millis();
    Error::new(
        ErrorKind::Unavailable,
        format!("the server did not answer within {ms} ms: see whether it is reachable"),
    )
}

fn warn_of_durability(server: &Server) {
    use aqevia_storage::Durability;
    if server.capabilities().durability == Durability::None {
        tracing::warn!(
            target: "aqevia_storage::backend",
            "the server runs with fsync=off: the loss of power, or of the machine, may destroy the \
             database",
        );
    }
}
