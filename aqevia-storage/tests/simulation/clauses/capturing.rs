//! C9: what is captured, and what the store holds in the end.

use std::collections::BTreeSet;

use aqevia_storage::{Collection, Key, WorldRecord};

use super::ensure;
use crate::facts::{At, Facts, Fate, Group};
use crate::history::{Event, Id, is_refused};
use crate::plan::Step;

/// C9: a capture and what was accepted before its cut are one part, and what the store holds in
/// the end is what the engine does.
pub(crate) fn captures_are_whole_and_nothing_stays_dirty(facts: &Facts<'_>) -> Result<(), String> {
    for group in facts.groups.iter().filter(|group| group.captured) {
        capture_is_whole(facts, group)?;
    }
    saved_is_stored(facts)?;
    // Who drops a controller whose source fails is not told of what is dirty.
    let faithful = !facts
        .plan
        .steps
        .iter()
        .any(|step| matches!(step, Step::Source(_)));
    let clean = facts.plan.end.outage.is_none()
        && match facts.shut_down {
            Some((_, report)) => report.is_none(),
            None => faithful,
        };
    for event in facts.events {
        let Event::State {
            world,
            store,
            engine,
        } = event
        else {
            continue;
        };
        if !clean || facts.was_stopped(*world) {
            continue;
        }
        let spoilt = spoilt_keys(facts, *world);
        let keys = store.keys().chain(engine.keys());
        for key in keys.filter(|key| !spoilt.contains(key)) {
            let (stored, state) = (store.get(key), engine.get(key));
            ensure!(
                stored == state,
                "{key:?} of world {world} is {stored:?} in the store, and {state:?} in the engine"
            );
        }
    }
    Ok(())
}

/// The keys of groups that the store refuses, of which the engine has another state.
fn spoilt_keys(facts: &Facts<'_>, world: usize) -> BTreeSet<(Collection, Key)> {
    let refused = facts
        .groups
        .iter()
        .filter(|group| group.world == world && group.is_refused());
    // Of what was captured, only what is refused itself.
    let records = refused.flat_map(|group| {
        let records = group.records.iter();
        records.filter(|record| !group.captured || is_refused(record))
    });
    let keys =
        records.filter_map(|record| Some((record.collection.clone(), record.key()?.clone())));
    keys.collect()
}

fn capture_is_whole(facts: &Facts<'_>, group: &Group<'_>) -> Result<(), String> {
    if group.is_refused() {
        return Ok(());
    }
    let executed = |id: Id| Some(facts.records.get(&id)?.executed.first()?.0);
    let parts: Option<BTreeSet<At>> = group
        .records
        .iter()
        .map(|record| executed(record.timestamp))
        .collect();
    let Some(parts) = parts.filter(|parts| !parts.is_empty()) else {
        return Ok(());
    };
    let before = facts.accepted().filter(|(_, fact, other)| {
        (other.world, other.lane) == (group.world, group.lane)
            && other.at < group.at
            && fact.handed.is_none_or(|handed| handed > group.at)
    });
    let before: Vec<_> = before.collect();
    // While a group is sought that the store refuses, parts are as small as that takes.
    let mut others = facts.groups.iter().filter(|other| other.is_refused());
    if others.any(|other| {
        (other.world, other.lane) == (group.world, group.lane)
            && other.at < group.at
            && !was_refused_before(facts, other, group.at)
    }) {
        return Ok(());
    }
    let written = before
        .iter()
        .filter_map(|(id, fact, _)| Some((executed(*id)?, fact.record)));
    let mut all: Vec<(At, &WorldRecord)> = written.collect();
    all.extend(
        parts
            .iter()
            .flat_map(|at| group.records.iter().map(|record| (*at, record))),
    );
    let bytes: usize = all.iter().map(|(_, record)| record.bytes()).sum();
    let settings = facts.settings();
    if all.len() > settings.batch_records_max || bytes > settings.batch_bytes_max {
        return Ok(());
    }
    let parts: BTreeSet<At> = all.iter().map(|(at, _)| *at).collect();
    ensure!(
        parts.len() == 1,
        "the capture at {} and what was accepted before it came at {parts:?}",
        group.at
    );
    Ok(())
}

/// Whether a refused group was done with before a moment.
fn was_refused_before(facts: &Facts<'_>, group: &Group<'_>, at: At) -> bool {
    let answer = group.ticket.and_then(|ticket| facts.settled.get(&ticket));
    let mut records = group.records.iter().filter(|record| is_refused(record));
    let letters = records.all(|record| {
        let fact = facts.records.get(&record.timestamp);
        fact.is_some_and(|fact| fact.letters.iter().any(|letter| *letter < at))
    });
    letters || answer.is_some_and(|(settled, _)| *settled < at)
}

/// Checks that what a save answered for is in the store.
fn saved_is_stored(facts: &Facts<'_>) -> Result<(), String> {
    for (begin, event) in facts.events.iter().enumerate() {
        let Event::Saving { ticket } = event else {
            continue;
        };
        let Some((end, Ok(_))) = facts.settled.get(ticket) else {
            continue;
        };
        let before = facts.events.iter().enumerate().take(begin);
        for (at, event) in before {
            let Event::Marked {
                world,
                lane,
                entity,
            } = event
            else {
                continue;
            };
            if facts.was_stopped(*world) {
                continue;
            }
            let captured = facts.groups.iter().filter(|group| {
                group.captured && (group.world, group.lane) == (*world, *lane) && group.at > at
            });
            let mut records = captured.flat_map(|group| group.records);
            let stored = records.any(|record| {
                let fate = facts.fate(record.timestamp);
                let stored = match fate {
                    Fate::Executed(stored, _) => stored < *end,
                    // Whoever saved then was told.
                    Fate::Letter(_) => true,
                    _ => false,
                };
                record.key() == Some(&entity.key) && stored
            });
            ensure!(
                stored,
                "{entity:?}, marked at {at}, is not stored at {end}, when it was saved"
            );
        }
    }
    Ok(())
}
