//! What is written: the same rows for every side.

use std::fmt::Write;

use anyhow::Result;
use aqevia::{Collection, Key, Payload, WorldId, WorldRecord};

/// What the rows of a batch are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mix {
    /// Entities of which the newest state is kept.
    Latest,
    /// Entities whose history is kept as well.
    All,
    /// Events.
    Events,
    /// Two fifths each of the entities, and one of events.
    Mixed,
}

impl Mix {
    /// All there are.
    pub(crate) const ALL: [Self; 4] = [Self::Latest, Self::All, Self::Events, Self::Mixed];

    /// How it is called in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Latest => "entities, latest",
            Self::All => "entities, all",
            Self::Events => "events",
            Self::Mixed => "mixed",
        }
    }

    const fn kind(self, at: u64) -> Kind {
        match (self, at % 5) {
            (Self::Latest, _) | (Self::Mixed, 0 | 1) => Kind::Latest,
            (Self::All, _) | (Self::Mixed, 2 | 3) => Kind::All,
            (Self::Events | Self::Mixed, _) => Kind::Event,
        }
    }
}

/// What one row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A put into a collection with history `Latest`.
    Latest,
    /// A put into a collection with history `All`.
    All,
    /// An event.
    Event,
}

/// A row, as hand-written code has it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Which world, from 1. The rows of a world lie together in a batch.
    pub(crate) world: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// Which collection, by its number in [`COLLECTIONS`].
    pub(crate) collection: u8,
    /// The key of an entity.
    pub(crate) key: Option<String>,
    /// JSON.
    pub(crate) payload: String,
    /// Milliseconds.
    pub(crate) timestamp: i64,
}

/// The collections: five of entities with history `Latest`, five with `All`, and one of events.
pub(crate) const COLLECTIONS: [&str; 11] = [
    "ships", "planets", "fleets", "players", "routes", "cities", "units", "trades", "treaties",
    "armies", "events",
];

/// The collections with history `All`.
pub(crate) const LOGGED: std::ops::Range<usize> = 5..10;

/// Entities in each collection, if nothing else is said.
const ENTITIES: u64 = 5000;
const QUICK_ENTITIES: u64 = 2000;

/// Makes rows without end, the same in every run.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    mix: Mix,
    payload_bytes: usize,
    /// In each collection.
    entities: u64,
    worlds: u32,
    random: Random,
    made: u64,
}

impl Workload {
    /// Rows of a mix, with payloads of so many bytes; with `quick` of fewer entities.
    pub(crate) const fn new(mix: Mix, payload_bytes: usize, quick: bool) -> Self {
        Self {
            mix,
            payload_bytes,
            entities: if quick { QUICK_ENTITIES } else { ENTITIES },
            worlds: 1,
            random: Random(0x9e37_79b9_7f4a_7c15),
            made: 0,
        }
    }

    /// The same with so many entities in each collection.
    pub(crate) const fn with_entities(self, entities: u64) -> Self {
        Self { entities, ..self }
    }

    /// The same in turn in so many worlds, so that a batch of as many rows has one of each.
    pub(crate) const fn with_worlds(self, worlds: u32) -> Self {
        Self { worlds, ..self }
    }

    /// The next rows.
    pub(crate) fn batch(&mut self, rows: usize) -> Vec<Row> {
        (0..rows).map(|_| self.row()).collect()
    }

    /// A row for every entity there is, in batches of a thousand.
    pub(crate) fn fill(&mut self) -> Vec<Vec<Row>> {
        let kinds = match self.mix {
            Mix::Latest => 0..5,
            Mix::All => 5..10,
            Mix::Events => 0..0,
            Mix::Mixed => 0..10,
        };
        let all = self.entities;
        let entities = kinds.flat_map(|collection: u8| (0..all).map(move |key| (collection, key)));
        let rows: Vec<Row> = entities
            .map(|(collection, key)| {
                let kind = match LOGGED.contains(&usize::from(collection)) {
                    true => Kind::All,
                    false => Kind::Latest,
                };
                self.of(kind, collection, Some(key))
            })
            .collect();
        rows.chunks(1000).map(<[Row]>::to_vec).collect()
    }

    fn row(&mut self) -> Row {
        let kind = self.mix.kind(self.made);
        let collection = (self.random.next() % 5) as u8;
        let key = self.random.next() % self.entities;
        match kind {
            Kind::Latest => self.of(kind, collection, Some(key)),
            Kind::All => self.of(kind, 5 + collection, Some(key)),
            Kind::Event => self.of(kind, 10, None),
        }
    }

    fn of(&mut self, kind: Kind, collection: u8, key: Option<u64>) -> Row {
        self.made += 1;
        Row {
            world: 1 + (self.made % u64::from(self.worlds)) as u32,
            kind,
            collection,
            key: key.map(|key| format!("entity-{key}")),
            payload: self.payload(),
            timestamp: self.made as i64,
        }
    }

    fn payload(&mut self) -> String {
        let mut text = String::with_capacity(self.payload_bytes + 24);
        text.push_str("{\"state\":\"");
        while text.len() + 2 < self.payload_bytes {
            // Writing to text never fails.
            let _ = write!(text, "{:016x} ", self.random.next());
        }
        text.truncate(self.payload_bytes - 2);
        text.push_str("\"}");
        text
    }
}

/// The rows as records of a world.
pub(crate) fn records(
    world: &WorldId,
    names: &[Collection],
    rows: &[Row],
) -> Result<Vec<WorldRecord>> {
    let record = |row: &Row| {
        let collection = names.get(usize::from(row.collection));
        let collection = collection.ok_or_else(|| anyhow::anyhow!("no such collection"))?;
        let payload = Payload::Json(row.payload.clone());
        Ok(match &row.key {
            Some(key) => {
                WorldRecord::put(world, collection, Key::new(key)?, payload, row.timestamp)
            }
            None => WorldRecord::event(world, collection, None, payload, row.timestamp),
        })
    };
    rows.iter().map(record).collect()
}

/// The generator `xorshift64*`.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}
