//! What an engine keeps states of, one and many.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::name::HashOfName;
use crate::{Collection, Key};

/// What an engine keeps a state of: a key in a collection.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    /// The kind of thing.
    pub collection: Collection,
    /// Which of them.
    pub key: Key,
}

/// What was dirty in a world at a [`Cut`](crate::Cut), each entity once: by collection, in the order
/// in which they were marked.
///
/// To have this costs the same however many they are; an [`Entity`] is made when it is iterated
/// over, which need not be under the engine's lock.
#[derive(Clone, Debug, Default)]
pub struct Entities(pub(super) Arc<Names>);

impl Entities {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of each.
    pub fn iter(&self) -> impl Iterator<Item = (&Collection, &Key)> {
        self.0.iter()
    }

    /// The room that these took, if nobody else has them. Drops them.
    pub(super) fn into_room(self) -> Option<Names> {
        Arc::into_inner(self.0).map(Names::emptied)
    }
}

impl IntoIterator for Entities {
    type Item = Entity;
    type IntoIter = IntoEntities;

    fn into_iter(self) -> IntoEntities {
        IntoEntities {
            names: self.0,
            collection: 0,
            key: 0,
        }
    }
}

/// The iterator over [`Entities`].
#[derive(Debug)]
pub struct IntoEntities {
    names: Arc<Names>,
    collection: usize,
    key: usize,
}

impl Iterator for IntoEntities {
    type Item = Entity;

    fn next(&mut self) -> Option<Entity> {
        loop {
            let (collection, keys) = self.names.0.get(self.collection)?;
            if let Some(key) = keys.keys.get(self.key) {
                self.key += 1;
                let (collection, key) = (collection.clone(), key.clone());
                return Some(Entity { collection, key });
            }
            self.collection += 1;
            self.key = 0;
        }
    }
}

/// Keys by collection, both in the order in which they came. There are few collections.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(Collection, Keys)>);

impl Names {
    /// Adds keys. How many were not there.
    pub(super) fn insert(&mut self, collection: &Collection, keys: &[&Key]) -> usize {
        match self.0.iter_mut().find(|(it, _)| it == collection) {
            Some((_, known)) => known.insert_all(keys),
            None => {
                let mut known = Keys::default();
                let count = known.insert_all(keys);
                self.0.push((collection.clone(), known));
                count
            }
        }
    }

    /// The number of an entity's collection, and its own within this.
    pub(super) fn place(&self, entity: &Entity) -> Option<(usize, usize)> {
        let of_it = |(collection, _): &(Collection, _)| *collection == entity.collection;
        let index = self.0.iter().position(of_it)?;
        let (_, keys) = self.0.get(index)?;
        Some((index, keys.number(&entity.key)?))
    }

    /// How many there are of each collection.
    pub(super) fn lens(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|(_, keys)| keys.len())
    }

    pub(super) fn len(&self) -> usize {
        self.lens().sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Collection, &Key)> {
        let all = self.0.iter();
        all.flat_map(|(collection, keys)| keys.keys.iter().map(move |key| (collection, key)))
    }

    pub(super) fn entities(&self) -> impl Iterator<Item = Entity> {
        self.iter().map(|(collection, key)| Entity {
            collection: collection.clone(),
            key: key.clone(),
        })
    }

    /// Keeps at most so many, and returns the others. The last of these are of the collection that
    /// is kept in part, so that the others have their turn when these are split.
    pub(super) fn split_off(&mut self, most: usize) -> Self {
        let mut room = most;
        let (mut rest, mut last) = (Vec::new(), None);
        for (collection, keys) in &mut self.0 {
            let kept = keys.len().min(room);
            room -= kept;
            let left = keys.split_off(kept);
            match kept {
                _ if left.keys.is_empty() => {}
                0 => rest.push((collection.clone(), left)),
                _ => last = Some((collection.clone(), left)),
            }
        }
        rest.extend(last);
        Self(rest)
    }

    /// None, with room for as many.
    pub(super) fn room(&self) -> Self {
        let some = self.0.iter().filter(|(_, keys)| keys.len() > 0);
        let room = some.map(|(collection, keys)| (collection.clone(), Keys::room(keys.len())));
        Self(room.collect())
    }

    /// None, with the room of before. A collection that used little of its room has none any more.
    pub(super) fn emptied(mut self) -> Self {
        self.0
            .retain(|(_, keys)| keys.len() > keys.keys.capacity() / 8);
        self.0.iter_mut().for_each(|(_, keys)| keys.clear());
        self
    }

    /// For how many entities there is room.
    pub(super) fn capacity(&self) -> usize {
        self.0.iter().map(|(_, keys)| keys.keys.capacity()).sum()
    }
}

/// Keys, each once. The table holds their numbers alone: few bytes to fetch for an engine that
/// marks thousands of keys in a row that its CPU has forgotten.
#[derive(Debug, Default)]
struct Keys {
    numbers: HashTable<usize>,
    keys: Vec<Key>,
}

impl Keys {
    fn room(count: usize) -> Self {
        Self {
            numbers: HashTable::with_capacity(count),
            keys: Vec::with_capacity(count),
        }
    }

    const fn len(&self) -> usize {
        self.keys.len()
    }

    fn number(&self, key: &Key) -> Option<usize> {
        let is_it = |number: &usize| self.keys.get(*number) == Some(key);
        self.numbers.find(hash(key), is_it).copied()
    }

    fn insert_all(&mut self, keys: &[&Key]) -> usize {
        let before = self.len();
        keys.iter().for_each(|key| self.insert(key));
        self.len() - before
    }

    /// Adds a key, if it is not there.
    fn insert(&mut self, key: &Key) {
        let keys = &mut self.keys;
        let is_it = |number: &usize| keys.get(*number) == Some(key);
        let hash_of = |number: &usize| keys.get(*number).map_or(0, hash);
        if let Entry::Vacant(entry) = self.numbers.entry(hash(key), is_it, hash_of) {
            entry.insert(keys.len());
            keys.push(key.clone());
        }
    }

    /// Keeps the first so many, and returns the others.
    fn split_off(&mut self, count: usize) -> Self {
        let mut rest = Self::default();
        for key in self.keys.drain(count..) {
            rest.insert(&key);
        }
        self.numbers.retain(|number| *number < count);
        rest
    }

    fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
    }
}

fn hash(key: &Key) -> u64 {
    HashOfName::default().hash_one(key)
}
