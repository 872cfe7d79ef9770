//! The stores that are compared: ours, and one by hand, in the same place.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;
use clap::ValueEnum;
use conformance::engines::postgres::RestartableServer;
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
}

/// Tells the schemas of a run apart.
static SCHEMAS: AtomicU32 = AtomicU32::new(0);

impl Stores {
    pub(crate) const fn new(postgres: Option<String>) -> Self {
        Self {
            postgres,
            server: None,
            folder: None,
        }
    }

    /// Opens new stores: ours first. Those before are gone.
    pub(crate) async fn open(&mut self, engine: Engine) -> Result<Vec<Box<dyn Side>>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_path_buf();
        self.folder = Some(folder);
        let ours = path.join("ours");
        let (url, hand): (String, Box<dyn Side>) = match engine {
            Engine::Sqlite => (
                format!("sqlite:{}", ours.display()),
                Box::new(HandSqlite::open(&path.join("hand"))?),
            ),
            Engine::Sled => (
                format!("sled:{}", ours.display()),
                Box::new(HandSled::open(&path.join("hand"))?),
            ),
            Engine::Postgres => {
                let server = self.server_url().await;
                let hand = HandPostgres::open(&server).await?;
                let schema = SCHEMAS.fetch_add(1, Ordering::Relaxed);
                let separator = if server.contains('?') { '&' } else { '?' };
                let schema = format!("bench_{}_{schema}", std::process::id());
                (
                    format!("{server}{separator}schema={schema}"),
                    Box::new(hand),
                )
            }
        };
        Ok(vec![Box::new(Ours::open(&url).await?), hand])
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

    /// Ends the server, if there is one of our own.
    pub(crate) async fn end(self) {
        if let Some(server) = self.server {
            server.end().await;
        }
    }
}
