//! The statement that writes parts, and parts as the columns that it takes.

use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Change, Key, Part, Payload, Sequence, StateChange, StatePut, WorldRecord,
};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::read::{DELETE, EVENT, PUT};

/// Writes parts that put keys and tell events. Most do no more, and each clause of a statement costs a
/// small part as much as a row.
const WRITE_PUTS: &str = concat!(
    include_str!("sql/write_parts_begin.sql"),
    include_str!("sql/write_parts_end.sql")
);

/// Writes any parts.
const WRITE: &str = concat!(
    include_str!("sql/write_parts_begin.sql"),
    include_str!("sql/write_parts_gone.sql"),
    include_str!("sql/write_parts_end.sql")
);

/// The statement that writes parts in a schema. `part` in its rows is the place among `parts`, from 1.
pub(crate) fn write(parts: &[&Arc<Part>], schema: &str) -> Query<'static, Postgres, PgArguments> {
    let mut records = Records::default();
    for (place, part) in (1..).zip(parts) {
        records.add(place, part);
    }
    let statement = sqlx::query(if records.deletes() { WRITE } else { WRITE_PUTS });
    records.bind(bind_parts(statement, parts), schema)
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
struct Records<'a> {
    part: Vec<i64>,
    position: Vec<i64>,
    timestamp: Vec<i64>,
    collection: Vec<&'a str>,
    change: Vec<Option<i16>>,
    key: Vec<Option<&'a str>>,
    form: Vec<i16>,
    payload: Vec<Option<&'a str>>,
    payload_bytes: Vec<Option<&'a [u8]>>,
    logged: Vec<bool>,
    first_timestamp: Vec<Option<i64>>,
    recreated: Vec<Option<bool>>,
    gone_part: Vec<i64>,
    gone_collection: Vec<&'a str>,
    gone_key: Vec<&'a str>,
}

impl<'a> Records<'a> {
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
        self.logged.push(record.is_logged());
        self.first_timestamp
            .push(put.map(|put| put.first_timestamp));
        self.recreated.push(put.map(|put| put.recreated));
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

    /// Whether a key is deleted, for good or to be put anew.
    fn deletes(&self) -> bool {
        !self.gone_part.is_empty() || self.recreated.contains(&Some(true))
    }

    fn bind(
        self,
        statement: Query<'static, Postgres, PgArguments>,
        schema: &str,
    ) -> Query<'static, Postgres, PgArguments> {
        let deletes = self.deletes();
        let statement = statement
            .bind(self.part)
            .bind(self.position)
            .bind(self.timestamp)
            .bind(self.collection)
            .bind(self.change)
            .bind(self.key)
            .bind(self.form)
            .bind(self.payload)
            .bind(self.payload_bytes)
            .bind(self.logged)
            .bind(self.first_timestamp)
            .bind(self.recreated)
            .bind(schema.to_owned());
        if !deletes {
            return statement;
        }
        statement
            .bind(self.gone_part)
            .bind(self.gone_collection)
            .bind(self.gone_key)
    }
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
