//! What is dirty in a world: marked by the engine, or being captured.

use std::sync::Arc;

use tokio::time::Instant;

use super::entity::{Entities, Entity, Names};
use crate::{Collection, Error, Key, Result};

/// What is dirty in a world.
///
/// The engine waits for this while it marks, and a capture takes what is marked while it holds the
/// engine's lock: so it takes the set as it is, whatever its size. What marks then go to has room
/// for as many already. That is the room of the capture before: to be given new memory at the rate
/// of an engine's ticks costs more than the marks.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    marked: Names,
    /// Since when the first of them is. `None` if nothing is marked.
    since: Option<Instant>,
    /// What a capture has taken that has not ended.
    capturing: Entities,
    /// Nothing, with room for what is marked after the next capture.
    room: Names,
    sealed: bool,
}

/// What a capture takes.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) entities: Entities,
    /// Since when the first of them.
    pub(super) since: Option<Instant>,
    /// How many are left.
    pub(super) rest: usize,
}

impl Dirty {
    /// Marks entities. How many were not marked already, and whether the first is among them.
    pub(super) fn mark(&mut self, collection: &Collection, keys: &[&Key]) -> Result<(usize, bool)> {
        if self.sealed {
            return Err(Error::closed(
                "mark as dirty: the world is not written any more",
            ));
        }
        let count = self.marked.insert(collection, keys);
        let first = self.since.is_none() && count > 0;
        if first {
            self.since = Some(Instant::now());
        }
        Ok((count, first))
    }

    /// Marks an entity anew that a capture had taken and that is dirty still, since a moment. Whether
    /// it was not marked already.
    pub(super) fn mark_again(&mut self, entity: &Entity, since: Instant) -> bool {
        let marked = self.mark(&entity.collection, &[&entity.key]);
        let marked = matches!(marked, Ok((1, _)));
        if marked {
            self.since = self.since.map(|at| at.min(since));
        }
        marked
    }

    /// Since when the first of what is marked is. `None` if nothing is.
    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Takes at most so many, which are being captured from now on.
    pub(super) fn take(&mut self, most: usize) -> Taken {
        let since = self.since;
        let room = match self.room.capacity() {
            0 => self.marked.room(),
            _ => std::mem::take(&mut self.room),
        };
        let mut names = std::mem::replace(&mut self.marked, room);
        let mut rest = 0;
        if names.len() > most {
            self.marked = names.split_off(most);
            rest = self.marked.len();
        }
        self.since = since.filter(|_| rest > 0);
        self.capturing = Entities(Arc::new(names));
        Taken {
            entities: self.capturing.clone(),
            since,
            rest,
        }
    }

    /// How many are marked or being captured.
    pub(super) fn total(&self) -> usize {
        self.marked.len() + self.capturing.len()
    }

    /// The entities that a capture has taken that has not ended.
    pub(super) fn capturing(&self) -> Entities {
        self.capturing.clone()
    }

    /// The capture has ended. The entities it had taken, to be dropped where nobody waits for that.
    pub(super) fn end_capture(&mut self) -> Entities {
        std::mem::take(&mut self.capturing)
    }

    /// Takes the room of a capture that has ended. What it does not need is returned: a world that
    /// is clean keeps no room.
    pub(super) fn reuse(&mut self, room: Names) -> Names {
        if self.since.is_some() {
            return std::mem::replace(&mut self.room, room);
        }
        drop(std::mem::take(&mut self.marked));
        room
    }

    /// Lets nothing be marked any more. How many were, also those being captured.
    pub(super) fn abandon(&mut self) -> usize {
        self.sealed = true;
        self.total()
    }

    /// Lets nothing be marked any more. The entities that were, also those being captured.
    pub(super) fn seal(&mut self) -> Vec<Entity> {
        self.sealed = true;
        self.since = None;
        self.room = Names::default();
        let marked = std::mem::take(&mut self.marked);
        let capturing = std::mem::take(&mut self.capturing).into_iter();
        // One may have been marked again while it is being captured.
        let once = |entity: &Entity| marked.place(entity).is_none();
        capturing.filter(once).chain(marked.entities()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(count: u32) -> Dirty {
        let mut dirty = Dirty::default();
        for number in 0..count {
            let marked = dirty.mark(&ships(), &[&key(number)]).unwrap();
            assert_eq!(marked, (1, number == 0));
        }
        dirty
    }

    fn ships() -> Collection {
        Collection::new("ships").unwrap()
    }

    fn key(number: u32) -> Key {
        Key::new(number.to_string()).unwrap()
    }

    fn numbers(entities: impl IntoIterator<Item = Entity>) -> Vec<u32> {
        let numbers = entities
            .into_iter()
            .map(|entity| entity.key.as_str().parse());
        numbers.collect::<std::result::Result<_, _>>().unwrap()
    }

    #[test]
    fn what_is_taken_can_be_marked_again_and_what_is_left_is_marked_already() {
        let mut dirty = marked(5);
        let taken = dirty.take(3);
        assert_eq!(numbers(taken.entities.clone()), [0, 1, 2]);
        assert_eq!((taken.entities.len(), taken.rest, dirty.total()), (3, 2, 5));
        assert_eq!(dirty.mark(&ships(), &[&key(4)]).unwrap(), (0, false));
        assert_eq!(dirty.mark(&ships(), &[&key(0)]).unwrap(), (1, false));
        assert_eq!(dirty.end_capture().len(), 3);
        let taken = dirty.take(3);
        assert_eq!(numbers(taken.entities), [3, 4, 0]);
        assert_eq!((taken.rest, dirty.since(), dirty.total()), (0, None, 3));
        assert_eq!(dirty.mark(&ships(), &[&key(9)]).unwrap(), (1, true));
    }

    #[test]
    fn each_collection_has_its_turn_however_often_another_is_marked() {
        let [ships, fleets] = ["ships", "fleets"].map(|name| Collection::new(name).unwrap());
        let keys: Vec<_> = (0..5).map(key).collect();
        let keys: Vec<_> = keys.iter().collect();
        let mut dirty = Dirty::default();
        dirty.mark(&ships, &keys).unwrap();
        dirty.mark(&fleets, &keys).unwrap();
        let mut taken = Vec::new();
        for _ in 0..4 {
            let entities = dirty.take(3).entities.into_iter();
            taken.extend(entities.filter(|it| it.collection == fleets));
            drop(dirty.end_capture());
            dirty.mark(&ships, &keys).unwrap();
        }
        assert_eq!(numbers(taken), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn marking_as_many_again_finds_room_for_them_while_the_world_is_busy() {
        let mut dirty = marked(10_000);
        let room = dirty.marked.capacity();
        drop(dirty.take(usize::MAX));
        dirty.mark(&ships(), &[&key(1)]).unwrap();
        let ended = dirty.end_capture().into_room().unwrap();
        assert_eq!((ended.len(), ended.capacity()), (0, room));
        drop(dirty.reuse(ended));
        drop(dirty.take(usize::MAX));
        assert_eq!(dirty.marked.capacity(), room);
        let ended = dirty.end_capture().into_room().unwrap();
        assert_eq!(ended.capacity(), 0, "room for 10,000 was used for one");
        drop(dirty.reuse(ended));
        let kept = dirty.marked.capacity() + dirty.room.capacity();
        assert_eq!(kept, 0, "a world that is clean keeps no room");
    }

    #[test]
    fn of_many_at_once_each_is_marked_once() {
        let mut dirty = Dirty::default();
        assert_eq!(dirty.mark(&ships(), &[]).unwrap(), (0, false));
        let [one, two, three] = [1, 2, 3].map(key);
        let marked = dirty.mark(&ships(), &[&one, &two, &one]).unwrap();
        assert_eq!(marked, (2, true));
        let marked = dirty.mark(&ships(), &[&two, &three]).unwrap();
        assert_eq!(marked, (1, false));
        assert_eq!(numbers(dirty.take(9).entities), [1, 2, 3]);
    }

    #[test]
    fn sealing_tells_what_was_marked_and_what_is_being_captured() {
        let mut dirty = marked(3);
        drop(dirty.take(2));
        dirty.mark(&ships(), &[&key(0)]).unwrap();
        let mut sealed = numbers(dirty.seal());
        sealed.sort_unstable();
        assert_eq!(sealed, [0, 1, 2]);
        assert!(dirty.mark(&ships(), &[&key(7)]).is_err());
        assert_eq!((dirty.total(), dirty.seal().len()), (0, 0));
    }
}
