//! Bootstrap: making a store, and bringing one that is there to the present layout.

use std::path::{Path, PathBuf};

use aqevia_storage::{Error, ErrorKind, Result, SchemaPolicy, step};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, MAIN_DB, OpenFlags, TransactionBehavior, ffi};
use tokio::time::Instant;

use crate::checkpoint::{LOG_BYTES_LEAST, keep};
use crate::error::{self, committing, reading, writing};
use crate::inspect::{Found, connect, inspect, look, pragma};
use crate::permissions::{prepare, read_only};
use crate::upgrade::upgrade;
use crate::{Location, SqliteConfig};

/// The version of the layout that this crate makes and knows.
pub(crate) const LAYOUT: u32 = 1;

/// What `PRAGMA application_id` says of a store of ours: `AQEV` in ASCII.
pub(crate) const APPLICATION_ID: i32 = i32::from_be_bytes(*b"AQEV");

/// The first SQLite in which a checkpoint that races a write loses no committed page.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// A store that is ready, and the connection that is to write to it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    /// The database file as SQLite names it, unless the store is in memory.
    pub(crate) path: Option<PathBuf>,
}

/// Makes, upgrades or finds a store (clauses B1 to B6).
pub(crate) fn open(config: &SqliteConfig, policy: SchemaPolicy) -> Result<Opened> {
    check_engine(rusqlite::version_number())?;
    let (connection, path) = match &config.location {
        Location::Memory => (open_memory()?, None),
        Location::File(path) => {
            let path = prepare(path, config.insecure_permissions)?;
            (open_file(&path, config, policy)?, Some(path))
        }
    };
    configure(&connection, config).map_err(writing)?;
    Ok(Opened { connection, path })
}

fn check_engine(version: i32) -> Result<()> {
    if version >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "SQLite {version} can lose committed data while it checkpoints: build with \
             {SQLITE_VERSION_MIN} or later, as the feature `bundled` of rusqlite 0.39 does"
        ),
    ))
}

fn open_memory() -> Result<Connection> {
    let mut connection = Connection::open_in_memory().map_err(reading)?;
    settle(&mut connection, Found::Nothing)?;
    Ok(connection)
}

fn open_file(path: &Path, config: &SqliteConfig, policy: SchemaPolicy) -> Result<Connection> {
    let found = inspect(path, config.pool.busy_timeout)?;
    step("init: looked at");
    let reset = policy == SchemaPolicy::ResetInDevelopment;
    if let (Found::Other(version), false) = (found, reset) {
        return Err(other(version));
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    let mut connection = connection.map_err(reading)?;
    connection
        .busy_timeout(config.pool.busy_timeout)
        .map_err(reading)?;
    if connection.is_readonly(MAIN_DB).map_err(reading)? {
        return Err(read_only(path));
    }
    if matches!(found, Found::Other(_)) {
        empty(&connection).map_err(writing)?;
        step("init: emptied");
    }
    if found != Found::Present {
        settle(&mut connection, found)?;
    }
    shrinkable(&connection)?;
    log_ahead(&mut connection, config)?;
    step("init: log switched");
    Ok(connection)
}

/// The error of a store of ours whose layout is another.
fn other(version: Option<i64>) -> Error {
    let Some(version) = version else {
        return Error::corrupt(
            "it is a store of ours, but its schema_meta holds no version: restore it from a copy",
        );
    };
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "its layout is version {version}, and this program knows version {LAYOUT}: use the \
             aqevia-storage that wrote it, or another path"
        ),
    )
}

/// Drops everything in the database (clause B5). Nothing else does.
fn empty(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, true)?;
    let emptied = connection.execute_batch("VACUUM");
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_RESET_DATABASE, false)?;
    emptied
}

/// Brings the database to the present layout, unless another process has done so meanwhile.
fn settle(connection: &mut Connection, found: Found) -> Result<()> {
    if found != Found::First {
        // Order matters: this has an effect until the first table is made.
        incremental(connection).map_err(writing)?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate);
    let transaction = transaction.map_err(writing)?;
    step("init: begun");
    match look(&transaction)? {
        Found::Present => return Ok(()),
        Found::Nothing => create(&transaction).map_err(writing)?,
        Found::First => upgrade(&transaction)?,
        Found::Other(version) => return Err(other(version)),
    }
    step("init: written");
    transaction.commit().map_err(committing)?;
    step("init: committed");
    Ok(())
}

/// Makes the tables and says whose they are.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    for table in TABLES {
        connection.execute(table, [])?;
        step("init: table made");
    }
    let stamp = include_str!("sql/insert_version.sql");
    connection.execute(stamp, [LAYOUT]).map(drop)
}

const TABLES: [&str; 5] = [
    include_str!("sql/create_schema_meta.sql"),
    include_str!("sql/create_worlds.sql"),
    include_str!("sql/create_world_records.sql"),
    include_str!("sql/create_world_state.sql"),
    include_str!("sql/create_world_batches.sql"),
];

fn incremental(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
}

/// Rewrites a database that cannot give back its free pages, as an upgrade leaves it.
///
/// The store is complete without it, so a disk that has no room for it is no reason to refuse.
fn shrinkable(connection: &Connection) -> Result<()> {
    const INCREMENTAL: i64 = 2;

    if pragma(connection, "auto_vacuum")? == INCREMENTAL {
        return Ok(());
    }
    step("init: to be rewritten");
    let rewritten = incremental(connection).and_then(|()| connection.execute_batch("VACUUM"));
    step("init: rewritten");
    if let Err(error) = rewritten {
        tracing::warn!(
            target: "aqevia_storage::backend",
            error = &error as &dyn std::error::Error,
            "the database could not be rewritten; it works, but does not give back free pages",
        );
    }
    Ok(())
}

/// Switches to the write-ahead log. Nobody else may read or write at that instant.
fn log_ahead(connection: &mut Connection, config: &SqliteConfig) -> Result<()> {
    let deadline = Instant::now() + config.pool.busy_timeout;
    loop {
        match journal_mode_wal(connection) {
            // SQLite makes the log, and the index of it that readers need, with the first read.
            Ok(mode) if mode == "wal" => return pragma(connection, "application_id").map(drop),
            Ok(_) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "the file system cannot hold a write-ahead log: choose a local disk",
                ));
            }
            Err(error) if !is_busy(&error) || Instant::now() >= deadline => {
                return Err(writing(error));
            }
            // SQLite does not wait for its turn to switch, but it does to begin.
            Err(_) => wait_for_turn(connection)?,
        }
    }
}

fn journal_mode_wal(connection: &Connection) -> rusqlite::Result<String> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error::code(error).map(error::primary) == Some(ffi::SQLITE_BUSY)
}

fn wait_for_turn(connection: &mut Connection) -> Result<()> {
    let turn = connection.transaction_with_behavior(TransactionBehavior::Exclusive);
    turn.and_then(|turn| turn.rollback()).map_err(writing)
}

/// Sets what does not last longer than the connection, for one that writes or checkpoints.
pub(crate) fn configure(connection: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", config.synchronous.name())?;
    // Where a plain sync leaves data in the disk's own cache, which is on macOS.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    keep(connection, LOG_BYTES_LEAST)?;
    // A thread of its own checkpoints, so that no commit has to.
    connection.pragma_update(None, "wal_autocheckpoint", 0)
}

/// The writer's page cache. The pages of the keys that change stay in it.
const CACHE_KIB: i64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_sqlite_is_refused() {
        let error = check_engine(3_051_002).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(check_engine(rusqlite::version_number()).is_ok());
    }
}
