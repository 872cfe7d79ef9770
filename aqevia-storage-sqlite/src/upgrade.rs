//! The upgrade from the first published layout, which had the log and no more (clauses B4, B6).

use aqevia_storage::{
    BatchNumber, BatchRecord, Change, Collection, Epoch, Error, ErrorKind, History, Limit, Owner,
    Part, Payload, Result, WorldId, WorldRecord, step,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use crate::error::{reading, writing};
use crate::layout::create;
use crate::world::World;
use crate::write::write_part;

/// Brings a store of the first layout to the present one, in a transaction of the caller's.
///
/// Each row becomes an event of the collection `records`, in the order of the rows.
///
/// # Errors
/// `Incompatible`, naming row and matter, if a row cannot be kept.
pub(crate) fn upgrade(connection: &Connection) -> Result<()> {
    connection
        .execute_batch(include_str!("sql/upgrade_begin.sql"))
        .map_err(writing)?;
    step("upgrade: first table renamed");
    create(connection).map_err(writing)?;
    let mut worlds = connection
        .prepare(include_str!("sql/select_first_worlds.sql"))
        .map_err(reading)?;
    let mut rows = worlds.query([]).map_err(reading)?;
    while let Some(row) = rows.next().map_err(reading)? {
        upgrade_world(connection, &world_id(row)?)?;
        step("upgrade: world upgraded");
    }
    // Order matters: SQLite does not drop a table while a statement reads it.
    drop(rows);
    drop(worlds);
    connection
        .execute_batch(include_str!("sql/upgrade_end.sql"))
        .map_err(writing)
}

fn world_id(row: &Row<'_>) -> Result<WorldId> {
    let first: i64 = row.get(1).map_err(reading)?;
    let name = match row.get_ref(0).map_err(reading)? {
        ValueRef::Text(name) => std::str::from_utf8(name).ok(),
        _ => None,
    };
    let name = name.ok_or_else(|| cannot_keep(first, "its world_id is no text"))?;
    WorldId::new(name).map_err(|error| cannot_keep(first, &error.to_string()))
}

fn upgrade_world(connection: &Connection, id: &WorldId) -> Result<()> {
    World::add(connection, id, Epoch::ZERO, &Owner::new(OWNER)?)?;
    let mut select = connection
        .prepare_cached(include_str!("sql/select_first_records.sql"))
        .map_err(reading)?;
    let mut rows = select.query([id.as_str()]).map_err(reading)?;
    let mut meter = PART_MAX.meter();
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(reading)? {
        let record = record(row, id)?;
        if !meter.admit(record.bytes()) {
            append(connection, id, std::mem::take(&mut records))?;
            meter = PART_MAX.meter();
            meter.admit(record.bytes());
        }
        records.push(BatchRecord::new(record, History::Latest));
    }
    append(connection, id, records)
}

/// Who is said to have written the rows, until someone claims the world.
const OWNER: &str = "upgrade";

/// How much becomes one part, and so is held in memory at once.
const PART_MAX: Limit = Limit {
    items: 10_000,
    bytes: 16 << 20,
};

fn record(row: &Row<'_>, world: &WorldId) -> Result<WorldRecord> {
    let id: i64 = row.get(0).map_err(reading)?;
    let payload = match row.get_ref(1).map_err(reading)? {
        ValueRef::Text(text) => std::str::from_utf8(text)
            .map(|text| Payload::Json(text.to_owned()))
            .map_err(|_| cannot_keep(id, "its payload is not UTF-8"))?,
        ValueRef::Blob(bytes) => Payload::Bytes(bytes.to_vec()),
        _ => return Err(cannot_keep(id, "its payload is neither text nor bytes")),
    };
    let ValueRef::Integer(timestamp) = row.get_ref(2).map_err(reading)? else {
        return Err(cannot_keep(id, "its timestamp is no integer"));
    };
    let change = Change::Event { key: None, payload };
    let record = WorldRecord::of(world, &Collection::records(), change, timestamp);
    match record.check() {
        Ok(()) => Ok(record),
        Err(error) => Err(cannot_keep(id, &error.to_string())),
    }
}

fn cannot_keep(id: i64, matter: &str) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "row {id} of world_records cannot be upgraded: {matter}; correct or delete the row \
             and open the store again"
        ),
    )
}

/// Writes records as the next part of a world that nobody has claimed.
fn append(connection: &Connection, id: &WorldId, records: Vec<BatchRecord>) -> Result<()> {
    let Some(world) = World::find(connection, id)? else {
        return Err(Error::corrupt(format!("the row of world {id:?} is gone")));
    };
    let number: BatchNumber = world.last_number.advance(1)?;
    let part = Part::new(id.clone(), world.epoch, number, 0, world.link, records)?;
    write_part(connection, &world, &part).map(drop)
}
