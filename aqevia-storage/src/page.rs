//! Reading in pages: what to read, how much at once, and what comes back.
//!
//! The rows that a backend makes are open to struct literals: one that gains a field is to stop the
//! backends that do not fill it.

use crate::{BatchNumber, Collection, Epoch, Key, Owner, Payload, Sequence, WorldId, WorldRecord};

/// How much a page holds at most. One item always fits, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most items; zero counts as one.
    pub items: usize,
    /// The most bytes, as [`WorldRecord::bytes`] counts them.
    pub bytes: usize,
}

impl Default for Limit {
    /// 4,096 items, four mebibytes.
    fn default() -> Self {
        Self {
            items: 4096,
            bytes: 4 << 20,
        }
    }
}

impl Limit {
    /// At most `items` items and four mebibytes.
    #[must_use]
    pub fn items(items: usize) -> Self {
        Self {
            items,
            ..Self::default()
        }
    }

    /// Counts the items of a page while it is read.
    #[must_use]
    pub const fn meter(self) -> Meter {
        Meter {
            limit: self,
            items: 0,
            bytes: 0,
        }
    }
}

/// Tells a backend when a page is full.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    limit: Limit,
    items: usize,
    bytes: usize,
}

impl Meter {
    /// Takes an item of `bytes` into the page; `false` if it belongs on the next one.
    pub fn admit(&mut self, bytes: usize) -> bool {
        let first = self.items == 0;
        let total = self.bytes.saturating_add(bytes);
        if !first && (self.items >= self.limit.items || total > self.limit.bytes) {
            return false;
        }
        self.items += 1;
        self.bytes = total;
        true
    }
}

/// Some items in order, and what to ask for to get those that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T, R> {
    /// The items.
    pub items: Vec<T>,
    /// The range of the next page; `None` if this is the last, as an empty page always is.
    pub next: Option<R>,
    /// The world's head in the snapshot that the page was read from (clause R5).
    pub head: Sequence,
}

impl<T, R> Page<T, R> {
    /// A page of a world whose head is `head`.
    #[must_use]
    pub const fn new(items: Vec<T>, next: Option<R>, head: Sequence) -> Self {
        Self { items, next, head }
    }
}

/// A range of a log: the sequences after one and up to another, both of them ends of parts or not.
/// A range that ends where it begins, or before, holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRange {
    /// The sequence before the first one, excluded.
    pub after: Sequence,
    /// The last sequence, included.
    pub until: Sequence,
}

impl LogRange {
    /// The whole log.
    pub const ALL: Self = Self {
        after: Sequence::ZERO,
        until: Sequence::MAX,
    };

    /// What follows a sequence.
    #[must_use]
    pub const fn after(after: Sequence) -> Self {
        Self { after, ..Self::ALL }
    }

    /// The same range up to a sequence, included.
    #[must_use]
    pub const fn until(self, until: Sequence) -> Self {
        Self { until, ..self }
    }
}

/// A row of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogRow {
    /// Its position in the world.
    pub sequence: Sequence,
    /// The record, as it was given.
    pub record: WorldRecord,
}

impl LogRow {
    /// The record at a sequence.
    #[must_use]
    pub const fn new(sequence: Sequence, record: WorldRecord) -> Self {
        Self { sequence, record }
    }
}

/// A range of a state, in byte order of collection and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateRange {
    /// Of which keys.
    pub scope: StateScope,
    /// Only what comes after this collection and key.
    pub after: Option<(Collection, Key)>,
}

/// Which keys of a state are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateScope {
    /// All of the world.
    #[default]
    World,
    /// Those of a collection.
    Collection(Collection),
    /// One.
    Key(Collection, Key),
}

impl StateRange {
    /// The whole state.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The keys of one collection.
    #[must_use]
    pub const fn collection(collection: Collection) -> Self {
        Self::of(StateScope::Collection(collection))
    }

    /// One key of one collection.
    #[must_use]
    pub const fn key(collection: Collection, key: Key) -> Self {
        Self::of(StateScope::Key(collection, key))
    }

    const fn of(scope: StateScope) -> Self {
        Self { scope, after: None }
    }

    /// The part of the range that comes after a collection and key.
    #[must_use]
    pub fn after(self, collection: Collection, key: Key) -> Self {
        Self {
            after: Some((collection, key)),
            ..self
        }
    }

    /// Whether a collection and key lie in the range.
    #[must_use]
    pub fn contains(&self, collection: &Collection, key: &Key) -> bool {
        let in_scope = match &self.scope {
            StateScope::World => true,
            StateScope::Collection(only) => only == collection,
            StateScope::Key(only, one) => (only, one) == (collection, key),
        };
        let after = self.after.as_ref();
        in_scope && after.is_none_or(|(c, k)| (collection, key) > (c, k))
    }
}

/// The state of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The collection of the key.
    pub collection: Collection,
    /// The key.
    pub key: Key,
    /// The payload of the newest Put.
    pub payload: Payload,
    /// The sequence of the newest Put.
    pub sequence: Sequence,
    /// The timestamp of the first Put since the key was last deleted.
    pub first_timestamp: i64,
    /// The timestamp of the newest Put.
    pub last_timestamp: i64,
}

impl StateRow {
    /// The state of a key that was put once, at `sequence`.
    #[must_use]
    pub const fn new(
        collection: Collection,
        key: Key,
        payload: Payload,
        sequence: Sequence,
        timestamp: i64,
    ) -> Self {
        Self {
            collection,
            key,
            payload,
            sequence,
            first_timestamp: timestamp,
            last_timestamp: timestamp,
        }
    }

    /// The bytes of collection, key and payload together: what [`Limit::bytes`] counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.collection.as_str().len() + self.key.as_str().len() + self.payload.len()
    }
}

/// A range of worlds, in byte order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldRange {
    /// Only worlds after this one.
    pub after: Option<WorldId>,
}

impl WorldRange {
    /// All worlds.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// The worlds after one.
    #[must_use]
    pub const fn after(world: WorldId) -> Self {
        Self { after: Some(world) }
    }
}

/// Some worlds in order, and what to ask for to get those that follow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorldPage {
    /// The worlds.
    pub items: Vec<WorldHead>,
    /// The range of the next page; `None` if this is the last.
    pub next: Option<WorldRange>,
}

impl WorldPage {
    /// A page of worlds.
    #[must_use]
    pub const fn new(items: Vec<WorldHead>, next: Option<WorldRange>) -> Self {
        Self { items, next }
    }
}

/// Where a world stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorldHead {
    /// The world.
    pub world: WorldId,
    /// Its last sequence.
    pub head: Sequence,
    /// The epoch of its last claim.
    pub epoch: Epoch,
    /// Who claimed it last.
    pub owner: Owner,
    /// The number of its last part.
    pub last_number: BatchNumber,
    /// When its last part was formed, in milliseconds since 1970; zero if there is none.
    pub last_at_ms: i64,
}

impl WorldHead {
    /// A world that was claimed once and holds nothing.
    #[must_use]
    pub const fn claimed(world: WorldId, owner: Owner) -> Self {
        Self {
            world,
            head: Sequence::ZERO,
            epoch: Epoch::FIRST,
            owner,
            last_number: BatchNumber::ZERO,
            last_at_ms: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_always_fits_a_page() {
        let mut meter = Limit { items: 0, bytes: 0 }.meter();
        assert!(meter.admit(1000));
        assert!(!meter.admit(0));
    }

    #[test]
    fn a_page_ends_at_its_items_or_its_bytes() {
        let mut meter = Limit {
            items: 3,
            bytes: 10,
        }
        .meter();
        assert!(meter.admit(5));
        assert!(meter.admit(5));
        assert!(!meter.admit(1));
        assert!(meter.admit(0));
        assert!(!meter.admit(0));
    }
}
