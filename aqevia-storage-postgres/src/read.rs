//! Pages of a world's log and state. Each is one statement, and so one snapshot (clause R5).

use aqevia_storage::{
    Change, Collection, Error, Form, Key, Limit, LogRange, LogRow, Page, Payload, Result, Sequence,
    StateRange, StateRow, StateScope, Usage, WorldId, WorldRecord,
};
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{Decode, PgConnection, Postgres, Row, Type, ValueRef};

use crate::error::reading;
use crate::world::damaged;

/// What `world_records.change` says of each change.
pub(crate) const PUT: i16 = 1;
pub(crate) const DELETE: i16 = 2;
pub(crate) const EVENT: i16 = 3;

/// What the statements that read pages take for a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    /// One more than may be returned; the row past the last tells whether others follow.
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

impl Rows {
    pub(crate) fn of(limit: Limit) -> Self {
        let saturate = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            rows: saturate(limit.items.max(1)).saturating_add(1),
            bytes: saturate(limit.bytes),
        }
    }

    /// The limit of a page that holds nothing but the head.
    const NONE: Self = Self { rows: 0, bytes: 0 };
}

/// A page of a world's log.
pub(crate) async fn log(
    connection: &mut PgConnection,
    id: &WorldId,
    range: LogRange,
    limit: Limit,
) -> Result<Page<LogRow, LogRange>> {
    let limit = Rows::of(limit);
    let select = sqlx::query(include_str!("sql/select_log.sql"))
        .bind(id.as_str())
        .bind(i64::from(range.after))
        .bind(i64::from(range.until))
        .bind(limit.rows)
        .bind(limit.bytes);
    let mut names = Names::default();
    let rows = select.fetch(connection);
    let mut found = found(id, rows, |row| log_row(row, id, &mut names)).await?;
    found.items.sort_by_key(|row| row.sequence);
    let last = found.items.last().filter(|_| found.others_follow);
    let next = last.map(|row| LogRange::after(row.sequence).until(range.until));
    Ok(Page::new(found.items, next, found.head))
}

/// A page of a world's state.
pub(crate) async fn state(
    connection: &mut PgConnection,
    id: &WorldId,
    range: &StateRange,
    limit: Limit,
) -> Result<Page<StateRow, StateRange>> {
    let mut names = Names::default();
    let rows = state_rows(connection, id, range, Rows::of(limit));
    let mut found = found(id, rows, |row| state_row(row, &mut names)).await?;
    let items = &mut found.items;
    items.sort_by(|a, b| (&a.collection, &a.key).cmp(&(&b.collection, &b.key)));
    let last = items.last().filter(|_| found.others_follow);
    let next = last.map(|row| range.clone().after(row.collection.clone(), row.key.clone()));
    Ok(Page::new(found.items, next, found.head))
}

fn state_rows<'a>(
    connection: &'a mut PgConnection,
    id: &'a WorldId,
    range: &'a StateRange,
    limit: Rows,
) -> BoxStream<'a, sqlx::Result<PgRow>> {
    let after = range.after.as_ref();
    let (collection, key) = after.map_or(("", ""), |(c, k)| (c.as_str(), k.as_str()));
    let (sql, collection, key, limit) = match &range.scope {
        StateScope::Key(only, key) if range.contains(only, key) => {
            let select = sqlx::query(include_str!("sql/select_state_key.sql"));
            let select = select.bind(id.as_str()).bind(only.as_str());
            return select.bind(key.as_str()).fetch(connection);
        }
        StateScope::Key(only, _) => (STATE_COLLECTION, only.as_str(), "", Rows::NONE),
        StateScope::Collection(only) if only.as_str() < collection => {
            (STATE_COLLECTION, only.as_str(), "", Rows::NONE)
        }
        StateScope::Collection(only) if only.as_str() > collection => {
            (STATE_COLLECTION, only.as_str(), "", limit)
        }
        StateScope::Collection(only) => (STATE_COLLECTION, only.as_str(), key, limit),
        _ => (STATE, collection, key, limit),
    };
    let select = sqlx::query(sql)
        .bind(id.as_str())
        .bind(collection)
        .bind(key);
    let select = select.bind(limit.rows).bind(limit.bytes);
    select.fetch(connection)
}

const STATE: &str = include_str!("sql/select_state.sql");
const STATE_COLLECTION: &str = include_str!("sql/select_state_collection.sql");

/// What a world holds. The store's bytes are those of its tables, with their indexes.
pub(crate) async fn usage(connection: &mut PgConnection, id: &WorldId) -> Result<Usage> {
    let select = sqlx::query(include_str!("sql/select_usage.sql")).bind(id.as_str());
    let row = select.fetch_optional(connection).await.map_err(reading)?;
    let Some(row) = row else {
        return Ok(Usage::default());
    };
    let count = |column| get::<i64>(&row, column).map(i64::cast_unsigned);
    Ok(Usage {
        log_records: count(0)?,
        log_bytes: count(1)?,
        state_keys: count(2)?,
        state_bytes: count(3)?,
        parts: count(4)?,
        store_bytes: count(5)?,
    })
}

/// What a statement found.
struct Found<T> {
    /// In the order in which the rows came: the statements ask for none, so that the server sends
    /// each row when it has it, and sorts none again.
    items: Vec<T>,
    others_follow: bool,
    head: Sequence,
}

/// Decodes rows as they come, while the server sends others.
///
/// There is at least one, without an item or with one, if there is such a world.
async fn found<T>(
    id: &WorldId,
    mut rows: BoxStream<'_, sqlx::Result<PgRow>>,
    mut item: impl FnMut(&PgRow) -> Result<T>,
) -> Result<Found<T>> {
    let mut found = Found {
        items: Vec::new(),
        others_follow: false,
        head: Sequence::ZERO,
    };
    while let Some(row) = rows.try_next().await.map_err(reading)? {
        if found.items.is_empty() {
            let head = Sequence::try_from(get::<i64>(&row, 0)?);
            found.head = head.map_err(|error| damaged(id.as_str(), &error))?;
            found.others_follow = get(&row, 1)?;
        }
        // The first of an item is never NULL.
        if !row.try_get_raw(2).map_err(reading)?.is_null() {
            found.items.push(item(&row)?);
        }
    }
    Ok(found)
}

/// The collection of the row before, which most often is that of the next, so that they share it.
#[derive(Default)]
struct Names(Option<Collection>);

impl Names {
    fn collection(&mut self, text: &str) -> Result<Collection> {
        if let Some(last) = self.0.as_ref().filter(|last| last.as_str() == text) {
            return Ok(last.clone());
        }
        let collection = Collection::new(text)?;
        Ok(self.0.insert(collection).clone())
    }
}

/// A row of `select_log.sql`.
fn log_row(row: &PgRow, id: &WorldId, names: &mut Names) -> Result<LogRow> {
    let sequence: i64 = get(row, 2)?;
    let mut decode = || -> Result<LogRow> {
        let collection = names.collection(get(row, 4)?)?;
        let key = get::<Option<&str>>(row, 6)?.map(Key::new).transpose()?;
        let change = change(get(row, 5)?, key, payload(row, 7)?)?;
        let record = WorldRecord::of(id, &collection, change, get(row, 3)?);
        Ok(LogRow::new(Sequence::try_from(sequence)?, record))
    };
    decode().map_err(|matter| {
        Error::corrupt(format!(
            "row {sequence} of world_records cannot be right: {matter}"
        ))
    })
}

fn change(tag: i16, key: Option<Key>, payload: Option<Payload>) -> Result<Change> {
    match (tag, key, payload) {
        (PUT, Some(key), Some(payload)) => Ok(Change::Put { key, payload }),
        (DELETE, Some(key), None) => Ok(Change::Delete { key }),
        (EVENT, key, Some(payload)) => Ok(Change::Event { key, payload }),
        _ => Err(Error::corrupt("change, key and payload do not go together")),
    }
}

/// A row of `select_state.sql` or one of its kin.
fn state_row(row: &PgRow, names: &mut Names) -> Result<StateRow> {
    let mut decode = || -> Result<StateRow> {
        let absent = || Error::corrupt("it has no payload");
        Ok(StateRow {
            collection: names.collection(get(row, 2)?)?,
            key: Key::new(get::<&str>(row, 3)?)?,
            payload: payload(row, 7)?.ok_or_else(absent)?,
            sequence: Sequence::try_from(get::<i64>(row, 4)?)?,
            first_timestamp: get(row, 5)?,
            last_timestamp: get(row, 6)?,
        })
    };
    decode()
        .map_err(|matter| Error::corrupt(format!("a row of world_state cannot be right: {matter}")))
}

/// The payload of a row whose form is in `column`, and whose payload is in one of the two that
/// follow.
fn payload(row: &PgRow, column: usize) -> Result<Option<Payload>> {
    let form: i16 = get(row, column)?;
    let text: Option<String> = get(row, column + 1)?;
    let bytes: Option<Vec<u8>> = get(row, column + 2)?;
    match (form, text, bytes) {
        (0, None, None) => Ok(None),
        (JSON, Some(text), None) => Ok(Some(Payload::Json(text))),
        (JSON, None, Some(bytes)) => Payload::from_stored(Form::Json, bytes).map(Some),
        (BYTES, None, Some(bytes)) => Ok(Some(Payload::Bytes(bytes))),
        _ => Err(Error::corrupt(format!(
            "payload form {form} does not fit the columns that hold it"
        ))),
    }
}

const JSON: i16 = Form::Json as i16;
const BYTES: i16 = Form::Bytes as i16;

/// The value in a column.
pub(crate) fn get<'row, T>(row: &'row PgRow, column: usize) -> Result<T>
where
    T: Decode<'row, Postgres> + Type<Postgres>,
{
    row.try_get(column).map_err(reading)
}
