//! Looking at a database without leaving a trace: what it holds, and whether it is ours.

use std::path::Path;
use std::time::{Duration, SystemTime};

use aqevia_storage::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};

use crate::error::{self, reading};
use crate::layout::{APPLICATION_ID, LAYOUT};
use crate::permissions::beside;

/// What a database holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No table: a store can be made in it.
    Nothing,
    /// A store of the present layout.
    Present,
    /// A store of the first published layout.
    First,
    /// A store of ours of another layout, with its version if it says one.
    Other(Option<i64>),
}

/// Looks at a database file from the outside (clauses B3, B6).
///
/// No byte of it changes and no file is made beside it, except that a transaction that a crash cut
/// short is rolled back, as every reader has to.
///
/// # Errors
/// `Incompatible` if the file is not ours, `Corrupt` if it is damaged, `Unavailable` if it is busy.
pub(crate) fn inspect(path: &Path, busy_timeout: Duration) -> Result<Found> {
    let mut looks = LOOKS_MAX;
    loop {
        let before = Surroundings::of(path);
        let found = look_from_outside(path, &before, busy_timeout);
        looks -= 1;
        // A look without locks, while another process makes or opens the store, may see half of
        // it; then the files have changed since.
        let sure = matches!(found, Ok(Found::Present)) || Surroundings::of(path) == before;
        if sure || looks == 0 {
            return found;
        }
    }
}

/// How often a file that keeps changing is looked at before the last look counts.
const LOOKS_MAX: u32 = 10;

/// What tells how to look at a database, and whether it changed meanwhile.
#[derive(Debug, PartialEq, Eq)]
struct Surroundings {
    bytes: u64,
    modified: Option<SystemTime>,
    log: bool,
    shared_memory: bool,
    journal: bool,
}

impl Surroundings {
    fn of(path: &Path) -> Self {
        let metadata = path.metadata().ok();
        Self {
            bytes: metadata.as_ref().map_or(0, |metadata| metadata.len()),
            modified: metadata.and_then(|metadata| metadata.modified().ok()),
            log: beside(path, "-wal").exists(),
            shared_memory: beside(path, "-shm").exists(),
            journal: beside(path, "-journal").exists(),
        }
    }
}

fn look_from_outside(path: &Path, around: &Surroundings, busy_timeout: Duration) -> Result<Found> {
    if around.bytes == 0 {
        return Ok(Found::Nothing);
    }
    let connection = if around.journal {
        connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
    } else if !around.log {
        immutable(path)
    } else if around.shared_memory {
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
    } else {
        alone(path)
    };
    let connection = connection.map_err(reading)?;
    connection.busy_timeout(busy_timeout).map_err(reading)?;
    let transaction = connection.unchecked_transaction().map_err(reading)?;
    look(&transaction)
}

/// Opens a database that is there; SQLite itself opens the file with the first statement.
pub(crate) fn connect(path: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// Opens a database that nobody is writing to, without locks and without files beside it.
fn immutable(path: &Path) -> rusqlite::Result<Connection> {
    let Some(uri) = immutable_uri(path) else {
        return connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// A URI of an absolute path; `None` where paths are not of the kind that URIs are made for.
fn immutable_uri(path: &Path) -> Option<String> {
    if !path.has_root() || !cfg!(unix) {
        return None;
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    Some(uri)
}

/// Opens a database whose log lost its index, with an index in memory instead of a new file.
fn alone(path: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(connection)
}

/// Looks at a database through a connection, in a transaction of the caller's.
///
/// # Errors
/// As [`inspect`].
pub(crate) fn look(connection: &Connection) -> Result<Found> {
    let tables = tables(connection)?;
    let application = pragma(connection, "application_id")?;
    if application == i64::from(APPLICATION_ID) {
        let version = version(connection, &tables)?;
        let present = version == Some(i64::from(LAYOUT));
        return Ok(if present {
            Found::Present
        } else {
            Found::Other(version)
        });
    }
    if application != 0 {
        return Err(foreign(&format!("application id {application}")));
    }
    let encoding: String = connection
        .pragma_query_value(None, "encoding", |row| row.get(0))
        .map_err(reading)?;
    if encoding != "UTF-8" {
        return Err(foreign(&format!("its encoding is {encoding}")));
    }
    if tables.is_empty() {
        return Ok(Found::Nothing);
    }
    if is_first(connection, &tables)? {
        return Ok(Found::First);
    }
    Err(foreign(&excerpt(&tables)))
}

/// The tables and views, and triggers with them: what a program other than ours would lose.
fn tables(connection: &Connection) -> Result<Vec<String>> {
    let tables = connection.prepare(include_str!("sql/select_tables.sql"));
    let mut tables = tables.map_err(reading_foreign)?;
    let names = tables
        .query_map([], |row| row.get(0))
        .map_err(reading_foreign)?;
    names.map(|name| name.map_err(reading_foreign)).collect()
}

fn reading_foreign(error: rusqlite::Error) -> Error {
    if error::code(&error).map(error::primary) == Some(ffi::SQLITE_NOTADB) {
        return Error::new(
            ErrorKind::Incompatible,
            "the file is no SQLite database: choose another path",
        )
        .with_source(error);
    }
    reading(error)
}

/// The value of a setting that is kept in the database.
pub(crate) fn pragma(connection: &Connection, name: &str) -> Result<i64> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(reading)
}

/// The version that a store says it has; `None` if it has no place for one or something else there.
fn version(connection: &Connection, tables: &[String]) -> Result<Option<i64>> {
    if !tables.iter().any(|table| table == "schema_meta") {
        return Ok(None);
    }
    let version =
        connection.query_row(include_str!("sql/select_version.sql"), [], |row| row.get(0));
    match version.map_err(reading) {
        Ok(version) => Ok(Some(version)),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_first(connection: &Connection, tables: &[String]) -> Result<bool> {
    if tables != ["schema_meta", "world_records"] || version(connection, tables)? != Some(1) {
        return Ok(false);
    }
    let columns = connection.prepare(include_str!("sql/select_columns.sql"));
    let mut columns = columns.map_err(reading)?;
    let names = columns.query_map([], |row| row.get(0)).map_err(reading)?;
    let names: rusqlite::Result<Vec<String>> = names.collect();
    Ok(names.map_err(reading)? == ["id", "payload", "timestamp", "world_id"])
}

fn foreign(sign: &str) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!("it is another program's database ({sign}): choose another path"),
    )
}

fn excerpt(tables: &[String]) -> String {
    let shown: Vec<_> = tables
        .iter()
        .take(3)
        .map(|name| format!("{name:?}"))
        .collect();
    let more = if tables.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    format!("it holds {}{more}", shown.join(", "))
}
