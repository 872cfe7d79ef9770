//! The parts that a child persists: all of them follow from a seed, so that its parent knows them.

use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Claim, History, Part, Payload, Receipt, Result, StorageBackend, WorldId,
    WorldRecord,
};

use crate::sample::{Kind, key, schema, world};
use crate::writer::persist;

/// The worlds of a sweep.
pub(crate) const WORLDS: [&str; 3] = ["arda", "numenor", "valinor"];

/// Numbers and bytes that follow from a seed and from what they are for.
#[derive(Debug)]
pub(crate) struct Dice(blake3::OutputReader);

impl Dice {
    pub(crate) fn new(seed: u64, purpose: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        for number in purpose {
            hasher.update(&number.to_le_bytes());
        }
        Self(hasher.finalize_xof())
    }

    /// A number below another one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end.max(1)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.fill(&mut bytes);
        bytes
    }
}

/// The records of a call: for some of the worlds, at least one of them, in the worlds' order.
///
/// `run` tells one child from the next, so that no two calls of a sweep write the same.
pub(crate) fn records(seed: u64, run: u64, call: u64) -> Vec<(WorldId, Vec<BatchRecord>)> {
    let mut dice = Dice::new(seed, &[run, call]);
    let always = dice.below(WORLDS.len() as u64);
    let worlds = (0..).zip(WORLDS);
    worlds
        .filter_map(|(index, name)| {
            let takes_part = index == always || dice.below(4) > 0;
            let id = world(name);
            takes_part.then(|| (id.clone(), part_records(&mut dice, &id, run)))
        })
        .collect()
}

fn part_records(dice: &mut Dice, world: &WorldId, run: u64) -> Vec<BatchRecord> {
    let count = match dice.below(8) {
        0 => 0,
        1..=4 => 1 + dice.below(5),
        5 | 6 => 1 + dice.below(40),
        _ => 1 + dice.below(300),
    };
    // Some runs write so much that the engine has to move data meanwhile.
    let large_one_in = if run.is_multiple_of(4) { 12 } else { 100 };
    (0..count)
        .map(|_| record(dice, world, large_one_in))
        .collect()
}

fn record(dice: &mut Dice, world: &WorldId, large_one_in: u64) -> BatchRecord {
    let kind = match dice.below(2) {
        0 => Kind::Fleets,
        _ => Kind::Treaties,
    };
    let name = key(&format!("key {}", dice.below(40)));
    let at = i64::from_le_bytes(dice.below(u64::MAX).to_le_bytes());
    let collection = kind.collection();
    match dice.below(8) {
        0 | 1 => kind.batch_record(WorldRecord::delete(world, &collection, name, at)),
        2 | 3 => {
            let payload = payload(dice, large_one_in);
            let event = WorldRecord::event(world, &collection, Some(name), payload, at);
            BatchRecord::new(event, History::Latest)
        }
        _ => {
            let payload = payload(dice, large_one_in);
            kind.batch_record(WorldRecord::put(world, &collection, name, payload, at))
        }
    }
}

fn payload(dice: &mut Dice, large_one_in: u64) -> Payload {
    let length = match dice.below(large_one_in) {
        0 => LARGE_BYTES,
        _ => dice.below(300),
    };
    let bytes = dice.bytes(usize::try_from(length).expect("a length that fits"));
    match dice.below(2) {
        0 => Payload::Bytes(bytes),
        _ => Payload::Json(format!("{:?}", blake3::hash(&bytes).to_hex().as_str())),
    }
}

/// A payload that no page of an engine holds: 100 KiB.
const LARGE_BYTES: u64 = 100 << 10;

/// So many events whose bytes no engine can make smaller.
pub(crate) fn noise(
    dice: &mut Dice,
    world: &WorldId,
    count: usize,
    bytes: usize,
) -> Vec<BatchRecord> {
    (0..count)
        .map(|_| {
            let event = WorldRecord::new(world.clone(), dice.bytes(bytes), 0);
            BatchRecord::new(event, History::Latest)
        })
        .collect()
}

/// Where a writer stands in a world: what its next part follows.
#[derive(Clone, Debug)]
pub(crate) struct Stand {
    pub(crate) world: WorldId,
    pub(crate) claim: Claim,
}

impl Stand {
    /// Claims a world in the name that all processes of a check have.
    pub(crate) async fn claim(backend: &dyn StorageBackend, world: &WorldId) -> Result<Self> {
        let claim = backend.claim(world, &owner(), schema().fingerprint()).await;
        let world = world.clone();
        claim.map(|claim| Self { world, claim })
    }

    /// The part that follows the last.
    pub(crate) fn part(&self, records: Vec<BatchRecord>) -> Arc<Part> {
        let number = self.claim.last_number.advance(1);
        let part = Part::new(
            self.world.clone(),
            self.claim.epoch,
            number.expect("numbers are left"),
            self.claim.last_at_ms + 1,
            self.claim.link,
            records,
        );
        Arc::new(part.expect("a part within its limits"))
    }

    /// Goes on after a part that is in the store.
    pub(crate) fn advance(&mut self, part: &Part) {
        if part.records().is_empty() {
            return;
        }
        let head = self.claim.head.advance(u64::from(part.count()));
        self.claim.head = head.expect("sequences are left");
        self.claim.last_number = part.number();
        self.claim.last_at_ms = part.at_ms();
        self.claim.link = part.link();
    }

    /// Persists records as the part that follows, and goes on after it.
    pub(crate) async fn persist(
        &mut self,
        backend: &dyn StorageBackend,
        records: Vec<BatchRecord>,
    ) -> Result<(Arc<Part>, Receipt)> {
        let part = self.part(records);
        let receipt = persist(backend, &part).await?;
        self.advance(&part);
        Ok((part, receipt))
    }
}

/// Who claims a world in the processes of a check.
pub(crate) fn owner() -> aqevia_storage::Owner {
    aqevia_storage::Owner::new("a process of the suite").expect("an owner that is allowed")
}
