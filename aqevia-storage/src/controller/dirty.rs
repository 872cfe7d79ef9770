//! What is dirty in a world: marked by the engine, or being captured.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::capture::Entity;
use crate::name::HashOfName;
use crate::{Collection, Error, Key, Result};

/// What is dirty in a world.
///
/// The engine waits for this while it marks, and a capture takes what is marked while it holds the
/// engine's lock. So what is marked stands here twice, as a list that a capture hands to the engine
/// and as the sets that tell what is in it: taking both costs the same however much it is.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// What is marked, in the order of marking.
    marked: Vec<Entity>,
    /// The same.
    names: Names,
    /// Since when the first of them.
    since: Option<Instant>,
    /// What a capture has taken that has not ended.
    capturing: Arc<Names>,
    sealed: bool,
}

/// What a capture takes.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) entities: Vec<Entity>,
    /// The same.
    pub(super) names: Arc<Names>,
    /// Since when the first of them.
    pub(super) since: Option<Instant>,
    /// How many are left.
    pub(super) rest: usize,
}

/// Entities by collection and key.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Collection, Keys, HashOfName>);

type Keys = HashSet<Key, HashOfName>;

impl Dirty {
    /// Marks an entity. `None` if it is marked already; else whether it is the first.
    pub(super) fn mark(&mut self, collection: &Collection, key: &Key) -> Result<Option<bool>> {
        let (count, first) = self.mark_all(collection, &[key])?;
        Ok((count > 0).then_some(first))
    }

    /// Marks entities. How many were not marked already, and whether the first is among them.
    pub(super) fn mark_all(
        &mut self,
        collection: &Collection,
        keys: &[&Key],
    ) -> Result<(usize, bool)> {
        if self.sealed {
            return Err(Error::closed(
                "mark as dirty: the world is not written any more",
            ));
        }
        let before = self.marked.len();
        let known = self.names.keys_of(collection);
        for key in keys {
            if !known.contains(*key) {
                known.insert((*key).clone());
                self.marked.push(Entity {
                    collection: collection.clone(),
                    key: (*key).clone(),
                });
            }
        }
        let count = self.marked.len() - before;
        let first = before == 0 && count > 0;
        if first {
            self.since = Some(Instant::now());
        }
        Ok((count, first))
    }

    /// Marks an entity anew that a capture had taken and that is dirty still, since a moment. Whether
    /// it was not marked already.
    pub(super) fn mark_again(&mut self, entity: &Entity, since: Instant) -> bool {
        let marked = self.mark(&entity.collection, &entity.key);
        if matches!(marked, Ok(Some(_))) {
            self.since = self.since.map(|at| at.min(since));
        }
        matches!(marked, Ok(Some(_)))
    }

    /// Since when the first of what is marked is.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes at most so many, which are being captured from now on. Their room is made anew, so that
    /// marking as many again moves nothing.
    pub(super) fn take(&mut self, most: usize) -> Taken {
        let since = self.since;
        let mut names = self.names.room();
        std::mem::swap(&mut names, &mut self.names);
        let mut entities = Vec::with_capacity(self.marked.len());
        std::mem::swap(&mut entities, &mut self.marked);
        if entities.len() > most {
            for Entity { collection, key } in entities.drain(most..) {
                names.remove(&collection, &key);
                self.names.keys_of(&collection).insert(key.clone());
                self.marked.push(Entity { collection, key });
            }
        }
        self.since = since.filter(|_| !self.marked.is_empty());
        self.capturing = Arc::new(names);
        Taken {
            entities,
            names: Arc::clone(&self.capturing),
            since,
            rest: self.marked.len(),
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.marked.len()
    }

    /// How many are marked or being captured.
    pub(super) fn total(&self) -> usize {
        self.marked.len() + self.capturing.len()
    }

    /// The entities that a capture has taken that has not ended.
    pub(super) fn capturing(&self) -> Arc<Names> {
        Arc::clone(&self.capturing)
    }

    /// The capture has ended. The entities it had taken, to be dropped where nobody waits for that.
    pub(super) fn end_capture(&mut self) -> Arc<Names> {
        std::mem::take(&mut self.capturing)
    }

    /// Lets nothing be marked any more. How many were, also those being captured.
    pub(super) fn abandon(&mut self) -> usize {
        self.sealed = true;
        self.total()
    }

    /// Lets nothing be marked any more. The entities that were, also those being captured.
    pub(super) fn seal(&mut self) -> Vec<Entity> {
        self.sealed = true;
        let capturing = std::mem::take(&mut self.capturing);
        // One may have been marked again while it is being captured.
        let again = |entity: &Entity| !self.names.contains(entity);
        let mut entities: Vec<_> = capturing.entities().into_iter().filter(again).collect();
        entities.append(&mut self.marked);
        self.names = Names::default();
        self.since = None;
        entities
    }
}

impl Names {
    fn keys_of(&mut self, collection: &Collection) -> &mut Keys {
        self.0.entry(collection.clone()).or_default()
    }

    fn contains(&self, Entity { collection, key }: &Entity) -> bool {
        self.0
            .get(collection)
            .is_some_and(|keys| keys.contains(key))
    }

    fn remove(&mut self, collection: &Collection, key: &Key) {
        if let Some(keys) = self.0.get_mut(collection) {
            keys.remove(key);
        }
    }

    /// None, with room for as many as there are.
    fn room(&self) -> Self {
        let some = self.0.iter().filter(|(_, keys)| !keys.is_empty());
        let room = some.map(|(collection, keys)| {
            let room = Keys::with_capacity_and_hasher(keys.len(), HashOfName::default());
            (collection.clone(), room)
        });
        Self(room.collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.values().map(Keys::len).sum()
    }

    pub(super) fn entities(&self) -> Vec<Entity> {
        let all = self.0.iter().flat_map(|(collection, keys)| {
            keys.iter().map(|key| Entity {
                collection: collection.clone(),
                key: key.clone(),
            })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(count: u32) -> Dirty {
        let mut dirty = Dirty::default();
        for number in 0..count {
            assert_eq!(
                dirty.mark(&ships(), &key(number)).unwrap(),
                Some(number == 0)
            );
        }
        dirty
    }

    fn ships() -> Collection {
        Collection::new("ships").unwrap()
    }

    fn key(number: u32) -> Key {
        Key::new(number.to_string()).unwrap()
    }

    fn numbers(entities: &[Entity]) -> Vec<u32> {
        let numbers = entities.iter().map(|entity| entity.key.as_str().parse());
        numbers.collect::<std::result::Result<_, _>>().unwrap()
    }

    #[test]
    fn what_is_taken_can_be_marked_again_and_what_is_left_is_marked_already() {
        let mut dirty = marked(5);
        let taken = dirty.take(3);
        assert_eq!(numbers(&taken.entities), [0, 1, 2]);
        assert_eq!((taken.names.len(), taken.rest, dirty.total()), (3, 2, 5));
        assert_eq!(dirty.mark(&ships(), &key(4)).unwrap(), None);
        assert_eq!(dirty.mark(&ships(), &key(0)).unwrap(), Some(false));
        assert_eq!(dirty.end_capture().len(), 3);
        let taken = dirty.take(3);
        assert_eq!(numbers(&taken.entities), [3, 4, 0]);
        assert_eq!((taken.rest, dirty.count(), dirty.total()), (0, 0, 3));
        assert_eq!(dirty.mark(&ships(), &key(9)).unwrap(), Some(true));
    }

    #[test]
    fn marking_as_many_again_finds_room_for_them() {
        let mut dirty = marked(10_000);
        drop(dirty.take(usize::MAX));
        let room = |dirty: &Dirty| {
            let keys = dirty.names.0.get(&ships()).unwrap();
            (dirty.marked.capacity(), keys.capacity())
        };
        let before = room(&dirty);
        for number in 0..10_000 {
            dirty.mark(&ships(), &key(number)).unwrap();
        }
        assert_eq!(room(&dirty), before);
        drop(dirty.take(usize::MAX));
        drop(dirty.take(usize::MAX));
        assert_eq!(
            dirty.marked.capacity(),
            0,
            "a world that is clean keeps no room"
        );
    }

    #[test]
    fn of_many_at_once_each_is_marked_once() {
        let mut dirty = Dirty::default();
        assert_eq!(dirty.mark_all(&ships(), &[]).unwrap(), (0, false));
        let [one, two, three] = [1, 2, 3].map(key);
        let marked = dirty.mark_all(&ships(), &[&one, &two, &one]).unwrap();
        assert_eq!(marked, (2, true));
        let marked = dirty.mark_all(&ships(), &[&two, &three]).unwrap();
        assert_eq!(marked, (1, false));
        assert_eq!(numbers(&dirty.take(9).entities), [1, 2, 3]);
    }

    #[test]
    fn sealing_tells_what_was_marked_and_what_is_being_captured() {
        let mut dirty = marked(3);
        drop(dirty.take(2));
        let mut sealed = numbers(&dirty.seal());
        sealed.sort_unstable();
        assert_eq!(sealed, [0, 1, 2]);
        assert!(dirty.mark(&ships(), &key(7)).is_err());
        assert_eq!((dirty.total(), dirty.seal().len()), (0, 0));
    }
}
