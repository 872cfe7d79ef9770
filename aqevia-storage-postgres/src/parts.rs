//! The statement that writes parts, and parts as the columns that it takes.

use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Change, Key, Part, Payload, Sequence, StateChange, StatePut, WorldRecord,
};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::read::{DELETE, EVENT, PUT};

/// The statement for `part` or `parts`, with the clauses that rows need. Each costs a small part as
/// much as a row.
macro_rules! statement {
    ($parts:literal, $rows:expr) => {
        match $rows.clauses() {
            (_, false, false) => statement!(of "rows", $parts, "logged", "batches"),
            (false, true, false) => statement!(of "rows", $parts, "put", "batches"),
            (true, true, false) => statement!(of "rows", $parts, "logged", "put", "batches"),
            (_, _, true) => statement!(of "rows", $parts, "logged", "put", "gone", "batches"),
        }
    };
    (of $($clause:literal),+) => {
        sqlx::query(concat!($(include_str!(concat!("sql/write_", $clause, ".sql"))),+))
    };
}

/// The statement that writes parts in a schema. Each of its rows is the world of a part that was
/// written, and the sequence of its first record.
pub(crate) fn write(parts: &[&Arc<Part>], schema: &str) -> Query<'static, Postgres, PgArguments> {
    let mut rows = Rows::default();
    for (place, part) in (1..).zip(parts) {
        rows.add(place, part);
    }
    let statement = match parts {
        [part] => {
            rows.part.clear();
            bind_part(statement!("part", rows), part)
        }
        _ => bind_parts(statement!("parts", rows), parts),
    };
    rows.bind(statement, schema)
}

fn bind_part(
    statement: Query<'static, Postgres, PgArguments>,
    part: &Part,
) -> Query<'static, Postgres, PgArguments> {
    statement
        .bind(part.world().as_str().to_owned())
        .bind(i64::from(part.epoch()))
        .bind(i64::from(part.number()))
        .bind(i64::from(part.count()))
        .bind(part.at_ms())
        .bind(part.digest().to_bytes())
        .bind(part.link().0)
}

fn bind_parts(
    statement: Query<'static, Postgres, PgArguments>,
    parts: &[&Arc<Part>],
) -> Query<'static, Postgres, PgArguments> {
    let integers = |of: fn(&Part) -> i64| parts.iter().map(|part| of(part)).collect::<Vec<_>>();
    let worlds: Vec<_> = parts.iter().map(|part| part.world().as_str()).collect();
    let digests: Vec<_> = parts.iter().map(|part| part.digest().to_bytes()).collect();
    let links: Vec<_> = parts.iter().map(|part| part.link().0).collect();
    statement
        .bind(worlds)
        .bind(integers(|part| i64::from(part.epoch())))
        .bind(integers(|part| i64::from(part.number())))
        .bind(integers(|part| i64::from(part.count())))
        .bind(integers(Part::at_ms))
        .bind(digests)
        .bind(links)
}

/// The records of parts that move the log, the state or both, and the keys that are gone.
#[derive(Default)]
struct Rows<'a> {
    position: Vec<i64>,
    timestamp: Vec<i64>,
    collection: Vec<&'a str>,
    change: Vec<Option<i16>>,
    key: Vec<Option<&'a str>>,
    form: Vec<i16>,
    payload: Vec<Option<&'a str>>,
    payload_bytes: Vec<Option<&'a [u8]>>,
    logged: Vec<Option<bool>>,
    first_timestamp: Vec<Option<i64>>,
    recreated: Vec<Option<bool>>,
    part: Vec<i64>,
    gone_part: Vec<i64>,
    gone_collection: Vec<&'a str>,
    gone_key: Vec<&'a str>,
}

impl<'a> Rows<'a> {
    /// Adds the records of a part.
    fn add(&mut self, place: i64, part: &'a Part) {
        let changes = part.state_changes(Sequence::ZERO);
        let mut puts = changes
            .iter()
            .filter_map(|change| change.put)
            .collect::<Vec<_>>();
        puts.sort_unstable_by_key(|put| put.sequence);
        let mut puts = puts.into_iter().peekable();
        for (position, record) in (1_i64..).zip(part.records()) {
            // The head is taken to be zero, so a sequence is a position in the part.
            let put = puts.next_if(|put| i64::from(put.sequence) == position);
            if record.is_logged() || put.is_some() {
                self.part.push(place);
                self.position.push(position);
                self.push(record, put);
            }
        }
        changes
            .iter()
            .for_each(|change| self.push_gone(place, change));
    }

    fn push(&mut self, record: &'a BatchRecord, put: Option<StatePut<'a>>) {
        self.logged.push(record.is_logged().then_some(true));
        self.first_timestamp
            .push(put.map(|put| put.first_timestamp));
        let recreated = put.is_some_and(|put| put.recreated);
        self.recreated.push(recreated.then_some(true));
        let record: &WorldRecord = record.record();
        self.timestamp.push(record.timestamp);
        self.collection.push(record.collection.as_str());
        self.change.push(tag(&record.change));
        self.key.push(record.key().map(Key::as_str));
        let payload = record.payload();
        let text = payload.and_then(text);
        let bytes = payload.filter(|_| text.is_none()).map(Payload::as_bytes);
        self.form
            .push(payload.map_or(0, |payload| payload.form() as i16));
        self.payload.push(text);
        self.payload_bytes.push(bytes);
    }

    fn push_gone(&mut self, place: i64, change: &StateChange<'a>) {
        if change.put.is_none() {
            self.gone_part.push(place);
            self.gone_collection.push(change.collection.as_str());
            self.gone_key.push(change.key.as_str());
        }
    }

    /// Whether there is something for the log, for the state, and among it keys that are deleted, for
    /// good or to be put anew.
    fn clauses(&self) -> (bool, bool, bool) {
        (
            any(&self.logged),
            any(&self.first_timestamp),
            !self.gone_part.is_empty() || any(&self.recreated),
        )
    }

    fn bind(
        self,
        statement: Query<'static, Postgres, PgArguments>,
        schema: &str,
    ) -> Query<'static, Postgres, PgArguments> {
        let (.., deletes) = self.clauses();
        let statement = statement
            .bind(schema.to_owned())
            .bind(self.position)
            .bind(self.timestamp)
            .bind(self.collection)
            .bind(self.change)
            .bind(short(self.key))
            .bind(self.form)
            .bind(short(self.payload))
            .bind(short(self.payload_bytes))
            .bind(short(self.logged))
            .bind(short(self.first_timestamp))
            .bind(short(self.recreated))
            .bind(self.part);
        if !deletes {
            return statement;
        }
        statement
            .bind(self.gone_part)
            .bind(self.gone_collection)
            .bind(self.gone_key)
    }
}

/// Whether a column is not NULL in all rows.
fn any<T>(column: &[Option<T>]) -> bool {
    column.iter().any(Option::is_some)
}

/// A column, without what the server takes to be NULL as well if it is not sent.
fn short<T>(mut column: Vec<Option<T>>) -> Vec<Option<T>> {
    if !any(&column) {
        column.clear();
    }
    column
}

const fn tag(change: &Change) -> Option<i16> {
    match change {
        Change::Put { .. } => Some(PUT),
        Change::Delete { .. } => Some(DELETE),
        Change::Event { .. } => Some(EVENT),
        // A change this crate does not know has no tag; the column refuses it.
        _ => None,
    }
}

/// A payload as text, if Postgres can hold it as text.
fn text(payload: &Payload) -> Option<&str> {
    match payload {
        Payload::Json(text) if !text.contains('\0') => Some(text),
        _ => None,
    }
}
