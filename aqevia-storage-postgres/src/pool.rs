//! The sessions of a store: as many as are asked for at once, up to a number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aqevia_storage::{Error, ErrorKind, PoolConfig, Result};
use sqlx::{Connection, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::connect::{Access, Connector, Server};
use crate::error::{is_lost, reading};
use crate::reply::reply;
use crate::rights;
use crate::store::Reading;

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
    terms: Terms,
    opened_at: Instant,
    idle_since: Instant,
}

/// What holds for the statements of a session.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Where the session finds its tables.
    pub(crate) schema: Arc<str>,
    /// How long the server may take to answer.
    pub(crate) reply_max: Duration,
    /// Whether commits wait until a standby has them, as the server was set when it was opened.
    pub(crate) waits_for_standby: bool,
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

/// How long it may take to say so. Nothing is lost by asking in another session instead.
const PING_MAX: Duration = Duration::from_secs(5);

/// How long the server is given to hear that sessions end.
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
        self.end_aged().await;
        let ping_max = PING_MAX.min(self.0.connector.reply_max);
        while let Some(mut session) = self.idle(Vec::pop) {
            if session.idle_since.elapsed() < TRUSTED {
                return Ok(session);
            }
            match timeout(ping_max, session.connection.ping()).await {
                Ok(Ok(())) => return Ok(session),
                Ok(Err(_)) => {}
                // Who falls silent to one session answers none.
                Err(_) => drop(self.idle(std::mem::take)),
            }
        }
        let (connection, server) = self.0.connector.connect(self.0.access).await?;
        Ok(self.first(connection, &server))
    }

    fn first(&self, connection: PgConnection, server: &Server) -> Session {
        let connector = &self.0.connector;
        let now = Instant::now();
        Session {
            connection,
            terms: Terms {
                schema: Arc::clone(&connector.schema),
                reply_max: connector.reply_max,
                waits_for_standby: server.waits_for_standby(),
            },
            opened_at: now,
            idle_since: now,
        }
    }

    /// Keeps a session that was opened for `init`.
    pub(crate) fn keep(&self, connection: PgConnection, server: &Server) {
        let session = self.first(connection, server);
        self.idle(|idle| idle.push(session));
    }

    /// Ends the sessions that are too old to be used again.
    async fn end_aged(&self) {
        let lifetime = self.0.config.connection_lifetime;
        let aged = |session: &mut Session| session.opened_at.elapsed() >= lifetime;
        let aged = self.idle(|idle| idle.extract_if(.., aged).collect());
        end_all(aged).await;
    }

    /// Waits until no session is in use, and ends all. Those who wait for one get `Closed`.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.0.config.size).unwrap_or(u32::MAX);
        // It fails if the pool is closed already.
        let _all = self.0.permits.acquire_many(all).await;
        self.0.permits.close();
        end_all(self.idle(std::mem::take)).await;
    }

    fn idle<T>(&self, with: impl FnOnce(&mut Vec<Session>) -> T) -> T {
        with(&mut self.0.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells the server that a session ends. What comes of it does not matter.
pub(crate) async fn end(connection: PgConnection) {
    let _ = timeout(GOODBYE, connection.close()).await;
}

/// The same for several. Those that the server does not hear of in time are cut off.
async fn end_all(sessions: Vec<Session>) {
    let end = async {
        for session in sessions {
            let _ = session.connection.close().await;
        }
    };
    let _ = timeout(GOODBYE, end).await;
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

    /// What holds for its statements.
    pub(crate) const fn terms(&self) -> &Terms {
        &self.session.terms
    }

    /// Reads, as long as the server may take for it.
    pub(crate) async fn read<T>(&mut self, page: Reading<T>) -> Result<T> {
        let reply_max = self.terms().reply_max;
        reply(reply_max, page(self.connection()), reading).await
    }

    /// See [`rights::explain`].
    pub(crate) async fn explain(&mut self, error: Error) -> Error {
        let Session {
            connection, terms, ..
        } = &mut self.session;
        rights::explain(connection, terms, error).await
    }

    /// See [`rights::explain_in_transaction`].
    pub(crate) async fn explain_in_transaction(&mut self, error: Error) -> Error {
        let Session {
            connection, terms, ..
        } = &mut self.session;
        rights::explain_in_transaction(connection, terms, error).await
    }

    /// Gives the session back if it did what it was asked to; one that failed ends.
    ///
    /// When the connection broke, those that idle are most likely broken as well.
    pub(crate) async fn finish(mut self, failed: Option<&Error>) {
        let Some(error) = failed else {
            self.session.idle_since = Instant::now();
            let Self {
                session,
                pool,
                _permit,
            } = self;
            pool.idle(|idle| idle.push(session));
            return pool.end_aged().await;
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
