//! The stores that are compared: ours, and one by hand, in the same place.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use clap::ValueEnum;
use conformance::engines::postgres::RestartableServer;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tempfile::TempDir;

use crate::hand::postgres::HandPostgres;
use crate::hand::sled::HandSled;
use crate::hand::sqlite::HandSqlite;
use crate::ours::Ours;
use crate::place::Place;
use crate::side::Side;

/// What the stores are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Sqlite,
    Postgres,
    Sled,
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Sled => "sled",
        }
    }
}

/// Where stores are made.
#[derive(Debug)]
pub(crate) struct Stores {
    /// A server that was named.
    postgres: Option<String>,
    /// One of our own.
    server: Option<RestartableServer>,
    /// The folder of the stores that are open.
    folder: Option<TempDir>,
    /// The schema of the store of ours that is open.
    schema: Option<String>,
}

/// Where a store of ours is made, and beside it one by hand.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) engine: Engine,
    /// The URL of ours.
    pub(crate) ours: String,
    /// A path, or the URL of a server.
    by_hand: String,
}

impl Pair {
    /// Makes the store by hand.
    pub(crate) async fn open_by_hand(&self) -> Result<Box<dyn Side>> {
        let path = Path::new(&self.by_hand);
        Ok(match self.engine {
            Engine::Sqlite => Box::new(HandSqlite::open(path)?),
            Engine::Sled => Box::new(HandSled::open(path)?),
            Engine::Postgres => Box::new(HandPostgres::open(&self.by_hand).await?),
        })
    }
}

/// Tells the schemas of a run apart.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

impl Stores {
    pub(crate) const fn new(postgres: Option<String>) -> Self {
        Self {
            postgres,
            server: None,
            folder: None,
            schema: None,
        }
    }

    /// Opens new stores: ours first. Those before are gone.
    pub(crate) async fn open(&mut self, engine: Engine) -> Result<Vec<Box<dyn Side>>> {
        let pair = self.pair(engine).await?;
        let ours = Ours::open(&pair.ours).await?;
        Ok(vec![Box::new(ours), pair.open_by_hand().await?])
    }

    /// Where new stores are made. Those before are gone.
    pub(crate) async fn pair(&mut self, engine: Engine) -> Result<Pair> {
        self.clear().await?;
        let folder = tempfile::tempdir()?;
        let at = |name| folder.path().join(name).display().to_string();
        let (ours, by_hand) = match engine {
            Engine::Sqlite => (format!("sqlite:{}", at("ours")), at("hand")),
            Engine::Sled => (format!("sled:{}", at("ours")), at("hand")),
            Engine::Postgres => {
                let server = self.server_url().await;
                let schema = SCHEMAS.fetch_add(1, Ordering::Relaxed);
                let separator = if server.contains('?') { '&' } else { '?' };
                let schema = format!("bench_{}_{schema}", std::process::id());
                let schema = self.schema.insert(schema);
                (format!("{server}{separator}schema={schema}"), server)
            }
        };
        self.folder = Some(folder);
        Ok(Pair {
            engine,
            ours,
            by_hand,
        })
    }

    /// Takes away the stores that were made last.
    async fn clear(&mut self) -> Result<()> {
        self.folder = None;
        if let Some(schema) = self.schema.take() {
            let mut connection = PgConnection::connect(&self.server_url().await).await?;
            let drop = format!("DROP SCHEMA IF EXISTS {schema}, by_hand CASCADE");
            connection.execute(AssertSqlSafe(drop)).await?;
        }
        Ok(())
    }

    /// A place for one more store of ours.
    pub(crate) async fn place(&mut self, engine: Engine) -> Result<Place> {
        if engine != Engine::Postgres {
            return Place::folder(engine.name());
        }
        let number = SCHEMAS.fetch_add(1, Ordering::Relaxed);
        let schema = format!("bench_{}_{number}", std::process::id());
        Ok(Place::schema(self.server_url().await, schema))
    }

    /// Kills the server and waits until it answers again; whether there is one that may be killed.
    pub(crate) async fn kill_server(&self) -> bool {
        let Some(server) = &self.server else {
            return false;
        };
        server.kill().await;
        true
    }

    async fn server_url(&mut self) -> String {
        if let Some(url) = &self.postgres {
            return url.clone();
        }
        let server = match self.server.take() {
            Some(server) => server,
            None => RestartableServer::start(None).await,
        };
        self.server.insert(server).url().to_owned()
    }

    /// Takes the stores away, and ends the server if there is one of our own.
    pub(crate) async fn end(mut self) -> Result<()> {
        self.clear().await?;
        if let Some(server) = self.server {
            server.end().await;
        }
        Ok(())
    }
}
