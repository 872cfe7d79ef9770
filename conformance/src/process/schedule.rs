//! The order of the kills of a sweep.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Duration;

use super::announce::Halt;
use super::line::Line;
use super::plan::Dice;
use super::within::{Course, is_of_batch};
use super::writes::CLAIMED;

/// The steps of so many calls of `persist_batch` are swept.
pub(crate) const CALLS_SWEPT: u64 = 3;

/// At most so many kills hit one store.
const KILLS_OF_STORE_MAX: usize = 40;

/// A child that is killed after the first step of a batch has passed fewer before it.
const BATCHES_PASSED_END: u64 = 6;

/// A child that is killed after the first step of a batch has gone on from it for less.
const AFTER_FIRST_MICROS_END: u64 = 2000;

/// A kill that is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) kill: Kill,
    /// Whether a new store is made for it.
    pub(crate) new_store: bool,
    /// Whether the store is opened and checked after it.
    pub(crate) check: bool,
    /// Whether it hits the opening of a store whose process was killed before.
    pub(crate) of_recovery: bool,
}

/// When a child is killed.
#[derive(Clone, Debug)]
pub(crate) enum Kill {
    /// At a step.
    At(Halt),
    /// So long after it began to open the store.
    AfterReady(Duration),
    /// So long after it began to persist.
    AfterCall(Duration),
    /// So long after it went on from a step.
    After(Halt, Duration),
}

impl Kill {
    /// The step at which the child is to wait.
    pub(crate) fn halt(&self) -> Option<Halt> {
        match self {
            Self::At(halt) | Self::After(halt, _) => Some(halt.clone()),
            Self::AfterReady(_) | Self::AfterCall(_) => None,
        }
    }

    /// Whether the child goes on from where it waits before it is killed.
    pub(crate) fn goes_on_from(&self, step: &str) -> bool {
        matches!(self, Self::After(halt, _) if halt.step == step)
    }

    /// How long after this line the child is to be killed, if it is the line to count from.
    pub(crate) fn after(&self, line: &Line) -> Option<Duration> {
        match (self, line) {
            (Self::AfterReady(after), Line::Ready)
            | (Self::AfterCall(after), Line::Persisting { .. })
            | (Self::After(_, after), Line::GoesOn) => Some(*after),
            _ => None,
        }
    }
}

/// The plans of a sweep, one after the other.
///
/// Up to three quarters of the kills are at steps, half where a batch is one statement: on a new store those of its making, on an old
/// one those of persisting, and after some kills those of opening what the kill left. The first
/// kill of each name comes before the second of any, and what is told again beside batches comes last.
/// The others come at random moments, most of
/// them after the first step of a batch.
pub(crate) fn schedule(created: &[String], opened: &[String], kills: u64, seed: u64) -> Vec<Plan> {
    let mut dice = Dice::new(seed, &[u64::MAX]);
    let kills = usize::try_from(kills).expect("a number of kills that can be counted");
    let course = Course::of(opened);
    let first = course.first.as_deref();
    let at_steps_max = match course.one_statement {
        // Only moments fall within a statement.
        true => kills / 2,
        false => kills * 3 / 4,
    };
    let (making, _) = split(created);
    let (opening, persisting) = split(opened);
    let [making, opening, persisting] = first_of([making, opening, persisting], at_steps_max);
    let at_steps = making.len() + opening.len() + persisting.len();
    let timed = (at_steps..kills).map(|_| at_random(&mut dice, first));
    let mut others: Vec<_> = persisting.into_iter().map(Kill::At).collect();
    others.extend(timed.collect::<Vec<_>>());
    others.sort_by_cached_key(|_| dice.below(u64::MAX));
    let stores = making.len().max(kills.div_ceil(KILLS_OF_STORE_MAX)).max(1);
    let (mut making, mut opening) = (making.into_iter(), opening.into_iter());
    let of_store = others.len().div_ceil(stores).max(1);
    let mut others = others.into_iter();
    let mut plans = Vec::new();
    for _ in 0..stores {
        let made = making.next().map(Kill::At);
        let on_store: Vec<_> = made
            .into_iter()
            .chain(others.by_ref().take(of_store))
            .collect();
        let recoveries = opening.len().div_ceil(stores).max(2);
        plans.extend(on_one_store(on_store, opening.by_ref().take(recoveries)));
    }
    let missing = (plans.len()..kills).map(|_| at_random(&mut dice, first));
    let missing: Vec<_> = missing.collect();
    plans.extend(on_one_store(missing, std::iter::empty()));
    plans
}

/// The kills of a store that is new, each followed by one of its recovery while there are any.
fn on_one_store(kills: Vec<Kill>, recoveries: impl Iterator<Item = Halt>) -> Vec<Plan> {
    let mut recoveries = recoveries.fuse();
    let mut plans: Vec<Plan> = Vec::new();
    for kill in kills {
        let recovery = recoveries.next();
        plans.push(Plan {
            kill,
            new_store: plans.is_empty(),
            check: recovery.is_none(),
            of_recovery: false,
        });
        plans.extend(recovery.map(|halt| Plan {
            kill: Kill::At(halt),
            new_store: false,
            check: true,
            of_recovery: true,
        }));
    }
    plans
}

/// `first` is the first step of a batch.
fn at_random(dice: &mut Dice, first: Option<&str>) -> Kill {
    if let (Some(first), true) = (first, dice.below(4) > 0) {
        let step = first.to_owned();
        let passed = dice.below(BATCHES_PASSED_END);
        let after = Duration::from_micros(dice.below(AFTER_FIRST_MICROS_END));
        return Kill::After(Halt { step, passed }, after);
    }
    let least = Duration::from_micros(32 << dice.below(12));
    let share = u32::try_from(dice.below(1000)).unwrap_or(0);
    let after = least + least * share / 1000;
    match dice.below(3) {
        0 => Kill::AfterReady(after),
        _ => Kill::AfterCall(after),
    }
}

/// Of what is told again, so many steps of batches are killed at for each one of making a store, and
/// of opening one.
const BATCH_STEPS_TO_OTHERS: usize = 3;

/// Of several lists so many steps at most: the first of each name before all others. The last list is
/// that of persisting: what is told again beside its batches comes after everything else.
fn first_of<const LISTS: usize>(lists: [Vec<Halt>; LISTS], most: usize) -> [Vec<Halt>; LISTS] {
    let persisting = LISTS - 1;
    let mut ranked = Vec::new();
    for (list, halts) in lists.iter().enumerate() {
        let mut names = BTreeSet::new();
        let mut before = BTreeMap::new();
        for (at, halt) in halts.iter().enumerate() {
            let again = !names.insert(&halt.step);
            // Of what comes again while a child persists, the steps of batches are the most telling.
            let other = again && persisting == list && !is_of_batch(&halt.step);
            let before: &mut usize = before.entry((again, other)).or_default();
            let rank = match again && persisting == list {
                true => *before / BATCH_STEPS_TO_OTHERS,
                false => *before,
            };
            ranked.push((again, other, rank, list, at));
            *before += 1;
        }
    }
    ranked.sort_unstable();
    ranked.truncate(most);
    let chosen: BTreeSet<_> = ranked
        .into_iter()
        .map(|(.., list, at)| (list, at))
        .collect();
    let mut list = 0..;
    lists.map(|halts| {
        let list = list.next().unwrap_or(0);
        let halts = halts.into_iter().enumerate();
        halts
            .filter_map(|(at, halt)| chosen.contains(&(list, at)).then_some(halt))
            .collect()
    })
}

/// The steps before a child begins to persist, and those of its calls.
fn split(steps: &[String]) -> (Vec<Halt>, Vec<Halt>) {
    let halts = halts(steps);
    let begins = steps.iter().position(|step| step == CLAIMED);
    let (before, after) = halts.split_at(begins.unwrap_or(halts.len()));
    (before.to_vec(), after.to_vec())
}

/// Each step with how often its name was passed before.
fn halts(steps: &[String]) -> Vec<Halt> {
    let passed = |index: usize, step: &String| {
        let before = steps.iter().take(index);
        before.filter(|other| *other == step).count() as u64
    };
    let steps = steps.iter().enumerate();
    steps
        .map(|(index, step)| Halt {
            step: step.clone(),
            passed: passed(index, step),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::writes::{ACKNOWLEDGED, ANSWERED, CALLED};

    fn steps(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_plan_is_one_kill_and_the_last_of_a_store_is_checked() {
        let created = steps(&["init", "claim", "claim", CLAIMED, "call", ACKNOWLEDGED]);
        for kills in [1, 2, 7, 40, 500] {
            let plans = schedule(&created, &created, kills, 7);
            assert_eq!(plans.len() as u64, kills);
            let ends = plans.iter().zip(plans.iter().skip(1));
            let unchecked = ends.filter(|(end, next)| next.new_store && !end.check);
            assert_eq!(unchecked.count(), 0, "{plans:?}");
            assert!(plans.last().is_some_and(|plan| plan.check));
            assert!(
                plans
                    .iter()
                    .all(|plan| !(plan.of_recovery && plan.new_store))
            );
        }
    }

    #[test]
    fn half_of_the_kills_are_at_moments_where_a_batch_is_one_statement() {
        let mut opened = steps(&["init", CLAIMED]);
        for _ in 0..100 {
            opened.extend(steps(&[CALLED, "batch: a", "batch: b", ANSWERED]));
        }
        let at_steps = |opened: &[String]| {
            let plans = schedule(opened, opened, 40, 7);
            let at_steps = plans.iter().filter(|plan| matches!(plan.kill, Kill::At(_)));
            at_steps.count()
        };
        assert_eq!(at_steps(&opened), 20);
        opened.extend(steps(&[
            CALLED, "batch: a", "part: x", "batch: b", ANSWERED,
        ]));
        assert_eq!(at_steps(&opened), 30);
    }

    #[test]
    fn each_step_is_killed_at_in_a_long_sweep() {
        let created = steps(&[
            "init",
            "claim",
            "claim",
            CLAIMED,
            "call",
            "call",
            ACKNOWLEDGED,
        ]);
        let plans = schedule(&created, &created, 40, 7);
        let halts: Vec<_> = plans.iter().filter_map(|plan| plan.kill.halt()).collect();
        let passed = |step: &str| halts.iter().filter(|halt| halt.step == step).count();
        assert_eq!((passed("init"), passed("claim")), (2, 4));
        assert_eq!((passed("call"), passed(ACKNOWLEDGED)), (2, 1));
    }
}
