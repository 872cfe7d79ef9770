//! What a flush hands to a backend, and what comes back.

use std::sync::{Arc, OnceLock};

use crate::{
    BatchNumber, Change, Collection, Digest, Epoch, Error, Fingerprint, History, Key, Link,
    Payload, Result, Sequence, WorldId, WorldRecord,
};

/// The parts of one flush: at most one a world, sorted by world.
///
/// Cloning a batch shares its parts, so a backend can take them to a thread or task of its own.
#[derive(Clone, Debug)]
pub struct Batch {
    parts: Vec<Arc<Part>>,
}

impl Batch {
    /// Puts parts together, in the order of their worlds.
    ///
    /// # Errors
    /// `Invalid` if two parts are of one world.
    pub fn new(mut parts: Vec<Arc<Part>>) -> Result<Self> {
        parts.sort_by(|a, b| a.world().cmp(b.world()));
        let twice = parts.iter().zip(parts.iter().skip(1));
        if let Some((part, _)) = twice.into_iter().find(|(a, b)| a.world() == b.world()) {
            let world = part.world();
            return Err(Error::invalid(format!(
                "batch: holds two parts of world {world:?}"
            )));
        }
        Ok(Self { parts })
    }

    /// Some parts of one batch, in its order.
    pub(crate) const fn share(parts: Vec<Arc<Part>>) -> Self {
        // Invariant: a batch is sorted and has one part a world, and so has what is taken from it.
        Self { parts }
    }

    /// The parts, sorted by world.
    #[must_use]
    pub fn parts(&self) -> &[Arc<Part>] {
        &self.parts
    }
}

impl From<Part> for Batch {
    fn from(part: Part) -> Self {
        Self {
            parts: vec![Arc::new(part)],
        }
    }
}

/// A record as a part carries it: with the decision whether it goes into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRecord {
    record: WorldRecord,
    logged: bool,
}

impl BatchRecord {
    /// A record of a collection that has this history. Events are logged in any case.
    #[must_use]
    pub const fn new(record: WorldRecord, history: History) -> Self {
        let event = matches!(record.change, Change::Event { .. });
        let logged = event || matches!(history, History::All);
        Self { record, logged }
    }

    /// The record.
    #[must_use]
    pub const fn record(&self) -> &WorldRecord {
        &self.record
    }

    /// Whether the record goes into the log.
    #[must_use]
    pub const fn is_logged(&self) -> bool {
        self.logged
    }
}

/// One world's share of a batch: all or nothing (clause P1).
///
/// `epoch` and `number` make a retry of the same part, and a second writer, harmless (clauses P5
/// to P7). `digest` and `link` are made here, so that every store holds the same chain.
#[derive(Debug)]
pub struct Part {
    world: WorldId,
    epoch: Epoch,
    number: BatchNumber,
    at_ms: i64,
    previous: Link,
    hashes: OnceLock<(Digest, Link)>,
    bytes: usize,
    records: Vec<BatchRecord>,
}

impl Part {
    /// The most records in a part.
    pub const RECORDS_MAX: usize = 1 << 17;
    /// The most bytes in a part, as [`WorldRecord::bytes`] counts them: 128 MiB.
    pub const BYTES_MAX: usize = 128 << 20;

    /// A part that follows the one whose link is `previous`.
    ///
    /// # Errors
    /// `Invalid` if a record is of another world or over its limits, or if the part is over
    /// [`Part::RECORDS_MAX`] or [`Part::BYTES_MAX`] (clause P10).
    pub fn new(
        world: WorldId,
        epoch: Epoch,
        number: BatchNumber,
        at_ms: i64,
        previous: Link,
        records: Vec<BatchRecord>,
    ) -> Result<Self> {
        let bytes = check_records(&world, &records).map_err(|error| {
            error.context(format_args!("form batch {number} of world {world:?}"))
        })?;
        Ok(Self {
            world,
            epoch,
            number,
            at_ms,
            previous,
            hashes: OnceLock::new(),
            bytes,
            records,
        })
    }

    /// The world that the part changes.
    #[must_use]
    pub const fn world(&self) -> &WorldId {
        &self.world
    }

    /// The epoch of the writer that formed the part.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The part's number in its world.
    #[must_use]
    pub const fn number(&self) -> BatchNumber {
        self.number
    }

    /// When the part was formed, by the controller's clock, in milliseconds since 1970. It never
    /// falls within a world.
    #[must_use]
    pub const fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// The hash of the records.
    ///
    /// Who asks first for this or for [`Part::link`] makes the hashes, and who asks meanwhile waits.
    /// The controller does, once the backend has the part: one that asks when it has written the
    /// records finds them made.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.hashes().0
    }

    /// The hash of the chain of parts up to this one.
    #[must_use]
    pub fn link(&self) -> Link {
        self.hashes().1
    }

    fn hashes(&self) -> &(Digest, Link) {
        self.hashes.get_or_init(|| {
            let digest = Digest::of(&self.records);
            let link = self.previous.next(self.epoch, self.number, &digest);
            (digest, link)
        })
    }

    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> &[BatchRecord] {
        &self.records
    }

    /// The number of records. Fits a `u32`, by [`Part::RECORDS_MAX`].
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    /// The bytes of the records, as [`WorldRecord::bytes`] counts them.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Says of an error that it befell the persisting of this part.
    #[must_use]
    pub fn failed(&self, error: Error) -> Error {
        let (number, world) = (self.number, &self.world);
        error.context(format_args!("persist batch {number} of world {world:?}"))
    }

    /// What the part does to the state: one change a key, in byte order of collection and key.
    ///
    /// `head` is the world's head before the part. A store that applies these changes upholds
    /// clause P8 without looking at the records again.
    #[must_use]
    pub fn state_changes(&self, head: Sequence) -> Vec<StateChange<'_>> {
        // What is sorted is small, so that moving it costs little.
        let keyed = (1..).zip(&self.records).filter_map(|(at, record)| {
            let WorldRecord {
                collection, change, ..
            } = &record.record;
            let key = record
                .record
                .key()
                .filter(|_| !matches!(change, Change::Event { .. }))?;
            Some((collection, key, at, record))
        });
        let mut keyed: Vec<(&Collection, &Key, u64, &BatchRecord)> = keyed.collect();
        keyed.sort_unstable_by(|a, b| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)));
        let mut changes: Vec<StateChange<'_>> = Vec::with_capacity(keyed.len());
        for (collection, key, at, record) in keyed {
            let change = StateChange {
                collection,
                key,
                put: StatePut::of(record, head.advance_saturating(at)),
            };
            let last = changes.last_mut();
            if !last.is_some_and(|last| last.absorb(&change)) {
                changes.push(change);
            }
        }
        changes
    }
}

/// Checks the records of a part; their bytes.
fn check_records(world: &WorldId, records: &[BatchRecord]) -> Result<usize> {
    if let Some(stray) = records.iter().find(|r| r.record.world != *world) {
        let stray = &stray.record.world;
        return Err(Error::invalid(format!("a record is of world {stray:?}")));
    }
    let count = records.len();
    if count > Part::RECORDS_MAX {
        let max = Part::RECORDS_MAX;
        return Err(Error::invalid(format!(
            "{count} records, at most {max} fit"
        )));
    }
    records.iter().try_for_each(|r| r.record.check())?;
    let bytes: usize = records.iter().map(|r| r.record.bytes()).sum();
    if bytes > Part::BYTES_MAX {
        let max = Part::BYTES_MAX;
        return Err(Error::invalid(format!("{bytes} bytes, at most {max} fit")));
    }
    Ok(bytes)
}

/// What a part does to one key of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange<'a> {
    /// The collection of the key.
    pub collection: &'a Collection,
    /// The key.
    pub key: &'a Key,
    /// What the key has after the part, or `None` if it is gone.
    pub put: Option<StatePut<'a>>,
}

/// The state of a key that a part leaves live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatePut<'a> {
    /// The newest payload.
    pub payload: &'a Payload,
    /// The sequence of the last Put of the part.
    pub sequence: Sequence,
    /// The timestamp of the first Put of the part since the key was last deleted in it.
    pub first_timestamp: i64,
    /// The timestamp of the last Put of the part.
    pub last_timestamp: i64,
    /// Whether the part deleted the key before, so that `first_timestamp` replaces the stored one.
    pub recreated: bool,
    /// Whether the log has the last Put, under `sequence`: a store need not keep its payload twice.
    pub logged: bool,
}

impl<'a> StatePut<'a> {
    /// What a record makes the state of its key, unless it deletes it.
    const fn of(
        BatchRecord { record, logged }: &'a BatchRecord,
        sequence: Sequence,
    ) -> Option<Self> {
        let Change::Put { payload, .. } = &record.change else {
            return None;
        };
        Some(Self {
            payload,
            sequence,
            first_timestamp: record.timestamp,
            last_timestamp: record.timestamp,
            recreated: false,
            logged: *logged,
        })
    }
}

impl StateChange<'_> {
    /// Takes a later change of the same key into this one; `false` if it is of another key.
    fn absorb(&mut self, later: &Self) -> bool {
        if (self.collection, self.key) != (later.collection, later.key) {
            return false;
        }
        self.put = later.put.map(|put| match self.put {
            None => StatePut {
                recreated: true,
                ..put
            },
            Some(earlier) => StatePut {
                first_timestamp: earlier.first_timestamp,
                recreated: earlier.recreated,
                ..put
            },
        });
        true
    }
}

/// Where the records of a part, or of a group, came to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The sequence of the first record. Of an empty part: the one that the next record takes.
    pub first: Sequence,
    /// How many sequences were taken, one a record.
    pub count: u32,
    /// Whether the part had been persisted before, so that nothing was written (clause P5).
    pub repeated: bool,
}

impl Receipt {
    /// The receipt of a part that was written by this call.
    #[must_use]
    pub const fn written(first: Sequence, count: u32) -> Self {
        Self {
            first,
            count,
            repeated: false,
        }
    }

    /// The receipt of a part that had been written before.
    #[must_use]
    pub const fn repeated(first: Sequence, count: u32) -> Self {
        Self {
            first,
            count,
            repeated: true,
        }
    }
}

/// What a writer learns when it claims a world: where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch that is the claimant's from now on.
    pub epoch: Epoch,
    /// The last sequence of the world.
    pub head: Sequence,
    /// The number of the last part; the next one is one more.
    pub last_number: BatchNumber,
    /// When the last part was formed; the next one is not earlier. Zero if there is none.
    pub last_at_ms: i64,
    /// The link of the last part, or [`Link::ORIGIN`].
    pub link: Link,
    /// The schema that the writer before declared, if there was one.
    pub schema: Option<Fingerprint>,
}

impl Claim {
    /// The first claim of a world that holds nothing.
    #[must_use]
    pub const fn first() -> Self {
        Self {
            epoch: Epoch::FIRST,
            head: Sequence::ZERO,
            last_number: BatchNumber::ZERO,
            last_at_ms: 0,
            link: Link::ORIGIN,
            schema: None,
        }
    }
}

#[cfg(test)]
mod tests;
