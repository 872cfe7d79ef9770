//! Pages of a world's log and state. Each is one statement, and so one snapshot (clause R5).

use aqevia_storage::{
    Change, Collection, Error, Form, Key, Limit, LogRange, LogRow, Page, Payload, Result, Sequence,
    StateRange, StateRow, StateScope, Usage, WorldId, WorldRecord,
};
use sqlx::postgres::PgRow;
use sqlx::{Decode, PgConnection, Postgres, Row, Type};

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
    let rows = select.fetch_all(connection).await.map_err(reading)?;
    let mut names = Names::default();
    let mut items = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| holds_item(row)) {
        items.push(log_row(row, id, &mut names)?);
    }
    let last = items.last().filter(|_| others_follow(&rows));
    let next = last.map(|row: &LogRow| LogRange::after(row.sequence).until(range.until));
    Ok(Page::new(items, next, head(id, &rows)?))
}

/// A page of a world's state.
pub(crate) async fn state(
    connection: &mut PgConnection,
    id: &WorldId,
    range: &StateRange,
    limit: Limit,
) -> Result<Page<StateRow, StateRange>> {
    let rows = state_rows(connection, id, range, Rows::of(limit)).await;
    let rows = rows.map_err(reading)?;
    let mut names = Names::default();
    let mut items = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| holds_item(row)) {
        items.push(state_row(row, &mut names)?);
    }
    let last = items.last().filter(|_| others_follow(&rows));
    let next = last.map(|row| range.clone().after(row.collection.clone(), row.key.clone()));
    Ok(Page::new(items, next, head(id, &rows)?))
}

async fn state_rows(
    connection: &mut PgConnection,
    id: &WorldId,
    range: &StateRange,
    limit: Rows,
) -> sqlx::Result<Vec<PgRow>> {
    let after = range.after.as_ref();
    let (collection, key) = after.map_or(("", ""), |(c, k)| (c.as_str(), k.as_str()));
    let (sql, collection, key, limit) = match &range.scope {
        StateScope::Key(only, key) if range.contains(only, key) => {
            let select = sqlx::query(include_str!("sql/select_state_key.sql"));
            let select = select.bind(id.as_str()).bind(only.as_str());
            return select.bind(key.as_str()).fetch_all(connection).await;
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
    select.fetch_all(connection).await
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

/// The head in the rows of a page, of which there is at least one if there is such a world.
fn head(id: &WorldId, rows: &[PgRow]) -> Result<Sequence> {
    let Some(row) = rows.first() else {
        return Ok(Sequence::ZERO);
    };
    let head = Sequence::try_from(get::<i64>(row, 0)?);
    head.map_err(|error| damaged(id.as_str(), &error))
}

/// Whether a row is more than the head of a page that holds nothing.
fn holds_item(row: &PgRow) -> bool {
    !matches!(row.try_get::<Option<&str>, _>("collection"), Ok(None))
}

fn others_follow(rows: &[PgRow]) -> bool {
    let follow = rows.last().map(|row| row.try_get(1));
    matches!(follow, Some(Ok(Some(true))))
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
