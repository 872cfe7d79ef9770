//! C6, C7, C8 and C10: how it ends, how it goes on in trouble, and who claims.

use std::collections::{BTreeMap, BTreeSet};

use aqevia_storage::{ErrorKind, WorldRecord};

use super::ensure;
use crate::facts::{At, Facts, Fate};
use crate::history::{Event, Id, Report, name};
use crate::plan::Outage;

/// C6: shutdown tells exactly what is not in the store, and everybody gets an answer.
pub(crate) fn shutdown_reports_what_is_missing(facts: &Facts<'_>) -> Result<(), String> {
    let hung = facts
        .events
        .iter()
        .any(|event| matches!(event, Event::HungAtTheEnd));
    ensure!(!hung, "shutdown never answered");
    let Some((at, report)) = facts.shut_down else {
        return Ok(());
    };
    for (id, _, group) in facts.accepted() {
        ensure!(
            facts.fate(id) != Fate::Lost,
            "record {id} is neither stored nor reported"
        );
        if let Some(ticket) = group.ticket {
            ensure!(
                facts.settled.contains_key(&ticket),
                "nobody answered for record {id}"
            );
        }
    }
    for (id, fact) in &facts.records {
        for reported in &fact.reported {
            let executed = fact.executed.first();
            ensure!(
                fact.reported.len() == 1,
                "record {id} was handed back more than once"
            );
            ensure!(
                reported.in_doubt || executed.is_none(),
                "record {id} is reported as pending, and was written at {executed:?}"
            );
            let undecided = is_undecided(facts, *id, reported.at);
            ensure!(
                reported.in_doubt == undecided,
                "record {id} is undecided: {undecided}, and reported as {reported:?}"
            );
        }
    }
    let nothing = Report {
        pending: Vec::new(),
        in_doubt: Vec::new(),
        dirty: Vec::new(),
    };
    let report = report.unwrap_or(&nothing);
    in_order(facts, &report.pending)?;
    in_order(facts, &report.in_doubt)?;
    let mut dirty: Vec<_> = report.dirty.iter().collect();
    let mut expected = Vec::new();
    for world in 0..facts.settings().worlds {
        let marked = facts.dirty(world).into_iter();
        expected.extend(marked.map(|(_, entity)| (name(world), entity)));
    }
    dirty.sort();
    expected.sort();
    let same = dirty.iter().copied().eq(expected.iter());
    ensure!(
        same,
        "at {at} {dirty:?} is reported as dirty, and {expected:?} is"
    );
    Ok(())
}

/// Whether nobody can tell if the store has a record: the part with it has no answer, or an
/// ambiguous one, and none that decides it.
fn is_undecided(facts: &Facts<'_>, id: Id, at: At) -> bool {
    let mut undecided = false;
    let mut handed = false;
    for event in facts.events.iter().take(at) {
        let (Event::Handed { part, .. } | Event::Answered { part, .. }) = event else {
            continue;
        };
        if !part
            .records()
            .iter()
            .any(|record| record.record().timestamp == id)
        {
            continue;
        }
        match event {
            Event::Answered { error, .. } => {
                handed = false;
                undecided = match error {
                    Some(ErrorKind::Ambiguous) => true,
                    Some(ErrorKind::Unavailable | ErrorKind::Full) => undecided,
                    _ => false,
                };
            }
            _ => handed = true,
        }
    }
    handed || undecided
}

/// Whether the records of each world come in the order in which they were accepted.
fn in_order(facts: &Facts<'_>, records: &[WorldRecord]) -> Result<(), String> {
    let places = facts.places();
    let mut last = BTreeMap::new();
    let mut gone = BTreeSet::new();
    let mut before = None;
    for record in records {
        let id = record.timestamp;
        if before
            .replace(&record.world)
            .is_some_and(|before| before != &record.world)
        {
            ensure!(
                gone.insert(record.world.clone()),
                "{records:?} is not world by world"
            );
        }
        let older = last.insert(&record.world, places.get(&id).copied().unwrap_or(id));
        ensure!(
            older < last.get(&record.world).copied(),
            "record {id} is reported after {older:?}"
        );
    }
    Ok(())
}

/// C7: degraded while something is tried again, healthy otherwise, and well again without help.
pub(crate) fn health_tells_of_trouble(facts: &Facts<'_>) -> Result<(), String> {
    let mut trouble = Trouble::default();
    for (at, event) in facts.events.iter().enumerate() {
        trouble.read(event);
        match event {
            Event::Rested { healthy } => {
                let expected = !trouble.is_there();
                // A store that does not answer any more is trouble after a while.
                let hangs = matches!(facts.plan.end.outage, Some(Outage::Hang));
                if hangs && expected {
                    continue;
                }
                ensure!(
                    *healthy == expected,
                    "healthy at {at}: {healthy}, with {trouble:?}"
                );
            }
            Event::Recovered { healthy, exposure } => {
                ensure!(*healthy, "it has not recovered at {at}");
                let left = exposure.records + exposure.dirty;
                ensure!(left == 0, "it has recovered at {at}, with {exposure:?}");
            }
            Event::ShutDown(_) | Event::HungAtTheEnd | Event::Dropping => break,
            _ => {}
        }
    }
    Ok(())
}

/// What is tried again.
#[derive(Debug, Default)]
struct Trouble {
    init: bool,
    parts: BTreeSet<usize>,
    claims: BTreeSet<usize>,
    /// Where the engine believes that worlds stand that are not claimed yet.
    adopted: BTreeMap<usize, u64>,
}

impl Trouble {
    fn read(&mut self, event: &Event) {
        match event {
            Event::Initialised { error } => self.init = error.is_some(),
            Event::Adopted { world, head } => drop(self.adopted.insert(*world, *head)),
            Event::Looked { world, head } => match (self.adopted.get(world), head) {
                (Some(_), Err(_)) => drop(self.claims.insert(*world)),
                (Some(believed), Ok(head)) if head != believed => self.end_adoption(*world),
                _ => {}
            },
            Event::Claimed { world, error } if self.adopted.contains_key(world) => match error {
                Some(_) => drop(self.claims.insert(*world)),
                None => self.end_adoption(*world),
            },
            Event::Answered { world, error, .. } => {
                match error.is_some_and(ErrorKind::is_retryable) {
                    true => self.parts.insert(*world),
                    false => self.parts.remove(world),
                };
            }
            _ => {}
        }
    }

    fn end_adoption(&mut self, world: usize) {
        self.claims.remove(&world);
        self.adopted.remove(&world);
    }

    fn is_there(&self) -> bool {
        self.init || !self.parts.is_empty() || !self.claims.is_empty()
    }
}

/// C8: a controller that is dropped persists what it has, or logs how much was lost.
pub(crate) fn dropping_persists_or_logs(facts: &Facts<'_>) -> Result<(), String> {
    let dropped = facts.events.iter().find_map(|event| match event {
        Event::Dropped { logged } => Some(*logged),
        _ => None,
    });
    let Some(logged) = dropped else {
        return Ok(());
    };
    let (mut least, mut most) = (0, 0);
    for (id, fact) in &facts.records {
        let Some(group) = facts.group(fact) else {
            continue;
        };
        let fate = facts.own_fate(fact);
        let written = matches!(fate, Fate::Executed(..) | Fate::Letter(_));
        let unknown = written && !was_answered(facts, *id);
        if fate != Fate::Lost && fate != Fate::HandedBack && !unknown {
            continue;
        }
        most += 1;
        // Another may have taken its place, and a capture may have been given up.
        if unknown || fate == Fate::HandedBack || (fact.newer.is_none() && !group.captured) {
            least += 1;
        }
        let stopped = facts.was_stopped(group.world);
        ensure!(
            stopped
                || facts.plan.end.outage.is_some()
                || facts.fate(*id) != Fate::Lost
                || group.captured,
            "record {id} was not persisted, though nothing stood in the way"
        );
    }
    ensure!(
        (least..=most).contains(&logged),
        "from {least} to {most} records were lost, and {logged} are logged"
    );
    Ok(())
}

/// Whether the store said that it has a record.
fn was_answered(facts: &Facts<'_>, id: Id) -> bool {
    facts.events.iter().any(|event| match event {
        Event::Answered { part, error, .. } if error.is_none() => part
            .records()
            .iter()
            .any(|record| record.record().timestamp == id),
        _ => false,
    })
}

/// C10: a claim follows from an opening, and after `Fenced` nothing is claimed or written.
pub(crate) fn only_opening_claims(facts: &Facts<'_>) -> Result<(), String> {
    let mut opening = BTreeSet::new();
    let mut adopted = BTreeSet::new();
    let mut fenced = BTreeSet::new();
    for (at, event) in facts.events.iter().enumerate() {
        match event {
            Event::Opening { world } => drop(opening.insert(*world)),
            Event::Opened { world } => drop(opening.remove(world)),
            Event::Adopted { world, .. } => drop(adopted.insert(*world)),
            Event::Looked { world, head } if head.is_ok_and(|head| head > 0) => {
                adopted.remove(world);
            }
            Event::Claimed { world, error } => {
                let allowed = opening.remove(world) || adopted.contains(world);
                ensure!(
                    allowed,
                    "world {world} was claimed at {at}, and nobody opened it"
                );
                if error.is_none() {
                    adopted.remove(world);
                }
            }
            Event::Handed { world, part } => {
                let stopped = fenced.contains(&(*world, part.epoch()));
                ensure!(
                    !stopped,
                    "a part of world {world} was handed over at {at} after its end"
                );
            }
            Event::Answered { world, part, error } if *error == Some(ErrorKind::Fenced) => {
                fenced.insert((*world, part.epoch()));
            }
            _ => {}
        }
    }
    Ok(())
}
