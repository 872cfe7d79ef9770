//! SQLite through `sqlx`, as it is written first: names as text, a statement a row and table, and
//! checkpoints when SQLite makes them.

use std::path::Path;

use anyhow::{Context, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

use crate::side::Persist;
use crate::workload::{COLLECTIONS, Kind, Row};

const LAYOUT: &str = "
CREATE TABLE log (id INTEGER PRIMARY KEY, world TEXT NOT NULL, collection TEXT NOT NULL, key TEXT,
    payload TEXT NOT NULL, timestamp INTEGER NOT NULL);
CREATE TABLE state (world TEXT NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    payload TEXT NOT NULL, timestamp INTEGER NOT NULL, PRIMARY KEY (world, collection, key));";

const LOG: &str = "
INSERT INTO log (world, collection, key, payload, timestamp) VALUES (?1, ?2, ?3, ?4, ?5)";

const STATE: &str = "
INSERT INTO state (world, collection, key, payload, timestamp) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (world, collection, key) DO UPDATE SET payload = excluded.payload,
    timestamp = excluded.timestamp";

const WORLD: &str = "bench";

/// What is committed at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Commit {
    Batch,
    Row,
}

/// A file.
pub(super) struct SqlxSqlite {
    connection: SqliteConnection,
    commit: Commit,
}

impl SqlxSqlite {
    /// A new file in which the rows are.
    pub(super) async fn open(path: &Path, fill: &[Vec<Row>], commit: Commit) -> Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = options.connect().await?;
        connection.execute(sqlx::raw_sql(LAYOUT)).await?;
        for rows in fill {
            write(&mut connection, rows).await?;
        }
        Ok(Self { connection, commit })
    }
}

impl Persist for SqlxSqlite {
    type Batch = Vec<Row>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(rows.to_vec())
    }

    async fn persist(&mut self, rows: Vec<Row>) -> Result<()> {
        let at_once = match self.commit {
            Commit::Batch => rows.len(),
            Commit::Row => 1,
        };
        for rows in rows.chunks(at_once.max(1)) {
            write(&mut self.connection, rows).await?;
        }
        Ok(())
    }
}

/// Writes rows in one transaction.
async fn write(connection: &mut SqliteConnection, rows: &[Row]) -> Result<()> {
    let mut transaction = connection.begin().await?;
    for row in rows {
        let collection = COLLECTIONS.get(usize::from(row.collection));
        let collection = *collection.context("no such collection")?;
        // The same rows as ours: what has a history in the log, and what has a key in the state.
        if row.kind != Kind::Latest {
            put(&mut transaction, LOG, collection, row).await?;
        }
        if row.key.is_some() {
            put(&mut transaction, STATE, collection, row).await?;
        }
    }
    Ok(transaction.commit().await?)
}

async fn put(
    connection: &mut SqliteConnection,
    statement: &'static str,
    collection: &str,
    row: &Row,
) -> Result<()> {
    sqlx::query(statement)
        .bind(WORLD)
        .bind(collection)
        .bind(row.key.as_deref())
        .bind(row.payload.as_str())
        .bind(row.timestamp)
        .execute(connection)
        .await?;
    Ok(())
}
