//! One history in every store: what each holds afterwards has the same hash.

use std::ops::Range;

use aqevia_storage::{Change, Payload, StateRow, StorageBackend, WorldRecord};
use blake3::{Hash, Hasher};

use crate::Harness;
use crate::contents::everything;
use crate::engines::memory::MemoryHarness;
use crate::history::seeded;
use crate::run::Run;
use crate::suite::on_runtime;

/// The seeds whose histories are compared in a test.
pub const SEEDS: Range<u64> = 0..8;

/// Does the same seeded histories to a store and to the reference backend, which have to hold the
/// same afterwards. Returns the hash of all of it, which is the same for every engine.
///
/// # Panics
/// If the two differ; the message names the seed.
pub fn equivalence<H: Harness>(seeds: Range<u64>) -> Hash {
    let mut all = Hasher::new();
    for seed in seeds {
        let [here, there] = [hash_of::<H>, hash_of::<MemoryHarness>].map(|hash_of| hash_of(seed));
        assert_eq!(
            here, there,
            "the history of seed {seed} leaves another store than it leaves in memory"
        );
        all.update(here.as_bytes());
    }
    all.finalize()
}

/// The hash of a new store after the history of a seed.
fn hash_of<H: Harness>(seed: u64) -> Hash {
    let steps = seeded(seed);
    let hash = on_runtime(Run::<H>::hash(&steps));
    hash.unwrap_or_else(|error| panic!("the history of seed {seed}: {error}"))
}

/// The BLAKE3 hash of everything that a store tells about its worlds: where each stands, its log
/// and its state. Stores of any engine that hold the same have the same hash.
///
/// # Panics
/// If a read fails.
pub async fn canonical_hash(backend: &dyn StorageBackend) -> Hash {
    let mut canon = Canon(Hasher::new());
    for (head, contents) in everything(backend).await {
        canon.bytes(head.world.as_str().as_bytes());
        canon.bytes(head.owner.as_str().as_bytes());
        canon.number(head.head.get());
        canon.number(head.epoch.get());
        canon.number(head.last_number.get());
        canon.number(head.last_at_ms.cast_unsigned());
        canon.number(contents.log.len() as u64);
        for row in contents.log {
            canon.number(row.sequence.get());
            canon.record(&row.record);
        }
        canon.number(contents.state.len() as u64);
        for row in contents.state {
            canon.row(&row);
        }
    }
    canon.0.finalize()
}

/// Everything with its length before it, and numbers little-endian.
struct Canon(Hasher);

impl Canon {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn payload(&mut self, payload: Option<&Payload>) {
        self.number(payload.map_or(0, |payload| payload.form() as u64));
        self.bytes(payload.map_or(&[], Payload::as_bytes));
    }

    fn record(&mut self, record: &WorldRecord) {
        let change: &[u8] = match record.change {
            Change::Put { .. } => b"put",
            Change::Delete { .. } => b"delete",
            _ => b"event",
        };
        self.bytes(change);
        self.bytes(record.collection.as_str().as_bytes());
        self.bytes(record.key().map_or("", |key| key.as_str()).as_bytes());
        self.payload(record.payload());
        self.number(record.timestamp.cast_unsigned());
    }

    fn row(&mut self, row: &StateRow) {
        self.bytes(row.collection.as_str().as_bytes());
        self.bytes(row.key.as_str().as_bytes());
        self.payload(Some(&row.payload));
        self.number(row.sequence.get());
        self.number(row.first_timestamp.cast_unsigned());
        self.number(row.last_timestamp.cast_unsigned());
    }
}
