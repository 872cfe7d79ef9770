//! The records that the clauses write: two collections, and worlds and payloads from literals.

use aqevia_storage::{
    BatchRecord, Collection, History, Key, Payload, Schema, WorldId, WorldRecord,
};

/// A collection of the suite's worlds, and what is kept of its Puts and Deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `fleets`: the state only.
    Fleets,
    /// `treaties`: the state, and each Put and Delete in the log.
    Treaties,
}

impl Kind {
    pub(crate) fn collection(self) -> Collection {
        let name = match self {
            Self::Fleets => "fleets",
            Self::Treaties => "treaties",
        };
        Collection::new(name).expect("a name that is allowed")
    }

    pub(crate) const fn history(self) -> History {
        match self {
            Self::Fleets => History::Latest,
            Self::Treaties => History::All,
        }
    }

    /// A Put of JSON text at timestamp 0.
    pub(crate) fn put(self, world: &WorldId, name: &str, text: &str) -> BatchRecord {
        self.put_at(world, name, text, 0)
    }

    /// A Put of JSON text.
    pub(crate) fn put_at(self, world: &WorldId, name: &str, text: &str, at: i64) -> BatchRecord {
        let put = WorldRecord::put(world, &self.collection(), key(name), json(text), at);
        self.batch_record(put)
    }

    /// A Delete.
    pub(crate) fn delete(self, world: &WorldId, name: &str) -> BatchRecord {
        let delete = WorldRecord::delete(world, &self.collection(), key(name), 0);
        self.batch_record(delete)
    }

    /// A record with this collection's history.
    pub(crate) const fn batch_record(self, record: WorldRecord) -> BatchRecord {
        BatchRecord::new(record, self.history())
    }
}

/// The schema that the two collections are of.
pub(crate) fn schema() -> Schema {
    Schema::new().with_history(Kind::Treaties.collection(), Kind::Treaties.history())
}

/// An event of JSON text at timestamp 0.
pub(crate) fn event(world: &WorldId, text: &str) -> BatchRecord {
    BatchRecord::new(
        WorldRecord::new(world.clone(), json(text), 0),
        History::Latest,
    )
}

/// As many events as asked for, told apart by their payloads.
pub(crate) fn events(world: &WorldId, count: usize) -> Vec<BatchRecord> {
    (0..count)
        .map(|index| event(world, &index.to_string()))
        .collect()
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::Json(text.to_owned())
}

pub(crate) fn world(name: &str) -> WorldId {
    WorldId::new(name).expect("a name that is allowed")
}

pub(crate) fn key(name: &str) -> Key {
    Key::new(name).expect("a key that is allowed")
}
