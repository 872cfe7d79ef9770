//! The sessions of a store: as many as are asked for at once, up to a number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqevia_storage::{Error, ErrorKind, PoolConfig, Result};
use sqlx::{Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::connect::{Access, Connector};
use crate::error::is_lost;

/// Sessions for one kind of access. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connector: Connector,
    access: Access,
    config: PoolConfig,
    /// One for each session that may be in use.
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Session>>,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    opened_at: Instant,
    idle_since: Instant,
}

/// The right to use a session, and until when one may be waited for.
#[derive(Debug)]
pub(crate) struct Permit {
    _permit: OwnedSemaphorePermit,
    deadline: Instant,
}

/// How long a session may idle before it is asked whether it is still there. The answer costs a
/// round trip, and not to ask costs the doubt about a write that the server never saw.
const TRUSTED: Duration = Duration::from_millis(500);

/// How long the server is given to hear that a session ends.
const GOODBYE: Duration = Duration::from_secs(1);

impl Pool {
    /// A pool without a session; each is opened when it is first needed.
    pub(crate) fn new(connector: &Connector, access: Access, config: &PoolConfig) -> Self {
        Self(Arc::new(Shared {
            connector: connector.clone(),
            access,
            config: config.clone(),
            permits: Arc::new(Semaphore::new(config.size)),
            idle: Mutex::default(),
        }))
    }

    /// Waits until a session may be used.
    ///
    /// # Errors
    /// `Unavailable` if that takes too long, `Closed` if the pool is closed.
    pub(crate) async fn permit(&self) -> Result<Permit> {
        let Shared {
            config, permits, ..
        } = &*self.0;
        let deadline = Instant::now() + config.acquire_timeout;
        match timeout_at(deadline, Arc::clone(permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Permit {
                _permit: permit,
                deadline,
            }),
            Ok(Err(_)) => Err(Error::closed("the store is closed")),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "none of {} connections came free within {} ms: ask less at once, or raise \
                     pool_size or acquire_timeout_ms",
                    config.size,
                    config.acquire_timeout.as_millis()
                ),
            )),
        }
    }

    /// Takes a session that is there, or opens one.
    ///
    /// # Errors
    /// `Unavailable` if there is none in time.
    pub(crate) async fn lease(&self, permit: Permit) -> Result<Lease> {
        let deadline = permit.deadline;
        let session = timeout_at(deadline, self.session()).await;
        let session = session.map_err(|_| {
            // Who falls silent to one session answers none.
            drop(self.idle(std::mem::take));
            let ms = self.0.config.acquire_timeout.as_millis();
            let matter = format!(
                "the server did not answer within {ms} ms: see whether it is reachable, or raise \
                 acquire_timeout_ms"
            );
            Error::new(ErrorKind::Unavailable, matter)
        })?;
        Ok(Lease {
            session: session?,
            pool: self.clone(),
            _permit: permit,
        })
    }

    async fn session(&self) -> Result<Session> {
        while let Some(mut session) = self.idle(Vec::pop) {
            if session.opened_at.elapsed() >= self.0.config.connection_lifetime {
                end(session.connection).await;
            } else if session.idle_since.elapsed() < TRUSTED
                || session.connection.ping().await.is_ok()
            {
                return Ok(session);
            }
        }
        let connection = self.0.connector.connect(self.0.access).await?;
        Ok(self.first(connection))
    }

    /// Keeps a session that was opened for `init`.
    pub(crate) fn keep(&self, connection: PgConnection) {
        let session = self.first(connection);
        self.idle(|idle| idle.push(session));
    }

    fn first(&self, connection: PgConnection) -> Session {
        let now = Instant::now();
        Session {
            connection,
            opened_at: now,
            idle_since: now,
        }
    }

    /// Waits until no session is in use, and ends all. Those who wait for one get `Closed`.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.0.config.size).unwrap_or(u32::MAX);
        // It fails if the pool is closed already.
        let _all = self.0.permits.acquire_many(all).await;
        self.0.permits.close();
        for session in self.idle(std::mem::take) {
            end(session.connection).await;
        }
    }

    fn idle<T>(&self, with: impl FnOnce(&mut Vec<Session>) -> T) -> T {
        with(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells the server that a session ends. What comes of it does not matter.
pub(crate) async fn end(connection: PgConnection) {
    let _ = timeout(GOODBYE, connection.close()).await;
}

/// A session in use. Dropping it cuts the connection, and the server undoes what it had begun.
#[derive(Debug)]
pub(crate) struct Lease {
    session: Session,
    pool: Pool,
    _permit: Permit,
}

impl Lease {
    /// The connection.
    pub(crate) const fn connection(&mut self) -> &mut PgConnection {
        &mut self.session.connection
    }

    /// Gives the session back if it did what it was asked to; one that failed ends.
    ///
    /// When the connection broke, those that idle are most likely broken as well.
    pub(crate) async fn finish(mut self, failed: Option<&Error>) {
        let Some(error) = failed else {
            self.session.idle_since = Instant::now();
            let Self { session, pool, .. } = self;
            return pool.idle(|idle| idle.push(session));
        };
        if is_lost(error) {
            drop(self.pool.idle(std::mem::take));
        } else {
            end(self.session.connection).await;
        }
    }

    /// Ends the session.
    pub(crate) async fn end(self) {
        end(self.session.connection).await;
    }
}
