//! Controllers that are broken on purpose: each breaks a clause, and is caught by that clause.

mod calls;
mod layer;
mod layers;
mod states;

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::clauses;
use crate::plan::{Plan, plan};
use crate::run::run;
use crate::subject::Start;

/// The most schedules that a broken controller runs through.
const SCHEDULES: usize = 1000;
/// How often it is to be caught by its clause before that.
const CAUGHT: usize = 3;
/// The schedules that a controller runs through in whose way a layer does nothing.
const SOUND: usize = 60;
/// What the schedules are made from, the same for all.
const SEED: u64 = 5;

/// A controller that breaks a clause.
struct Defect {
    name: &'static str,
    clause: &'static str,
    start: Start,
}

const fn defect(clause: &'static str, name: &'static str, start: Start) -> Defect {
    Defect {
        name,
        clause,
        start,
    }
}

const DEFECTS: [Defect; 19] = [
    defect(
        "C1",
        "acknowledges before it is stored",
        calls::acknowledges_early,
    ),
    defect("C2", "retries with a new number", layers::renumbers),
    defect(
        "C2",
        "drops the newest record on retry",
        layers::drops_on_retry,
    ),
    defect("C2", "swaps two records", calls::swaps),
    defect("C3", "lets the buffer grow", calls::grows),
    defect("C3", "hands back too little", calls::hands_back_less),
    defect("C3", "tells half of what waits", states::hides_exposure),
    defect("C4", "splits a group", calls::splits),
    defect(
        "C4",
        "coalesces across a group",
        layers::coalesces_across_groups,
    ),
    defect(
        "C5",
        "fails the neighbour of a refused group",
        calls::fails_neighbours,
    ),
    defect("C6", "forgets on shutdown", states::forgets_on_shutdown),
    defect(
        "C6",
        "reports what is stored",
        states::reports_what_is_stored,
    ),
    defect(
        "C6",
        "takes an unknown outcome for none",
        layers::takes_doubt_for_failure,
    ),
    defect("C7", "stays degraded", states::stays_degraded),
    defect("C7", "is healthy in an outage", states::is_always_healthy),
    defect(
        "C8",
        "forgets when it is dropped",
        states::forgets_when_dropped,
    ),
    defect(
        "C9",
        "clears what is dirty too early",
        states::clears_too_early,
    ),
    defect(
        "C10",
        "claims again after it was fenced",
        layers::claims_again,
    ),
    defect("C10", "claims what it reads", layers::claims_what_it_reads),
];

#[test]
fn each_broken_controller_is_caught_by_the_clause_that_it_breaks() {
    let (mut matrix, mut missed) = (String::new(), Vec::new());
    for defect in &DEFECTS {
        let (schedules, caught) = catch(defect);
        let counts: Vec<String> = caught
            .iter()
            .map(|(clause, times)| format!("{clause} {times}"))
            .collect();
        let (name, clause) = (defect.name, defect.clause);
        let counts = counts.join(", ");
        writeln!(
            matrix,
            "{clause:>3}  {name:<38} {schedules:>3} schedules: {counts}"
        )
        .unwrap();
        if caught.get(clause) < Some(&CAUGHT) {
            missed.push(name);
        }
    }
    eprintln!("{matrix}");
    assert!(
        missed.is_empty(),
        "not caught by their own clause: {missed:?}\n{matrix}"
    );
    let clauses: Vec<&str> = DEFECTS.iter().map(|defect| defect.clause).collect();
    let all = (1..=10).all(|clause| clauses.contains(&format!("C{clause}").as_str()));
    assert!(all, "each clause has a controller that breaks it");
}

#[test]
fn a_controller_in_whose_way_nothing_is_done_passes_everything() {
    for plan in plans().take(SOUND) {
        let broken = clauses::check(&plan, &run(&plan, layers::sound));
        assert!(broken.is_empty(), "{broken:?}\n{plan:?}");
    }
}

/// Runs a broken controller until it is caught often enough: how many schedules that took, and
/// which clauses it broke in how many of them.
fn catch(defect: &Defect) -> (usize, BTreeMap<&'static str, usize>) {
    let mut caught = BTreeMap::new();
    let mut schedules = 0;
    for plan in plans().take(SCHEDULES) {
        schedules += 1;
        for (clause, _) in clauses::check(&plan, &run(&plan, defect.start)) {
            *caught.entry(clause).or_default() += 1;
        }
        if caught.get(defect.clause) >= Some(&CAUGHT) {
            break;
        }
    }
    (schedules, caught)
}

/// Schedules that are the same in each run.
fn plans() -> impl Iterator<Item = Plan> {
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    });
    let plans = plan();
    std::iter::repeat_with(move || plans.new_tree(&mut runner).unwrap().current())
}
