//! The flush controller under generated schedules, checked against the clauses of the contract.
#![expect(
    clippy::unwrap_used,
    reason = "a run that cannot be set up, or that breaks a clause, ends the test"
)]

mod broken;
mod clauses;
mod engine;
mod facts;
mod history;
mod log;
mod plan;
mod run;
mod store;
mod subject;

use std::cell::OnceCell;
use std::hash::{BuildHasher, RandomState};

use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use crate::clauses::Broken;
use crate::plan::Plan;

/// How often a shorter schedule is run, to see whether it breaks the clause as well: the runtime
/// takes what is ready at the same moment in any order.
const TRIES: usize = 4;
/// The schedules that are run unless `PROPTEST_CASES` asks for more.
const CASES_MIN: u32 = 2000;

#[test]
fn the_controller_keeps_every_clause_under_any_schedule() {
    let config = config();
    let again = format!(
        "PROPTEST_RNG_SEED={} PROPTEST_CASES={} cargo test -p aqevia-storage --test simulation",
        config.rng_seed, config.cases
    );
    // The schedule is made shorter for as long as it breaks the clause that broke first.
    let first = OnceCell::new();
    let outcome = TestRunner::new(config).run(&plan::plan(), |plan| {
        let broken = match first.get() {
            None => breaks(&plan).into_iter().next(),
            Some(clause) => {
                let says = (0..TRIES).find_map(|_| breaks(&plan).remove(clause));
                says.map(|says| (*clause, says))
            }
        };
        broken.map_or(Ok(()), |(clause, says)| {
            first.get_or_init(|| clause);
            Err(TestCaseError::fail(format!("{clause}: {says}")))
        })
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(says, plan)) => {
            let clause = first.get().copied().unwrap_or_default();
            tell_again(&plan, clause);
            panic!("{says}\nto run this again:\n{again}\nthe shortest schedule found:\n{plan:?}");
        }
        Err(error) => panic!("{error}\nto run this again:\n{again}"),
    }
}

/// Prints what happens in a schedule that breaks a clause.
fn tell_again(plan: &Plan, clause: &str) {
    let runs = (0..TRIES).map(|_| run::run(plan, subject::real));
    let mut broken = runs.filter(|events| clauses::check(plan, events).contains_key(clause));
    for (at, event) in broken.next().iter().flatten().enumerate() {
        eprintln!("{at}: {event}");
    }
}

fn breaks(plan: &Plan) -> Broken {
    clauses::check(plan, &run::run(plan, subject::real))
}

fn config() -> Config {
    let from_env = Config::default();
    let rng_seed = match from_env.rng_seed {
        RngSeed::Random => RngSeed::Fixed(RandomState::new().hash_one(0)),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    Config {
        cases: from_env.cases.max(CASES_MIN),
        rng_seed,
        failure_persistence: None,
        ..from_env
    }
}
