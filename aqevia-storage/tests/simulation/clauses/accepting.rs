//! C1 to C5: what is accepted, and how it comes into the store.

use std::collections::{BTreeMap, BTreeSet};

use aqevia_storage::{Collection, ErrorKind, Exposure, Part, WorldRecord};

use super::ensure;
use crate::facts::{At, Facts, Fate, Group};
use crate::history::{Event, Id, is_refused};

/// C1: what a ticket or a flush acknowledged is in the store, with all that was accepted before.
pub(crate) fn acknowledged_is_stored(facts: &Facts<'_>) -> Result<(), String> {
    for group in &facts.groups {
        let answer = group.ticket.and_then(|ticket| facts.settled.get(&ticket));
        let Some((at, Ok(receipt))) = answer else {
            continue;
        };
        for (index, record) in (0..).zip(group.records) {
            let id = record.timestamp;
            let fate = facts.fate(id);
            let Fate::Executed(executed, sequence) = fate else {
                return Err(format!(
                    "record {id} was acknowledged at {at}, and is {fate:?}"
                ));
            };
            ensure!(
                executed < *at,
                "record {id} was acknowledged at {at}, and written at {executed}"
            );
            let (first, count) = (receipt.first.get(), receipt.count);
            ensure!(
                sequence == first + index && count as usize == group.records.len(),
                "record {id} has sequence {sequence}, its group's receipt is {receipt:?}"
            );
        }
        before_is_stored(facts, *at, |other| {
            (other.world, other.lane) == (group.world, group.lane) && other.at < group.at
        })?;
    }
    for (begin, event) in facts.events.iter().enumerate() {
        let Event::Flushing { ticket, lanes } = event else {
            continue;
        };
        if let Some((at, Ok(_))) = facts.settled.get(ticket) {
            before_is_stored(facts, *at, |other| {
                other.at < begin && lanes.get(other.world) == Some(&Some(other.lane))
            })?;
        }
    }
    Ok(())
}

fn before_is_stored(
    facts: &Facts<'_>,
    at: At,
    is_before: impl Fn(&Group<'_>) -> bool,
) -> Result<(), String> {
    for (id, _, group) in facts.accepted() {
        if !is_before(group) {
            continue;
        }
        // What is nowhere at all breaks C2.
        match facts.fate(id) {
            Fate::Executed(stored, _) | Fate::Letter(stored) if stored > at => {
                return Err(format!(
                    "what came after record {id} was acknowledged at {at}, itself stored at {stored}"
                ));
            }
            Fate::HandedBack => {
                return Err(format!(
                    "what came after record {id} was acknowledged at {at}, itself handed back"
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// C2: each record is persisted once, in the order of acceptance, or stands for by a newer one of
/// its key or by a dead letter.
pub(crate) fn each_record_is_persisted_once_in_order(facts: &Facts<'_>) -> Result<(), String> {
    let places = facts.places();
    let mut last: BTreeMap<usize, (u32, Id)> = BTreeMap::new();
    for event in facts.events {
        let Event::Executed { world, part, .. } = event else {
            continue;
        };
        for record in part.records() {
            let record = record.record();
            let id = record.timestamp;
            let known = facts.records.get(&id);
            let Some((fact, group)) = known.and_then(|fact| Some((fact, facts.group(fact)?)))
            else {
                return Err(format!("record {id} was written, and accepted by nobody"));
            };
            let letter = record.collection == Collection::dead_letters();
            ensure!(
                group.world == *world && (letter || record == fact.record),
                "record {id} was written as {record:?}"
            );
            let times = fact.executed.len() + fact.letters.len();
            ensure!(times == 1, "record {id} was written {times} times");
            let place = (group.lane, places.get(&id).copied().unwrap_or(id));
            let before = last.insert(*world, place);
            ensure!(
                before.is_none_or(|before| before < place),
                "record {id}, whose place is {place:?}, was written after {before:?}"
            );
        }
    }
    // C8 says what becomes of it then.
    let dropped = facts.was_dropped();
    for (id, fact, group) in facts.accepted() {
        ensure!(
            dropped || facts.fate(id) != Fate::Lost,
            "record {id} of world {} was accepted at {}, and is nowhere: {fact:?}",
            group.world,
            group.at
        );
    }
    Ok(())
}

/// C3: the buffer holds no more than its bound, and what is not accepted is handed back.
pub(crate) fn the_bound_is_held(facts: &Facts<'_>) -> Result<(), String> {
    for (at, event) in facts.events.iter().enumerate() {
        match event {
            Event::Exposed(exposure) => {
                exposure_is_within(facts, exposure)?;
                let held = held_at_least(facts, at);
                let told = exposure.records >= held && (held == 0 || exposure.oldest.is_some());
                ensure!(
                    told,
                    "{held} records wait at {at}, and told is {exposure:?}"
                );
            }
            Event::Accepted { records, .. } => {
                ensure!(
                    fits(facts, records),
                    "a group that cannot fit was accepted at {at}"
                );
                let held = held_at_least(facts, at);
                let most = facts.settings().pending_records_max;
                ensure!(
                    held <= most,
                    "{held} records were pending at {at}, of {most}"
                );
            }
            Event::Refused {
                given,
                back,
                kind,
                before,
            } => {
                ensure!(
                    back.as_ref().is_none_or(|back| back == given),
                    "of {given:?} only {back:?} was handed back at {at}"
                );
                refusal_is_right(facts, given, *kind, before)
                    .map_err(|says| format!("refused at {at} as {kind:?}: {says}"))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn exposure_is_within(facts: &Facts<'_>, exposure: &Exposure) -> Result<(), String> {
    let settings = facts.settings();
    // A dead letter is longer than what it stands for.
    let letters = facts.groups.iter().any(Group::is_refused);
    ensure!(
        exposure.records <= settings.pending_records_max
            && (letters || exposure.bytes <= settings.pending_bytes_max),
        "{exposure:?} is over the bound"
    );
    let nothing = exposure.records == 0 && exposure.dirty == 0;
    ensure!(
        !nothing || exposure.oldest.is_none(),
        "nothing waits since {:?}",
        exposure.oldest
    );
    Ok(())
}

/// How many records were pending for certain, whatever the controller says.
fn held_at_least(facts: &Facts<'_>, at: At) -> usize {
    let held = facts.accepted().filter(|(_, fact, group)| {
        let executed = fact.executed.iter().any(|(executed, _)| *executed > at);
        let reported = fact.reported.iter().any(|reported| reported.at > at);
        // What a stopped world left has made room.
        let stopped = facts.was_stopped(group.world);
        group.at <= at && (executed || (reported && !stopped))
    });
    held.count()
}

fn fits(facts: &Facts<'_>, group: &[WorldRecord]) -> bool {
    let settings = facts.settings();
    let bytes: usize = group.iter().map(WorldRecord::bytes).sum();
    group.len() <= settings.batch_records_max.min(settings.pending_records_max)
        && bytes <= settings.batch_bytes_max.min(settings.pending_bytes_max)
}

fn refusal_is_right(
    facts: &Facts<'_>,
    given: &[WorldRecord],
    kind: ErrorKind,
    before: &Exposure,
) -> Result<(), String> {
    let settings = facts.settings();
    match kind {
        ErrorKind::Invalid => ensure!(!fits(facts, given), "it fits"),
        ErrorKind::Backpressure => {
            let bytes: usize = given.iter().map(WorldRecord::bytes).sum();
            let full = before.records + given.len() > settings.pending_records_max
                || before.bytes + bytes > settings.pending_bytes_max;
            let waited = before.oldest.map(|oldest| oldest.as_millis());
            let late = settings.exposure_max_ms.zip(waited);
            let late = late.is_some_and(|(max, waited)| waited > u128::from(max));
            ensure!(full || late, "there was room: {before:?}");
        }
        ErrorKind::Fenced | ErrorKind::Closed => {}
        _ => return Err("that is no reason".into()),
    }
    Ok(())
}

/// C4: no group is split, and no part is over its limits.
pub(crate) fn groups_stay_together(facts: &Facts<'_>) -> Result<(), String> {
    for (at, event) in facts.events.iter().enumerate() {
        let Event::Handed { part, .. } = event else {
            continue;
        };
        part_is_within(facts, part).map_err(|says| format!("the part at {at}: {says}"))?;
        let ids: Vec<Id> = part
            .records()
            .iter()
            .map(|record| record.record().timestamp)
            .collect();
        let groups = ids
            .iter()
            .filter_map(|id| Some(facts.records.get(id)?.group));
        for group in groups.collect::<BTreeSet<_>>() {
            let Some(group) = facts.groups.get(group).filter(|group| !group.captured) else {
                continue;
            };
            let whole: Vec<Id> = group
                .records
                .iter()
                .map(|record| record.timestamp)
                .collect();
            let together = ids.windows(whole.len()).any(|ids| ids == whole.as_slice());
            ensure!(
                together,
                "the part at {at} has {ids:?}, and not the group {whole:?}"
            );
        }
    }
    Ok(())
}

fn part_is_within(facts: &Facts<'_>, part: &Part) -> Result<(), String> {
    let (settings, records) = (facts.settings(), part.records());
    // One dead letter may be longer than a group may be.
    let letter = records.len() == 1
        && records
            .iter()
            .all(|record| record.record().collection == Collection::dead_letters());
    let (count, bytes) = (records.len(), part.bytes());
    ensure!(
        letter || (count <= settings.batch_records_max && bytes <= settings.batch_bytes_max),
        "it has {count} records and {bytes} bytes"
    );
    Ok(())
}

/// C5: a group fails if, and only if, the store refuses one of its records.
pub(crate) fn refused_groups_fail_alone(facts: &Facts<'_>) -> Result<(), String> {
    for group in &facts.groups {
        let ids: Vec<Id> = group
            .records
            .iter()
            .map(|record| record.timestamp)
            .collect();
        let answer = group.ticket.and_then(|ticket| facts.settled.get(&ticket));
        let refused = group.is_refused() || newer_is_refused(facts, group);
        if let Some((at, answer)) = answer {
            let failed = matches!(answer, Err(ErrorKind::Invalid));
            ensure!(
                !failed || refused,
                "group {ids:?} failed at {at}, and nothing of it is refused"
            );
            // What takes the place of a refused record answers its ticket.
            let fact = ids.first().and_then(|id| facts.records.get(id));
            let replaced = fact.is_some_and(|fact| fact.newer.is_some());
            let whole = answer.is_err() || replaced || !group.is_refused();
            ensure!(
                whole,
                "group {ids:?} was acknowledged at {at}, and is refused"
            );
        }
        for record in group.records {
            let id = record.timestamp;
            let letters = facts.records.get(&id).map_or(0, |fact| fact.letters.len());
            ensure!(
                letters == 0 || is_refused(record),
                "a dead letter stands for record {id}"
            );
        }
    }
    Ok(())
}

/// Whether a record that took the place of a group's is refused.
fn newer_is_refused(facts: &Facts<'_>, group: &Group<'_>) -> bool {
    let [record] = group.records else {
        return false;
    };
    let mut next = facts.records.get(&record.timestamp);
    while let Some(fact) = next {
        if is_refused(fact.record) {
            return true;
        }
        next = fact.newer.and_then(|newer| facts.records.get(&newer));
    }
    false
}
