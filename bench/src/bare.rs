//! Reading without us: one statement over the tables that our backends keep, whose layouts this has
//! to know, and owned text of each column.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use sqlx::{Connection, PgConnection, Row};

use crate::load::{Sum, What};
use crate::ours::WORLD;
use crate::stores::{Engine, Pair};

/// A store of ours, opened by the engine's own driver.
pub(crate) enum Bare {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
    Sled(sled::Db),
}

impl Bare {
    /// Opens the store, which nobody has open.
    pub(crate) async fn open(pair: &Pair) -> Result<Self> {
        let (_, location) = pair.ours.split_once(':').context("the URL has no scheme")?;
        Ok(match pair.engine {
            Engine::Sqlite => Self::Sqlite(open_sqlite(location)?),
            Engine::Postgres => Self::Postgres(open_postgres(&pair.ours).await?),
            Engine::Sled => Self::Sled(open_sled(location)?),
        })
    }

    /// Reads all that there is.
    pub(crate) async fn read(&mut self, what: What) -> Result<Sum> {
        match self {
            Self::Sqlite(connection) => read_sqlite(connection, what),
            Self::Postgres(connection) => read_postgres(connection, what).await,
            Self::Sled(db) => read_sled(db, what),
        }
    }
}

/// A row of either kind, as one who reads it has it.
struct Owned {
    /// Sequence and timestamps.
    _numbers: [i64; 3],
    _collection: String,
    _key: Option<String>,
    payload: String,
}

impl Sum {
    fn take(&mut self, row: Owned) {
        self.add(black_box(row).payload.len());
    }
}

fn open_sqlite(path: &str) -> Result<rusqlite::Connection> {
    Ok(rusqlite::Connection::open(path)?)
}

const SQLITE_STATE: &str = "
SELECT sequence, first_timestamp, last_timestamp, state.collection, state.key,
    iif(state.form = 0, log.payload, state.payload)
FROM world_state AS state
LEFT JOIN world_records AS log
    ON log.id = iif(state.form = 0, state.world << 40 | state.sequence, NULL)
WHERE state.world = (SELECT number FROM worlds WHERE world_id = ?1)
ORDER BY state.collection, state.key";

const SQLITE_LOG: &str = "
SELECT id & (1 << 40) - 1, timestamp, change, collection, key, payload
FROM world_records
WHERE id >> 40 = (SELECT number FROM worlds WHERE world_id = ?1)
ORDER BY id";

fn read_sqlite(connection: &rusqlite::Connection, what: What) -> Result<Sum> {
    let mut select = connection.prepare(match what {
        What::State => SQLITE_STATE,
        What::Log => SQLITE_LOG,
    })?;
    let mut rows = select.query([WORLD])?;
    let mut sum = Sum::default();
    while let Some(row) = rows.next()? {
        sum.take(Owned {
            _numbers: [row.get(0)?, row.get(1)?, row.get(2)?],
            _collection: row.get(3)?,
            _key: row.get(4)?,
            payload: row.get(5)?,
        });
    }
    Ok(sum)
}

async fn open_postgres(url: &str) -> Result<PgConnection> {
    let (server, schema) = url
        .split_once("schema=")
        .context("the URL names no schema")?;
    let server = server.trim_end_matches(['?', '&']);
    let mut connection = PgConnection::connect(server).await?;
    let set = sqlx::query("SELECT set_config('search_path', $1, false)").bind(schema);
    set.execute(&mut connection).await?;
    Ok(connection)
}

const POSTGRES_STATE: &str = "
SELECT sequence, first_timestamp, last_timestamp, collection, key, payload
FROM world_state
WHERE world_id = $1
ORDER BY collection, key";

const POSTGRES_LOG: &str = "
SELECT sequence, timestamp, change::bigint, collection, key, payload
FROM world_records
WHERE world_id = $1
ORDER BY sequence";

async fn read_postgres(connection: &mut PgConnection, what: What) -> Result<Sum> {
    let select = sqlx::query(match what {
        What::State => POSTGRES_STATE,
        What::Log => POSTGRES_LOG,
    });
    let mut rows = select.bind(WORLD).fetch(connection);
    let mut sum = Sum::default();
    while let Some(row) = rows.try_next().await? {
        sum.take(Owned {
            _numbers: [row.try_get(0)?, row.try_get(1)?, row.try_get(2)?],
            _collection: row.try_get(3)?,
            _key: row.try_get(4)?,
            payload: row.try_get(5)?,
        });
    }
    Ok(sum)
}

fn open_sled(folder: &str) -> Result<sled::Db> {
    let config = sled::Config::new()
        .path(Path::new(folder).join("sled"))
        .cache_capacity(64 << 20)
        .segment_size(2 << 20);
    Ok(config.open()?)
}

fn read_sled(db: &sled::Db, what: What) -> Result<Sum> {
    let (tree, decode) = match what {
        What::State => (db.open_tree("state")?, sled_state as Decode),
        What::Log => (db.open_tree("log")?, sled_log as Decode),
    };
    let world = [&[WORLD.len() as u8], WORLD.as_bytes()].concat();
    let mut sum = Sum::default();
    for row in tree.scan_prefix(&world) {
        let (key, value) = row?;
        let row = key.get(world.len()..).and_then(|key| decode(key, &value));
        sum.take(row.context("a row is not what this expects")?);
    }
    Ok(sum)
}

type Decode = fn(key: &[u8], value: &[u8]) -> Option<Owned>;

/// Collection, a zero, key; then sequence, both timestamps, the payload.
fn sled_state(key: &[u8], value: &[u8]) -> Option<Owned> {
    let end = key.iter().position(|byte| *byte == 0)?;
    let (numbers, payload) = value.split_at_checked(24)?;
    Some(Owned {
        _numbers: [
            number(numbers, 0)?,
            number(numbers, 8)?,
            number(numbers, 16)?,
        ],
        _collection: text(key.get(..end)?)?,
        _key: Some(text(key.get(end + 1..)?)?),
        payload: sled_payload(payload)?,
    })
}

/// The sequence; then what changes, the timestamp, collection and key with their lengths, the
/// payload.
fn sled_log(key: &[u8], value: &[u8]) -> Option<Owned> {
    let change = i64::from(*value.first()?);
    let (collection, rest) = sized(value.get(9..)?)?;
    let (label, payload) = sized(rest)?;
    Some(Owned {
        _numbers: [number(key, 0)?, change, number(value, 1)?],
        _collection: text(collection)?,
        _key: Some(label)
            .filter(|key| !key.is_empty())
            .map_or(Some(None), |key| text(key).map(Some))?,
        payload: sled_payload(payload)?,
    })
}

/// What stands behind form and length, none of which is longer than a row may be here.
fn sled_payload(bytes: &[u8]) -> Option<String> {
    text(bytes.get(5..)?)
}

fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn number(bytes: &[u8], at: usize) -> Option<i64> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(i64::from_be_bytes)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}
