//! Newer records take the place of older ones of their key, as long as those only wait.

use std::collections::{HashMap, VecDeque};

use super::group::{Group, Kind, Pending};
use crate::name::HashOfName;
use crate::{Change, Collection, History, Key, Schema, WorldRecord};

/// Groups in the order in which they were accepted, with the place of the newest single record of
/// each key that a newer one may take.
///
/// A record takes that place, and not one at the end: what a ticket acknowledged has everything
/// before it in the store (clause C1), so a record may come earlier than it was accepted, not later.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    groups: VecDeque<Group>,
    /// How many groups were taken from the front.
    taken: u64,
    /// Places count from the first group ever, so that taking groups moves none. Those of groups
    /// that were taken are passed over.
    places: HashMap<Collection, HashMap<Key, u64, HashOfName>, HashOfName>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn groups(&self) -> &VecDeque<Group> {
        &self.groups
    }

    /// Adds a group behind the others, or in the place of an older record, whose size is returned.
    pub(super) fn push(&mut self, group: Group, schema: Option<&Schema>) -> Option<Pending> {
        let Some(schema) = schema else {
            self.groups.push_back(group);
            return None;
        };
        let place = self.taken + self.groups.len() as u64;
        let [record] = group.records.as_slice() else {
            self.keep_places_of(&group.records);
            self.groups.push_back(group);
            return None;
        };
        if !moves_only_state(record, schema) {
            self.groups.push_back(group);
            return None;
        }
        let older = self.older(record);
        match older {
            Some(older) if group.answer.is_none() => {
                let size = older.size();
                older.bytes = group.bytes;
                older.records = group.records;
                older.kind = Kind::Replaced;
                Some(size)
            }
            _ => {
                if let Some(key) = record.key() {
                    let keys = self.places.entry(record.collection.clone()).or_default();
                    keys.insert(key.clone(), place);
                }
                self.groups.push_back(group);
                None
            }
        }
    }

    /// The group of one record whose place a record may take.
    fn older(&mut self, record: &WorldRecord) -> Option<&mut Group> {
        let place = *self.places.get(&record.collection)?.get(record.key()?)?;
        let index = usize::try_from(place.checked_sub(self.taken)?).ok()?;
        self.groups.get_mut(index)
    }

    /// Nothing takes a place across a group of several records that touches its key.
    fn keep_places_of(&mut self, records: &[WorldRecord]) {
        for record in records {
            if let (Some(keys), Some(key)) = (self.places.get_mut(&record.collection), record.key())
            {
                keys.remove(key);
            }
        }
    }

    /// Whatever waits now keeps its place.
    pub(super) fn keep_places(&mut self) {
        self.places.clear();
    }

    /// Takes the first group.
    pub(super) fn pop(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.taken += 1;
        if self.groups.is_empty() {
            self.keep_places();
        }
        Some(group)
    }

    /// Puts groups back before all others, in their order.
    pub(super) fn put_back(&mut self, groups: impl DoubleEndedIterator<Item = Group>) {
        self.keep_places();
        for group in groups.rev() {
            self.groups.push_front(group);
        }
    }

    /// Puts groups behind the first so many, and joins those and these to one, if `join`.
    pub(super) fn insert(&mut self, behind: usize, groups: Vec<Group>, join: bool) {
        self.keep_places();
        let later = self.groups.split_off(behind.min(self.groups.len()));
        self.groups.extend(groups);
        let last = self.groups.len().saturating_sub(1);
        for group in self.groups.iter_mut().take(if join { last } else { 0 }) {
            group.joined = true;
        }
        self.groups.extend(later);
    }

    /// Whether a group of a kind waits.
    pub(super) fn has(&self, kind: Kind) -> bool {
        self.groups.iter().any(|group| group.kind == kind)
    }

    /// Takes all groups.
    pub(super) fn take_all(&mut self) -> VecDeque<Group> {
        self.keep_places();
        std::mem::take(&mut self.groups)
    }

    /// Records and bytes of the first so many groups.
    pub(super) fn size_of_first(&self, count: usize) -> Pending {
        let mut size = Pending::default();
        self.groups
            .iter()
            .take(count)
            .for_each(|group| size.add(group.size()));
        size
    }

    /// How many groups share a part with the first one, itself among them, and their size.
    pub(super) fn first_unit(&self) -> (usize, Pending) {
        let joined = self.groups.iter().take_while(|group| group.joined).count();
        let count = (joined + 1).min(self.groups.len());
        (count, self.size_of_first(count))
    }
}

/// Whether a record leaves no trace but the state of its key.
fn moves_only_state(record: &WorldRecord, schema: &Schema) -> bool {
    let keyed = matches!(record.change, Change::Put { .. } | Change::Delete { .. });
    keyed && schema.history(&record.collection) == History::Latest
}
