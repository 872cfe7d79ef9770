//! SQLite by hand: one connection that writes, prepared statements row by row, sorted and
//! deduplicated upserts, a state that points into the log where the history is kept, and a thread
//! that checkpoints, after which the connection moves what came meanwhile, so that the write-ahead log
//! begins anew.
//!
//! The promises are ours: log, state, the world's row with epoch and number, and a row a batch with
//! its digest, in one transaction with `synchronous=FULL`.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Result, ensure};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::digest;
use crate::side::Persist;
use crate::workload::{Kind, Row};

const LAYOUT: &str = "
CREATE TABLE worlds (number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, last INTEGER NOT NULL,
    head INTEGER NOT NULL);
CREATE TABLE batches (world INTEGER NOT NULL, number INTEGER NOT NULL, epoch INTEGER NOT NULL,
    first INTEGER NOT NULL, count INTEGER NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (world, number)) WITHOUT ROWID;
CREATE TABLE log (id INTEGER PRIMARY KEY, timestamp INTEGER NOT NULL, collection INTEGER NOT NULL,
    key TEXT, payload TEXT NOT NULL);
CREATE TABLE state (world INTEGER NOT NULL, collection INTEGER NOT NULL, key TEXT NOT NULL,
    sequence INTEGER NOT NULL, timestamp INTEGER NOT NULL, payload TEXT,
    PRIMARY KEY (world, collection, key)) WITHOUT ROWID;
WITH RECURSIVE world (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM world LIMIT 64)
INSERT INTO worlds SELECT number, 1, 0, 0 FROM world;";

/// The size from which on the write-ahead log is moved, in a small database.
const LOG_BYTES: u64 = 4 << 20;

/// A file.
pub(crate) struct HandSqlite {
    connection: Connection,
    path: PathBuf,
    wal: PathBuf,
    /// The size from which on the write-ahead log is moved.
    log_bytes: u64,
    wake: SyncSender<()>,
    /// Whether the thread has moved all that there was when it began. Held while it moves.
    moved: Arc<Mutex<bool>>,
}

impl HandSqlite {
    /// A new file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = connect(path)?;
        connection.execute_batch(LAYOUT)?;
        let other = connect(path)?;
        let (wake, woken) = sync_channel(1);
        let moved = Arc::new(Mutex::new(false));
        let of_thread = Arc::clone(&moved);
        thread::spawn(move || {
            while woken.recv().is_ok() {
                let mut moved = of_thread.lock().unwrap_or_else(PoisonError::into_inner);
                // A failure leaves a longer log, which the next checkpoint moves.
                *moved = checkpoint(&other).unwrap_or(false);
            }
        });
        let mut wal = path.as_os_str().to_owned();
        wal.push("-wal");
        Ok(Self {
            connection,
            path: path.to_owned(),
            wal: wal.into(),
            log_bytes: LOG_BYTES,
            wake,
            moved,
        })
    }

    /// Keeps the write-ahead log short.
    fn after_commit(&mut self) -> Result<()> {
        let bytes = size(&self.wal);
        if bytes <= self.log_bytes {
            return Ok(());
        }
        let fitting = match size(&self.path) >> 20 {
            ..32 => LOG_BYTES,
            32..64 => 2 * LOG_BYTES,
            _ => 4 * LOG_BYTES,
        };
        if fitting != self.log_bytes {
            self.log_bytes = fitting;
            keep(&self.connection, fitting)?;
        }
        // While the thread moves the log there is nothing to do.
        let Ok(mut moved) = self.moved.try_lock() else {
            return Ok(());
        };
        if std::mem::take(&mut *moved) {
            checkpoint(&self.connection)?;
        } else if bytes > self.log_bytes {
            // If it is awake or about to be, that is as good.
            let _ = self.wake.try_send(());
        }
        Ok(())
    }
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Lets the write-ahead log keep so many bytes when it begins anew.
fn keep(connection: &Connection, bytes: u64) -> Result<()> {
    Ok(connection.pragma_update(None, "journal_size_limit", bytes as i64)?)
}

/// Moves what can be moved of the write-ahead log; whether that is all of it.
fn checkpoint(connection: &Connection) -> Result<bool> {
    let mut all = false;
    connection.pragma(None, "wal_checkpoint", "PASSIVE", |row| {
        all = row.get::<_, i64>(1)? == row.get::<_, i64>(2)?;
        Ok(())
    })?;
    Ok(all)
}

impl Persist for HandSqlite {
    type Batch = Vec<Row>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(rows.to_vec())
    }

    async fn persist(&mut self, rows: Vec<Row>) -> Result<()> {
        let behavior = TransactionBehavior::Immediate;
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        for rows in rows.chunk_by(|row, next| row.world == next.world) {
            write(&transaction, rows)?;
        }
        transaction.commit()?;
        self.after_commit()
    }
}

fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    keep(&connection, LOG_BYTES)?;
    connection.pragma_update(None, "cache_size", -65536)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Writes rows of one world.
fn write(transaction: &Transaction<'_>, rows: &[Row]) -> Result<()> {
    let world = rows.first().map_or(0, |row| i64::from(row.world));
    let (epoch, last, head): (i64, i64, i64) = transaction
        .prepare_cached("SELECT epoch, last, head FROM worlds WHERE number = ?1")?
        .query_row([world], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    ensure!(epoch == 1, "fenced");
    let mut log = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (id, row) in ((world << 40) + head + 1..).zip(rows) {
        if row.kind != Kind::Latest {
            log.execute(params![
                id,
                row.timestamp,
                row.collection,
                row.key,
                row.payload
            ])?;
        }
    }
    let keyed = (head + 1..).zip(rows);
    let mut keyed: Vec<(&str, i64, &Row)> = keyed
        .filter_map(|(sequence, row)| Some((row.key.as_deref()?, sequence, row)))
        .collect();
    keyed.sort_unstable_by_key(|(key, sequence, row)| (row.collection, *key, -sequence));
    keyed.dedup_by_key(|(key, _, row)| (row.collection, *key));
    let mut state = transaction.prepare_cached(
        "INSERT INTO state VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET sequence = excluded.sequence, timestamp = excluded.timestamp,
         payload = excluded.payload",
    )?;
    for (key, sequence, row) in keyed {
        let payload = (row.kind == Kind::Latest).then_some(&row.payload);
        state.execute(params![
            world,
            row.collection,
            key,
            sequence,
            row.timestamp,
            payload
        ])?;
    }
    let (number, count) = (last + 1, rows.len() as i64);
    transaction
        .prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            world,
            number,
            epoch,
            head + 1,
            count,
            digest(rows).as_bytes()
        ])?;
    transaction
        .prepare_cached("UPDATE worlds SET last = ?1, head = ?2 WHERE number = ?3")?
        .execute([number, head + count, world])?;
    Ok(())
}
