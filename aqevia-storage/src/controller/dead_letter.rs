//! What stands in the store for a record that the store refused and that nobody waited for.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::group::{Group, Kind, Urgency};
use super::inbox::Inbox;
use super::shared::WorldShared;
use crate::{Change, Collection, Error, Form, Payload, WorldRecord};

/// A record that was refused, as JSON in the collection `_dead_letters` of its world.
#[derive(Debug, Serialize)]
struct DeadLetter<'a> {
    /// What the store answered.
    error: String,
    collection: &'a str,
    key: Option<&'a str>,
    /// `put`, `delete` or `event`.
    change: &'static str,
    timestamp: i64,
    /// The payload, if it is JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<&'a str>,
    /// The payload in hexadecimal, if it is bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<String>,
}

/// The groups that stand for refused records, one each. They take room whether or not there is any:
/// what they stand for has just left it.
pub(super) fn dead_letters(
    world: &Arc<WorldShared>,
    records: Vec<WorldRecord>,
    error: &Error,
    inbox: &Inbox,
) -> Vec<Group> {
    let letters = records.iter().map(|record| {
        let letter = letter(record, error);
        let group = Group {
            world: Arc::clone(world),
            bytes: letter.bytes(),
            records: vec![letter],
            answer: None,
            urgency: Urgency::Now,
            accepted_at: tokio::time::Instant::now(),
            joined: false,
            kind: Kind::DeadLetter,
        };
        inbox.occupy(group.size());
        group
    });
    letters.collect()
}

fn letter(record: &WorldRecord, error: &Error) -> WorldRecord {
    let mut letter = DeadLetter {
        error: error.to_string(),
        collection: record.collection.as_str(),
        key: record.key().map(crate::Key::as_str),
        change: match record.change {
            Change::Put { .. } => "put",
            Change::Delete { .. } => "delete",
            Change::Event { .. } => "event",
        },
        timestamp: record.timestamp,
        json: None,
        bytes: None,
    };
    match record.payload() {
        Some(payload) if payload.form() == Form::Json => {
            letter.json = std::str::from_utf8(payload.as_bytes()).ok();
        }
        Some(payload) => letter.bytes = Some(hex(payload.as_bytes())),
        None => {}
    }
    let payload = encode(&letter).unwrap_or_else(|| {
        // It is longer than a payload may be: the letter then says only of what it is.
        letter.json = None;
        letter.bytes = None;
        encode(&letter).unwrap_or_else(|| Payload::Json("{}".into()))
    });
    let collection = Collection::dead_letters();
    let key = record.key().cloned();
    WorldRecord::event(&record.world, &collection, key, payload, record.timestamp)
}

fn encode(letter: &DeadLetter<'_>) -> Option<Payload> {
    let payload = Payload::json(letter).ok()?;
    (payload.len() <= Payload::BYTES_MAX).then_some(payload)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
