//! What an engine does in a world, deed by deed: all of it follows from a seed, so that the parent
//! of the process that does it knows it.

use std::collections::BTreeMap;

use aqevia_storage::{Change, Collection, Key, Payload, WorldRecord};

use crate::process::plan::{Dice, WORLDS};
use crate::sample::{Kind, key, world};

/// What an engine does at one place of the script.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Deed {
    /// It hands over one record and asks for no ticket.
    Record(WorldRecord),
    /// It hands over a group, whose ticket it awaits beside what comes next.
    Submit(Vec<WorldRecord>),
    /// It hands over a group and waits for it.
    Commit(Vec<WorldRecord>),
    /// It gives an entity another state, or removes it, and marks it as dirty.
    Change(Key, Option<Payload>),
    /// It saves the world and waits for that.
    Save,
}

impl Deed {
    /// The records that are handed over.
    pub(super) fn records(&self) -> &[WorldRecord] {
        match self {
            Self::Record(record) => std::slice::from_ref(record),
            Self::Submit(group) | Self::Commit(group) => group,
            Self::Change(..) | Self::Save => &[],
        }
    }

    /// The records of a group that is acknowledged.
    pub(super) fn group(&self) -> Option<&[WorldRecord]> {
        match self {
            Self::Submit(group) | Self::Commit(group) => Some(group),
            Self::Record(_) | Self::Change(..) | Self::Save => None,
        }
    }
}

/// The deeds in one world.
#[derive(Debug)]
pub(super) struct Script {
    seed: u64,
    world: usize,
    deeds: Vec<Deed>,
}

impl Script {
    /// The script of one of the worlds, by its place among them.
    pub(super) const fn new(seed: u64, world: usize) -> Self {
        let deeds = Vec::new();
        Self { seed, world, deeds }
    }

    /// The same, to be played from its beginning.
    pub(super) const fn again(&self) -> Self {
        Self::new(self.seed, self.world)
    }

    /// The deeds before a place.
    pub(super) fn until(&mut self, end: u64) -> &[Deed] {
        let end = usize::try_from(end).expect("a place that can be counted");
        for at in self.deeds.len()..end {
            self.deeds.push(deed(self.seed, self.world, at as u64));
        }
        self.deeds.get(..end).unwrap_or_default()
    }
}

/// The timestamp of a record: no other of the world has it, and it tells where the record is from.
pub(super) fn moment(at: u64, index: usize) -> i64 {
    let moment = at * RECORDS_END + index as u64;
    i64::try_from(moment).expect("a script that ends in time")
}

/// The place in the script and in its group of a record with this timestamp.
pub(super) fn place(moment: i64) -> (u64, u64) {
    let moment = u64::try_from(moment).unwrap_or(u64::MAX);
    (moment / RECORDS_END, moment % RECORDS_END)
}

/// A deed has fewer records.
const RECORDS_END: u64 = 64;

/// Whether a record stays in the log: it tells how far the script has come.
pub(super) fn is_logged(record: &WorldRecord) -> bool {
    match record.change {
        Change::Put { .. } | Change::Delete { .. } => {
            record.collection == Kind::Treaties.collection()
        }
        _ => true,
    }
}

/// Where entities are kept.
pub(super) fn entities() -> Collection {
    Collection::new("hulls").expect("a name that is allowed")
}

/// An entity that tells how many deeds were done when it was captured.
pub(super) fn cursor() -> (Collection, Key) {
    let collection = Collection::new("cursor").expect("a name that is allowed");
    (collection, key("done"))
}

/// The states of a world's entities after some deeds, with the timestamps of their last changes.
pub(super) fn fold_entities(deeds: &[Deed]) -> BTreeMap<Key, (i64, Payload)> {
    let mut entities = BTreeMap::new();
    for (at, deed) in (0..).zip(deeds) {
        match deed {
            Deed::Change(key, Some(payload)) => {
                entities.insert(key.clone(), (moment(at, 0), payload.clone()));
            }
            Deed::Change(key, None) => drop(entities.remove(key)),
            Deed::Record(_) | Deed::Submit(_) | Deed::Commit(_) | Deed::Save => {}
        }
    }
    entities
}

/// Keys of each collection: few, so that newer records take the place of older ones.
const KEYS: u64 = 3;
const ENTITIES: u64 = 6;
/// A group has at most so many records beside its first and its last.
const INNER_MAX: u64 = 5;
/// One payload in so many is one that no page of an engine holds.
const LARGE_ONE_IN: u64 = 60;
const LARGE_BYTES: u64 = 60 << 10;

fn deed(seed: u64, world_index: usize, at: u64) -> Deed {
    let dice = &mut Dice::new(seed, &[u64::MAX, world_index as u64, at]);
    let name = WORLDS.get(world_index).copied().unwrap_or_default();
    let records = Records { name, at };
    match dice.below(16) {
        0..=6 => Deed::Record(records.of_state(dice, 0, Kind::Fleets)),
        7 => Deed::Record(records.logged(dice, 0)),
        8 | 9 => Deed::Submit(records.group(dice)),
        10 => Deed::Commit(records.group(dice)),
        11..=14 => {
            let name = key(&format!("hull {}", dice.below(ENTITIES)));
            let gone = dice.below(5) == 0;
            Deed::Change(name, (!gone).then(|| payload(dice)))
        }
        _ => Deed::Save,
    }
}

/// The records of a deed.
struct Records {
    name: &'static str,
    at: u64,
}

impl Records {
    /// A group begins and ends with what is logged, so that the log tells whether it is whole.
    fn group(&self, dice: &mut Dice) -> Vec<WorldRecord> {
        let inner = usize::try_from(dice.below(INNER_MAX + 1)).unwrap_or(0);
        (0..=inner + 1)
            .map(|index| match dice.below(4) {
                0 | 1 if (1..=inner).contains(&index) => self.of_state(dice, index, Kind::Fleets),
                _ => self.logged(dice, index),
            })
            .collect()
    }

    fn logged(&self, dice: &mut Dice, index: usize) -> WorldRecord {
        if dice.below(2) == 0 {
            return self.of_state(dice, index, Kind::Treaties);
        }
        let id = world(self.name);
        let label = (dice.below(2) == 0).then(|| key("a label"));
        let collection = Kind::Fleets.collection();
        let payload = payload(dice);
        WorldRecord::event(&id, &collection, label, payload, moment(self.at, index))
    }

    /// A Put or a Delete.
    fn of_state(&self, dice: &mut Dice, index: usize, kind: Kind) -> WorldRecord {
        let (id, collection) = (world(self.name), kind.collection());
        let name = key(&format!("key {}", dice.below(KEYS)));
        let at = moment(self.at, index);
        match dice.below(5) {
            0 => WorldRecord::delete(&id, &collection, name, at),
            _ => WorldRecord::put(&id, &collection, name, payload(dice), at),
        }
    }
}

fn payload(dice: &mut Dice) -> Payload {
    let length = match dice.below(LARGE_ONE_IN) {
        0 => LARGE_BYTES,
        _ => dice.below(200),
    };
    let bytes = dice.bytes(usize::try_from(length).expect("a length that fits"));
    match dice.below(2) {
        0 => Payload::Bytes(bytes),
        _ => Payload::Json(format!("{:?}", blake3::hash(&bytes).to_hex().as_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_has_all_kinds_of_deeds_and_is_the_same_again() {
        let mut script = Script::new(7, 1);
        let deeds = script.until(80).to_vec();
        assert_eq!(Script::new(7, 1).until(80), deeds);
        let count = |is: fn(&Deed) -> bool| deeds.iter().filter(|deed| is(deed)).count();
        assert!(count(|deed| matches!(deed, Deed::Record(record) if !is_logged(record))) > 10);
        assert!(count(|deed| matches!(deed, Deed::Record(record) if is_logged(record))) > 0);
        assert!(count(|deed| matches!(deed, Deed::Submit(_))) > 0);
        assert!(count(|deed| matches!(deed, Deed::Commit(_))) > 0);
        assert!(count(|deed| matches!(deed, Deed::Change(_, Some(_)))) > 0);
        assert!(count(|deed| matches!(deed, Deed::Change(_, None))) > 0);
        assert!(count(|deed| matches!(deed, Deed::Save)) > 0);
    }

    #[test]
    fn groups_begin_and_end_in_the_log() {
        for deed in Script::new(7, 0).until(200) {
            let Some(group) = deed.group() else { continue };
            assert!(group.len() > 1, "{deed:?}");
            assert!(group.first().is_some_and(is_logged), "{deed:?}");
            assert!(group.last().is_some_and(is_logged), "{deed:?}");
        }
    }

    #[test]
    fn a_timestamp_tells_where_a_record_is_from() {
        assert_eq!(place(moment(17, 5)), (17, 5));
        for (at, deed) in (0..).zip(Script::new(7, 2).until(100)) {
            for (index, record) in (0..).zip(deed.records()) {
                assert_eq!(place(record.timestamp), (at, index));
            }
        }
    }
}
