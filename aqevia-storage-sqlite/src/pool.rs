//! The connections that read: as many as are asked for at once, up to a number.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aqevia_storage::{Error, ErrorKind, PoolConfig, Result};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use crate::SqliteConfig;
use crate::error::reading;
use crate::inspect::connect;

/// Read-only connections to one database. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    config: PoolConfig,
    /// One for each connection that may be in use.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Reader>>,
}

#[derive(Debug)]
struct Reader {
    connection: Connection,
    opened_at: Instant,
}

impl Pool {
    /// A pool without a connection; each is opened when it is first needed.
    pub(crate) fn new(path: &Path, config: &SqliteConfig) -> Self {
        Self(Arc::new(Shared {
            path: path.to_owned(),
            config: config.pool.clone(),
            permits: Arc::new(Semaphore::new(config.pool.size)),
            idle: Mutex::default(),
        }))
    }

    /// Waits until a connection may be used.
    ///
    /// # Errors
    /// `Unavailable` if that takes too long, `Closed` if the pool is closed.
    pub(crate) async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        let Shared {
            config, permits, ..
        } = &*self.0;
        match timeout(config.acquire_timeout, Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(Error::closed("the store is closed")),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "none of {} connections came free within {} ms: read less at once, or raise \
                     pool_size or acquire_timeout_ms",
                    config.size,
                    config.acquire_timeout.as_millis()
                ),
            )),
        }
    }

    /// Takes a connection, and opens one if none is idle and young enough. It blocks.
    pub(crate) fn lease(&self, permit: OwnedSemaphorePermit) -> Result<Lease> {
        let lifetime = self.0.config.connection_lifetime;
        let mut lease = Lease {
            reader: None,
            pool: self.clone(),
            _permit: permit,
        };
        while let Some(reader) = self.idle(Vec::pop) {
            if reader.opened_at.elapsed() < lifetime {
                lease.reader = Some(reader);
                break;
            }
        }
        Ok(lease)
    }

    /// Waits until no connection is in use, and closes all. Those who wait for one get `Closed`.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.0.config.size).unwrap_or(u32::MAX);
        // It fails if the pool is closed already.
        let _all = self.0.permits.acquire_many(all).await;
        self.0.permits.close();
        drop(self.idle(std::mem::take));
    }

    fn open(&self) -> Result<Reader> {
        let connection = connect(&self.0.path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = connection.map_err(reading)?;
        connection
            .busy_timeout(self.0.config.busy_timeout)
            .map_err(reading)?;
        Ok(Reader {
            connection,
            opened_at: Instant::now(),
        })
    }

    fn idle<T>(&self, with: impl FnOnce(&mut Vec<Reader>) -> T) -> T {
        with(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A connection in use. It goes back to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    reader: Option<Reader>,
    pool: Pool,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The connection, opened now if there was none.
    pub(crate) fn connection(&mut self) -> Result<&Connection> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.pool.open()?,
        };
        Ok(&self.reader.insert(reader).connection)
    }

    /// Reads in one transaction. A connection that fails is not used again.
    pub(crate) fn read<T>(mut self, page: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let connection = self.connection()?;
        let transaction = connection.unchecked_transaction().map_err(reading)?;
        let read = page(&transaction);
        drop(transaction);
        if read.is_err() {
            self.reader = None;
        }
        read
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        let at_rest = reader.connection.is_autocommit()
            || reader.connection.execute_batch("ROLLBACK").is_ok();
        if at_rest {
            self.pool.idle(|idle| idle.push(reader));
        }
    }
}

/// Does what blocks on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::new(
            ErrorKind::Unavailable,
            "the work was not finished, for it panicked or the runtime is shutting down",
        )
        .with_source(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn pool(folder: &tempfile::TempDir, config: &SqliteConfig) -> Pool {
        let path = folder.path().join("a.sqlite");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE a (b)")
            .unwrap();
        Pool::new(&path, config)
    }

    async fn opened_at(pool: &Pool) -> Instant {
        let mut lease = pool.lease(pool.permit().await.unwrap()).unwrap();
        lease.connection().unwrap();
        lease.reader.as_ref().unwrap().opened_at
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_used_again_until_its_lifetime_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = SqliteConfig::new("");
        config.pool.connection_lifetime = Duration::from_secs(10);
        let pool = pool(&folder, &config);
        let first = opened_at(&pool).await;
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(opened_at(&pool).await, first);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(opened_at(&pool).await, first + Duration::from_secs(10));
        assert_eq!(pool.idle(|idle| idle.len()), 1);
    }

    #[tokio::test]
    async fn a_connection_that_fails_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder, &SqliteConfig::new(""));
        let lease = pool.lease(pool.permit().await.unwrap()).unwrap();
        let failed: Result<()> = lease.read(|_| Err(Error::corrupt("on purpose")));
        assert!(failed.is_err());
        assert_eq!(pool.idle(|idle| idle.len()), 0);
    }

    #[tokio::test]
    async fn readers_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let pool = pool(&folder, &SqliteConfig::new(""));
        let lease = pool.lease(pool.permit().await.unwrap()).unwrap();
        let insert = |c: &Connection| c.execute("INSERT INTO a VALUES (1)", []).map_err(reading);
        assert_eq!(
            lease.read(insert).unwrap_err().kind(),
            ErrorKind::Unavailable
        );
    }
}
