//! What a store has to hold after a stream, in a few bytes an entity.

use std::collections::{BTreeMap, HashMap};

use aqevia::{Change, WorldId, WorldRecord};

use super::fingerprint::{self, Fingerprint};
use super::turns::Turn;

/// The end of a stream, as far as it has been read.
///
/// An entity takes 40 to 80 bytes, whatever its payload, and half as much again for the moment in
/// which the table grows; a world takes about 200; events take nothing.
#[derive(Debug, Default)]
pub struct Expected {
    /// By the name of each live entity, its content.
    pub entities: HashMap<Fingerprint, Fingerprint>,
    /// Each world of the stream.
    pub worlds: BTreeMap<WorldId, ExpectedWorld>,
}

/// What a store has to hold of one world, besides its entities.
#[derive(Clone, Debug, Default)]
pub struct ExpectedWorld {
    /// The lines of the world, which is its head in a store that holds the stream.
    pub head: u64,
    /// The number of its last turn.
    pub turn: u64,
    /// Its events.
    pub log: ExpectedLog,
}

/// A number of events, and what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExpectedLog {
    /// How many there are.
    pub count: u64,
    digest: Fingerprint,
}

impl ExpectedLog {
    /// Adds the next event.
    pub fn add(&mut self, sequence: u64, event: &WorldRecord) {
        let (Some(name), Some(content)) = (name(event), content(sequence, event)) else {
            return;
        };
        self.count += 1;
        self.digest = fingerprint::of_log(self.digest, name, content);
    }
}

impl Expected {
    /// Adds a turn.
    pub fn add(&mut self, turn: &Turn) {
        let world = self.worlds.entry(turn.world.clone()).or_default();
        world.head = turn.last();
        world.turn = turn.number;
        for (sequence, record) in turn.sequenced() {
            match record.change {
                Change::Event { .. } => world.log.add(sequence, record),
                _ => move_entity(&mut self.entities, sequence, record),
            }
        }
    }

    /// The number of events in all worlds.
    #[must_use]
    pub fn event_count(&self) -> u64 {
        self.worlds.values().map(|world| world.log.count).sum()
    }
}

fn move_entity(
    entities: &mut HashMap<Fingerprint, Fingerprint>,
    sequence: u64,
    record: &WorldRecord,
) {
    let Some(name) = name(record) else {
        return;
    };
    match content(sequence, record) {
        Some(content) => entities.insert(name, content),
        None => entities.remove(&name),
    };
}

/// The fingerprint of what a record is about; `None` for an event without a key.
#[must_use]
pub fn name(record: &WorldRecord) -> Option<Fingerprint> {
    let key = record.key()?;
    Some(fingerprint::of_name(&record.world, &record.collection, key))
}

/// The fingerprint of what a record says; `None` for a delete.
#[must_use]
pub fn content(sequence: u64, record: &WorldRecord) -> Option<Fingerprint> {
    let payload = record.payload()?;
    Some(fingerprint::of_content(sequence, record.timestamp, payload))
}
