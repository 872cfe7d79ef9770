//! Comparing what is stored of a world with the script that was played in it.

use std::collections::{BTreeMap, BTreeSet};

use aqevia_storage::{Change, Collection, Key, LogRow, Payload, StateRow, WorldRecord};

use super::play::captured;
use super::script::{Deed, cursor, entities, fold_entities, is_logged, place};
use super::track::Track;
use crate::contents::Contents;
use crate::process::Verdict;
use crate::sample::Kind;

/// A key of a collection.
type Name = (Collection, Key);
/// The timestamp of the newest Put of a key, and what it put.
type State = (i64, Payload);

impl Track {
    /// Compares what is stored with what has to be and with what may be, and returns the place of
    /// the script at which an engine goes on.
    ///
    /// # Errors
    /// The first difference, which begins with the id of the clause that it breaks.
    pub(super) fn compare(&mut self, found: &Contents) -> Verdict<u64> {
        let (acknowledged, saved, accepted) = (self.acknowledged, self.saved, self.accepted);
        let ended = self.ended;
        let deeds = self.script.until(accepted);
        let stored = Stored::read(deeds, found)?;
        let next = stored.next();
        if stored.logged < acknowledged {
            let logged = stored.logged;
            return Err(format!(
                "C1: the log ends before place {logged}, and all groups before {acknowledged} are \
                 acknowledged"
            ));
        }
        if stored.captured < saved {
            let captured = stored.captured;
            return Err(format!(
                "C1: the capture that is stored is of place {captured}, and a save of {saved} is \
                 acknowledged"
            ));
        }
        if ended.is_some_and(|end| (stored.captured, next) != (end, end)) {
            return Err(format!(
                "C6: the script was played to its end, {accepted}, and is stored to {next}, its \
                 entities to {}",
                stored.captured
            ));
        }
        stored.check_order(deeds)?;
        stored.check_states(deeds, &found.state)?;
        Ok(next)
    }
}

/// How far a script is stored.
#[derive(Debug)]
struct Stored {
    /// All deeds before this place that are logged are in the log.
    logged: u64,
    /// The entities are those of this place.
    captured: u64,
    /// The sequences of the first records of deeds, as far as they are in the log.
    firsts: BTreeMap<u64, u64>,
}

impl Stored {
    /// Reads log and capture. The log has to be the script's, from its beginning to the end of a
    /// deed.
    fn read(deeds: &[Deed], found: &Contents) -> Verdict<Self> {
        let mut stored = Self {
            logged: 0,
            captured: captured(&found.state),
            firsts: BTreeMap::new(),
        };
        let records = deeds.iter().flat_map(Deed::records);
        let mut expected = records.filter(|record| is_logged(record)).peekable();
        for row in &found.log {
            let next = expected.next();
            if next != Some(&row.record) {
                return Err(wrong_row(row, next, stored.logged));
            }
            let (at, index) = place(row.record.timestamp);
            let first = row.sequence.get().checked_sub(index);
            if stored.firsts.entry(at).or_insert(first.unwrap_or(0)) != &first.unwrap_or(0) {
                return Err(format!(
                    "C4: record {index} of the group at place {at} is at {}, away from the others",
                    row.sequence
                ));
            }
            stored.logged = at + 1;
        }
        let next = expected.peek().map(|record| place(record.timestamp));
        match next {
            Some((at, index)) if at + 1 == stored.logged => Err(format!(
                "C4: the group at place {at} is in the log without its record {index}"
            )),
            _ => Ok(stored),
        }
    }

    /// Where an engine goes on: behind all that is in the log, and behind the last capture.
    fn next(&self) -> u64 {
        self.logged.max(self.captured)
    }

    /// What was handed over before the capture has to be in the log.
    fn check_order(&self, deeds: &[Deed]) -> Verdict {
        let (logged, captured) = (self.logged, self.captured);
        if captured > deeds.len() as u64 {
            return Err(format!(
                "C9: the capture is of place {captured}, and the script went to {}",
                deeds.len()
            ));
        }
        let missing = between(deeds, logged, captured)
            .flat_map(Deed::records)
            .find(|record| is_logged(record));
        match missing {
            Some(record) => Err(format!(
                "C9: the capture of place {captured} is stored, and the record of place {:?} that \
                 came before it is not",
                place(record.timestamp)
            )),
            None => Ok(()),
        }
    }

    /// Each key has the state that the script gave it, or a newer one that came early.
    fn check_states(&self, deeds: &[Deed], rows: &[StateRow]) -> Verdict {
        let expected = self.fold(deeds);
        let found: BTreeMap<Name, &StateRow> = rows
            .iter()
            .map(|row| ((row.collection.clone(), row.key.clone()), row))
            .collect();
        let names: BTreeSet<&Name> = expected.keys().chain(found.keys()).collect();
        for name in names {
            if *name == cursor() {
                continue;
            }
            let row = found.get(name).copied();
            let state = row.map(|row| (row.last_timestamp, row.payload.clone()));
            let same = state.as_ref() == expected.get(name);
            if !same && !self.came_early(deeds, name, state.as_ref()) {
                return Err(self.wrong_state(name, state.as_ref(), expected.get(name)));
            }
            row.map_or(Ok(()), |row| self.check_sequence(row))?;
        }
        Ok(())
    }

    /// The states that all deeds before the next make, the entities those before the capture.
    fn fold(&self, deeds: &[Deed]) -> BTreeMap<Name, State> {
        let mut states = BTreeMap::new();
        let done = between(deeds, 0, self.next()).flat_map(Deed::records);
        for record in done {
            let Some(name) = name(record) else { continue };
            match &record.change {
                Change::Put { payload, .. } => {
                    states.insert(name, (record.timestamp, payload.clone()));
                }
                _ => drop(states.remove(&name)),
            }
        }
        let captured = usize::try_from(self.captured).unwrap_or(usize::MAX);
        let captured = fold_entities(deeds.get(..captured).unwrap_or_default());
        let captured = captured.into_iter();
        states.extend(captured.map(|(key, state)| ((entities(), key), state)));
        states
    }

    /// Whether a record that may take the place of an older one gave a key this state: none takes it
    /// across a group that touches the key.
    fn came_early(&self, deeds: &[Deed], name: &Name, state: Option<&State>) -> bool {
        if name.0 != Kind::Fleets.collection() {
            return false;
        }
        let later = between(deeds, self.next(), deeds.len() as u64);
        let touching = later.filter(|deed| deed.records().iter().any(|record| of(record, name)));
        let single = touching.map_while(|deed| match deed {
            Deed::Record(record) => Some(record),
            _ => None,
        });
        let mut gave = single.map(|record| match &record.change {
            Change::Put { payload, .. } => Some((record.timestamp, payload)),
            _ => None,
        });
        let state = state.map(|(at, payload)| (*at, payload));
        gave.any(|gave| gave == state)
    }

    /// A record of a group that is in the log is where the group is.
    fn check_sequence(&self, row: &StateRow) -> Verdict {
        let (at, index) = place(row.last_timestamp);
        if row.collection == entities() {
            return Ok(());
        }
        match self.firsts.get(&at) {
            Some(first) if first + index != row.sequence.get() => Err(format!(
                "C4: record {index} of the group at place {at} is at {}, and its first at {first}",
                row.sequence
            )),
            _ => Ok(()),
        }
    }

    fn wrong_state(
        &self,
        (collection, key): &Name,
        found: Option<&State>,
        expected: Option<&State>,
    ) -> String {
        let clause = if *collection == entities() {
            "C9"
        } else {
            "C2"
        };
        let of = |state: Option<&State>| state.map(|(at, _)| place(*at));
        format!(
            "{clause}: key {key:?} of {collection:?} has the state of place {:?}, and the script to \
             place {}, with the capture of {}, gives it that of {:?}",
            of(found),
            self.next(),
            self.captured,
            of(expected)
        )
    }
}

/// The deeds of some places.
fn between(deeds: &[Deed], from: u64, to: u64) -> impl Iterator<Item = &Deed> {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let to = usize::try_from(to).unwrap_or(usize::MAX);
    deeds.iter().take(to).skip(from)
}

/// The key whose state a record moves.
fn name(record: &WorldRecord) -> Option<Name> {
    let moves = matches!(record.change, Change::Put { .. } | Change::Delete { .. });
    let key = record.key().filter(|_| moves)?;
    Some((record.collection.clone(), key.clone()))
}

fn of(record: &WorldRecord, (collection, key): &Name) -> bool {
    let moves = matches!(record.change, Change::Put { .. } | Change::Delete { .. });
    moves && record.collection == *collection && record.key() == Some(key)
}

/// Says what is wrong with a row of the log.
fn wrong_row(row: &LogRow, expected: Option<&WorldRecord>, logged: u64) -> String {
    let (at, index) = place(row.record.timestamp);
    let Some(expected) = expected.map(|record| place(record.timestamp)) else {
        return format!(
            "C2: {} is the record of place {at}, and the script did not go that far",
            row.sequence
        );
    };
    if (at, index) < expected {
        return format!(
            "C2: record {index} of place {at} is in the log again, at {}",
            row.sequence
        );
    }
    if (at, index) == expected {
        return format!("P4: record {index} of place {at} is not as it was given");
    }
    let (missing, number) = expected;
    match missing == at || missing + 1 == logged {
        true => format!(
            "C4: record {number} of the group at place {missing} is not in the log, and others are"
        ),
        false => format!(
            "C2: record {number} of place {missing} is not in the log, and that of place {at} is"
        ),
    }
}

#[cfg(test)]
mod tests;
