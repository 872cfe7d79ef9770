//! Compares a store with the stream it was made from.

use std::collections::HashMap;
use std::fmt;

use aqevia::{Change, Payload, StateRow, WorldId};

use super::expected::{self, Expected, ExpectedLog};
use super::fingerprint::{self, Fingerprint};
use super::halt::Halt;
use super::stored::Stored;

/// The most differences that are told one by one.
pub const DIFFERENCES_MAX: usize = 20;

/// In what a store differs from its stream.
#[derive(Debug, Default)]
pub struct Differences {
    told: Vec<String>,
    count: u64,
}

impl Differences {
    /// Adds a difference: where it is, and what is the matter.
    pub fn add(&mut self, at: impl fmt::Display, matter: &str) {
        if self.told.len() < DIFFERENCES_MAX {
            self.told.push(format!("{at}: {matter}"));
        }
        self.count += 1;
    }

    /// The first [`DIFFERENCES_MAX`] differences.
    pub fn told(&self) -> impl Iterator<Item = &str> {
        self.told.iter().map(String::as_str)
    }

    /// The number of all differences.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }
}

/// An entity, as a message names it.
pub(super) struct At<'a>(
    pub(super) &'a WorldId,
    pub(super) &'a dyn fmt::Display,
    pub(super) &'a str,
);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "world {:?}, {} {:?}", self.0, self.1, self.2)
    }
}

/// What was not found where the stream has it.
#[derive(Debug, Default)]
pub struct Missing {
    /// Entities that the store does not have: by their names, their content.
    pub entities: HashMap<Fingerprint, Fingerprint>,
    /// Worlds whose events are others.
    pub logs: Vec<WorldId>,
}

impl Missing {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty() && self.logs.is_empty()
    }
}

/// Compares every entity and every event, and says what is missing without its name. It takes the
/// entities out of `expected`.
///
/// # Errors
/// If the store cannot be read, or a signal comes.
pub fn compare(
    stored: Stored<'_>,
    expected: &mut Expected,
    differences: &mut Differences,
) -> Result<Missing, Halt> {
    let mut missing = Missing {
        entities: std::mem::take(&mut expected.entities),
        logs: Vec::new(),
    };
    for (world, expected) in &expected.worlds {
        for row in stored.state(world) {
            compare_entity(world, &row?, &mut missing.entities, differences);
        }
        if log(stored, world)? != expected.log {
            missing.logs.push(world.clone());
        }
    }
    Ok(missing)
}

fn compare_entity(
    world: &WorldId,
    row: &StateRow,
    entities: &mut HashMap<Fingerprint, Fingerprint>,
    differences: &mut Differences,
) {
    let name = fingerprint::of_name(world, &row.collection, &row.key);
    let at = At(world, &row.collection, row.key.as_str());
    let content = |payload: &Payload| {
        fingerprint::of_content(row.sequence.get(), row.last_timestamp, payload)
    };
    match entities.remove(&name) {
        None => differences.add(at, "is in the store and not in the stream"),
        Some(expected) if expected == content(&row.payload) => {}
        Some(_) => {
            let sequence = row.sequence;
            let matter = format!(
                "what is stored (put at sequence {sequence}) is not what the stream put last"
            );
            differences.add(at, &matter);
        }
    }
}

fn log(stored: Stored<'_>, world: &WorldId) -> Result<ExpectedLog, Halt> {
    let mut log = ExpectedLog::default();
    for row in stored.log(world) {
        let row = row?;
        match row.record.change {
            Change::Event { key: Some(_), .. } => log.add(row.sequence.get(), &row.record),
            // The stream has no such record: count it, so that the logs differ.
            _ => log.count += 1,
        }
    }
    Ok(log)
}

/// Whether a record of the stream is the last put of an entity that is missing.
pub(super) fn take_missing(
    missing: &mut HashMap<Fingerprint, Fingerprint>,
    sequence: u64,
    record: &aqevia::WorldRecord,
) -> bool {
    let (Some(name), Some(content)) = (expected::name(record), expected::content(sequence, record))
    else {
        return false;
    };
    let found = missing.get(&name) == Some(&content);
    if found {
        missing.remove(&name);
    }
    found
}
