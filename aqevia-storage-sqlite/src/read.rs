//! Pages of a world's log and state. Each is to be read in one transaction (clause R5).

use aqevia_storage::{
    Change, Collection, Error, Form, Key, Limit, LogRange, LogRow, Meter, Page, Payload, Result,
    Sequence, StateRange, StateRow, StateScope, Usage, WorldId, WorldRecord,
};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Rows, ToSql};

use crate::error::reading;
use crate::world::World;

/// What `world_records.change` says of each change.
pub(crate) const PUT: i64 = 1;
pub(crate) const DELETE: i64 = 2;
pub(crate) const EVENT: i64 = 3;

/// The head of a world, which a world that is not in the store has at zero.
pub(crate) fn head(connection: &Connection, world: &WorldId) -> Result<Sequence> {
    let world = World::find(connection, world)?;
    Ok(world.map_or(Sequence::ZERO, |world| world.head))
}

/// A page of a world's log.
pub(crate) fn log(
    connection: &Connection,
    id: &WorldId,
    range: LogRange,
    limit: Limit,
) -> Result<Page<LogRow, LogRange>> {
    let Some(world) = World::find(connection, id)? else {
        return Ok(Page::new(Vec::new(), None, Sequence::ZERO));
    };
    let mut select = connection
        .prepare_cached(include_str!("sql/select_log.sql"))
        .map_err(reading)?;
    let ids = [world.log_id(range.after) + 1, world.log_id(range.until)];
    let rows = select.query(ids).map_err(reading)?;
    let mut names = Names::default();
    let decode = |row: &Row<'_>| log_row(row, id, &world, &mut names);
    let mut page = Filled::new(limit);
    page.take(rows, decode, |row| row.record.bytes())?;
    let last = page.items.last().filter(|_| page.full);
    let next = last.map(|row| LogRange::after(row.sequence).until(range.until));
    Ok(Page::new(page.items, next, world.head))
}

/// A page of a world's state.
pub(crate) fn state(
    connection: &Connection,
    id: &WorldId,
    range: &StateRange,
    limit: Limit,
) -> Result<Page<StateRow, StateRange>> {
    let Some(world) = World::find(connection, id)? else {
        return Ok(Page::new(Vec::new(), None, Sequence::ZERO));
    };
    let mut page = Filled::new(limit);
    let mut names = Names::default();
    for (sql, place) in selects(range) {
        if page.full {
            break;
        }
        let mut select = connection.prepare_cached(sql).map_err(reading)?;
        let mut place: Vec<_> = place.iter().map(|name| name as &dyn ToSql).collect();
        place.insert(0, &world.number);
        let rows = select.query(place.as_slice()).map_err(reading)?;
        page.take(rows, |row| state_row(row, &mut names), StateRow::bytes)?;
    }
    let last = page.items.last().filter(|_| page.full);
    let next = last.map(|row| range.clone().after(row.collection.clone(), row.key.clone()));
    Ok(Page::new(page.items, next, world.head))
}

/// The statements that find a range, one after the other, and the names that they begin behind.
///
/// Each is of one side of an index: a comparison of pairs would be made again for every row.
fn selects(range: &StateRange) -> Vec<(&'static str, Vec<&str>)> {
    let after = range.after.as_ref();
    let after = after.map(|(collection, key)| (collection.as_str(), key.as_str()));
    match &range.scope {
        StateScope::Key(only, key) if range.contains(only, key) => {
            vec![(STATE_KEY, vec![only.as_str(), key.as_str()])]
        }
        StateScope::Key(..) => Vec::new(),
        StateScope::Collection(only) => match after {
            Some((collection, key)) if collection == only.as_str() => {
                vec![(STATE_COLLECTION, vec![collection, key])]
            }
            Some((collection, _)) if collection > only.as_str() => Vec::new(),
            _ => vec![(STATE_COLLECTION, vec![only.as_str(), ""])],
        },
        _ => match after {
            Some((collection, key)) => vec![
                (STATE_COLLECTION, vec![collection, key]),
                (STATE_COLLECTIONS, vec![collection]),
            ],
            None => vec![(STATE_COLLECTIONS, vec![""])],
        },
    }
}

/// What a world holds. The store's bytes are those of the database, without its write-ahead log.
pub(crate) fn usage(connection: &Connection, id: &WorldId) -> Result<Usage> {
    let Some(world) = World::find(connection, id)? else {
        return Ok(Usage::default());
    };
    let first = world.log_id(Sequence::ZERO);
    let ids = [world.number, first, world.log_id(Sequence::MAX)];
    let count = |row: &Row<'_>, column| row.get::<_, i64>(column).map(i64::cast_unsigned);
    let usage = connection.query_row(include_str!("sql/select_usage.sql"), ids, |row| {
        Ok(Usage {
            log_records: count(row, 0)?,
            log_bytes: count(row, 1)?,
            state_keys: count(row, 2)?,
            state_bytes: count(row, 3)?,
            parts: count(row, 4)?,
            store_bytes: store_bytes(connection)?,
        })
    });
    usage.map_err(reading)
}

fn store_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = pragma("page_count")? * pragma("page_size")?;
    Ok(bytes.cast_unsigned())
}

const STATE_COLLECTIONS: &str = include_str!("sql/select_state_collections.sql");
const STATE_COLLECTION: &str = include_str!("sql/select_state_collection.sql");
const STATE_KEY: &str = include_str!("sql/select_state_key.sql");

/// A page that is being read.
struct Filled<T> {
    items: Vec<T>,
    /// Whether there was an item that did not fit.
    full: bool,
    meter: Meter,
}

impl<T> Filled<T> {
    const fn new(limit: Limit) -> Self {
        Self {
            items: Vec::new(),
            full: false,
            meter: limit.meter(),
        }
    }

    /// Takes the items of a statement, until one does not fit.
    fn take(
        &mut self,
        mut rows: Rows<'_>,
        mut decode: impl FnMut(&Row<'_>) -> Result<T>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<()> {
        while let Some(row) = rows.next().map_err(reading)? {
            let item = decode(row)?;
            if !self.meter.admit(bytes(&item)) {
                self.full = true;
                break;
            }
            self.items.push(item);
        }
        Ok(())
    }
}

/// The collection of the row before, which most often is that of the next, so that they share it.
#[derive(Default)]
struct Names(Option<Collection>);

impl Names {
    fn collection(&mut self, row: &Row<'_>, column: usize) -> Result<Collection> {
        let stored = value(row, column)?;
        let same = |last: &&Collection| stored == ValueRef::from(last.as_str());
        if let Some(last) = self.0.as_ref().filter(same) {
            return Ok(last.clone());
        }
        let collection = Collection::new(required(text(row, column)?)?)?;
        Ok(self.0.insert(collection).clone())
    }
}

/// A row of `select_log.sql`.
fn log_row(row: &Row<'_>, id: &WorldId, world: &World, names: &mut Names) -> Result<LogRow> {
    let log_id = integer(row, 0)?;
    let mut decode = || -> Result<LogRow> {
        if value(row, 1)? != ValueRef::from(id.as_str()) {
            return Err(Error::corrupt("it is of another world"));
        }
        let collection = names.collection(row, 3)?;
        let key = text(row, 5)?.map(Key::new).transpose()?;
        let change = change(integer(row, 4)?, key, payload(row, 6)?)?;
        let record = WorldRecord::of(id, &collection, change, integer(row, 2)?);
        Ok(LogRow::new(world.sequence(log_id)?, record))
    };
    decode().map_err(|matter| {
        Error::corrupt(format!(
            "row {log_id} of world_records cannot be right: {matter}"
        ))
    })
}

fn change(tag: i64, key: Option<Key>, payload: Option<Payload>) -> Result<Change> {
    match (tag, key, payload) {
        (PUT, Some(key), Some(payload)) => Ok(Change::Put { key, payload }),
        (DELETE, Some(key), None) => Ok(Change::Delete { key }),
        (EVENT, key, Some(payload)) => Ok(Change::Event { key, payload }),
        _ => Err(Error::corrupt("change, key and payload do not go together")),
    }
}

/// A row of `select_state_collections.sql` or one of its kin.
fn state_row(row: &Row<'_>, names: &mut Names) -> Result<StateRow> {
    let mut decode = || -> Result<StateRow> {
        let collection = names.collection(row, 0)?;
        let key = Key::new(required(text(row, 1)?)?)?;
        let sequence = Sequence::try_from(integer(row, 2)?)?;
        let Some(payload) = payload(row, 5)? else {
            return Err(Error::corrupt(format!(
                "key {key:?} of {collection:?} is to be in the log at sequence {sequence}, and is not"
            )));
        };
        Ok(StateRow {
            collection,
            key,
            payload,
            sequence,
            first_timestamp: integer(row, 3)?,
            last_timestamp: integer(row, 4)?,
        })
    };
    decode()
        .map_err(|matter| Error::corrupt(format!("a row of world_state cannot be right: {matter}")))
}

/// The payload of a row whose form is in `column` and whose payload is in the one that follows.
fn payload(row: &Row<'_>, column: usize) -> Result<Option<Payload>> {
    let form = integer(row, column)?;
    let (stored, bytes) = match value(row, column + 1)? {
        ValueRef::Null if form == 0 => return Ok(None),
        ValueRef::Text(bytes) => (Form::Json, bytes),
        ValueRef::Blob(bytes) => (Form::Bytes, bytes),
        _ => return Err(Error::corrupt("the payload is a number, or is not there")),
    };
    if form != i64::from(stored as u8) {
        return Err(Error::corrupt(format!(
            "payload form {form} does not fit its column type"
        )));
    }
    Payload::from_stored(stored, bytes.to_vec()).map(Some)
}

fn integer(row: &Row<'_>, column: usize) -> Result<i64> {
    row.get(column).map_err(reading)
}

fn value<'row>(row: &'row Row<'_>, column: usize) -> Result<ValueRef<'row>> {
    row.get_ref(column).map_err(reading)
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row str>> {
    let text = value(row, column)?.as_str_or_null();
    text.map_err(|error| Error::corrupt(format!("column {column} is no text")).with_source(error))
}

fn required<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Error::corrupt("a column is empty"))
}
