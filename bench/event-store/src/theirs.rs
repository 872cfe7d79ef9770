//! Their side: the repositories of `cqrs-es`, called as its framework calls them, but for the work
//! of the framework itself.

use std::convert::Infallible;
use std::path::Path;

use anyhow::Result;
use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, SerializedEvent};
use cqrs_es::{Aggregate, DomainEvent};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlite_es::SqliteEventRepository;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::side::Persist;
use crate::workload::Row;

/// The tables of its migrations that events are in.
const SQLITE: &str = "
CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence integer CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL,
    event_version text NOT NULL, payload text NOT NULL, metadata text NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)) STRICT;";
const POSTGRES: &str = "
DROP SCHEMA IF EXISTS event_store CASCADE;
CREATE SCHEMA event_store;
CREATE TABLE event_store.events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
    sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL,
    event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence));";

/// As in the pools that both crates offer.
const CONNECTIONS: u32 = 10;

/// Events of one aggregate.
pub(crate) struct Theirs<Repository> {
    repository: Repository,
    last: usize,
}

impl Theirs<SqliteEventRepository> {
    /// A new file, as durable as ours: their own pool has `synchronous=NORMAL`.
    pub(crate) async fn sqlite(path: &Path) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_with(options).await?;
        sqlx::raw_sql(SQLITE).execute(&pool).await?;
        Ok(Self::new(SqliteEventRepository::new(pool)))
    }
}

impl Theirs<PostgresEventRepository> {
    /// A new schema.
    pub(crate) async fn postgres(url: &str) -> Result<Self> {
        let options: PgConnectOptions = url.parse()?;
        let options = options.options([("search_path", "event_store")]);
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_with(options).await?;
        sqlx::raw_sql(POSTGRES).execute(&pool).await?;
        Ok(Self::new(PostgresEventRepository::new(pool)))
    }
}

impl<Repository> Theirs<Repository> {
    const fn new(repository: Repository) -> Self {
        Self { repository, last: 0 }
    }
}

impl<Repository: PersistedEventRepository> Persist for Theirs<Repository> {
    type Batch = Vec<SerializedEvent>;

    /// The payloads become values, since that is what a repository takes.
    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        let events = (self.last + 1..).zip(rows);
        self.last += rows.len();
        events.map(|(sequence, row)| event(sequence, row)).collect()
    }

    async fn persist(&mut self, events: Vec<SerializedEvent>) -> Result<()> {
        Ok(self.repository.persist::<World>(&events, None).await?)
    }
}

fn event(sequence: usize, row: &Row) -> Result<SerializedEvent> {
    let payload: Value = serde_json::from_str(&row.payload)?;
    let (id, kind, version) = ("bench".to_owned(), "Happened".to_owned(), "1.0".to_owned());
    let world = World::TYPE.to_owned();
    let metadata = json!({ "timestamp": row.timestamp });
    Ok(SerializedEvent::new(
        id, sequence, world, kind, version, payload, metadata,
    ))
}

/// What events are of: it names them and does nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
struct World;

/// What a repository never sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Happened;

impl DomainEvent for Happened {
    fn event_type(&self) -> String {
        "Happened".to_owned()
    }

    fn event_version(&self) -> String {
        "1.0".to_owned()
    }
}

impl Aggregate for World {
    const TYPE: &'static str = "World";
    type Command = ();
    type Event = Happened;
    type Error = Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Infallible> {
        Ok(())
    }

    fn apply(&mut self, _: Happened) {}
}
