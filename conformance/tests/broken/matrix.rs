//! Every check on every broken backend: which fails where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use conformance::{Clause, EQUIVALENCE_SEEDS};

use super::attempt::violation;
use super::document::Document;
use super::store::Chosen;
use super::table::Defective;

/// The checks beside the clauses. No defect is made for them.
pub(crate) const BESIDE: [&str; 2] = ["histories", "faults"];

/// Clause functions that no broken backend can fail in their own question, and why.
///
/// The suite drives the controller through these, and stands between it and the store itself: what
/// they ask is the controller's doing alone. It takes a broken controller to show that they bite.
pub(crate) const NEED_A_BROKEN_CONTROLLER: [(&str, &str); 14] = [
    (
        "c3_at_the_bound_records_are_handed_back",
        "the bound is the buffer's, before anything comes to a store",
    ),
    (
        "c3_a_group_that_never_fits_is_invalid",
        "the group is refused before anything comes to a store",
    ),
    (
        "c4_parts_are_made_of_whole_groups",
        "parts are formed before they come to a store",
    ),
    (
        "c5_a_refused_group_fails_alone",
        "the group is refused before it comes to the store",
    ),
    (
        "c5_a_refused_entity_fails_alone",
        "the capture is refused before it comes to the store",
    ),
    (
        "c7_the_engine_goes_on_while_the_store_is_away",
        "every part is refused before it comes to the store",
    ),
    (
        "c7_a_controller_starts_while_the_store_is_away",
        "the store is kept away, and the world that is stale is not claimed",
    ),
    (
        "c9_a_change_after_its_capture_is_dirty_again",
        "what is dirty is known to the controller alone",
    ),
    (
        "c9_a_capture_and_what_came_before_it_are_one_group",
        "parts are formed before they come to a store",
    ),
    (
        "c9_what_is_not_captured_is_still_dirty",
        "what is dirty is known to the controller alone",
    ),
    (
        "c6_shutdown_returns_what_is_pending",
        "every part is refused before it comes to the store",
    ),
    (
        "c6_shutdown_returns_what_is_in_doubt",
        "the answers are taken away between the store and the controller",
    ),
    (
        "c6_shutdown_does_not_wait_for_a_write_that_hangs",
        "the write is held before it comes to the store",
    ),
    (
        "c8_dropping_ends_without_a_store",
        "every part is refused before it comes to the store",
    ),
];

/// A check of any kind of store.
#[derive(Clone, Copy)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

impl Check {
    /// Every clause, and the checks beside.
    pub(crate) fn all() -> Vec<Self> {
        let clauses = Clause::all::<Chosen>();
        let clauses = clauses.into_iter().map(|clause| Self {
            name: clause.name,
            run: clause.run,
        });
        let run: [fn(); 2] = [histories, faults];
        let beside = BESIDE.into_iter().zip(run);
        clauses
            .chain(beside.map(|(name, run)| Self { name, run }))
            .collect()
    }

    /// Whether it waits for time to pass, and so leaves the processor to others.
    fn waits(self) -> bool {
        self.name.starts_with('c')
    }
}

/// The histories of a few fixed seeds, which are the same in every run.
fn histories() {
    conformance::equivalence::<Chosen>(EQUIVALENCE_SEEDS);
}

fn faults() {
    conformance::faults::<Chosen>();
}

/// Which checks fail on which backend, with their messages.
pub(crate) struct Matrix {
    defects: Vec<Defective>,
    failures: Failures,
}

type Failures = BTreeMap<(&'static str, &'static str), String>;

impl Matrix {
    /// Runs every check on every backend. What differs from the document, or fails where there is
    /// none, is tried again by itself: what waits for real time may be late on a machine that is
    /// busy.
    pub(crate) fn of(defects: Vec<Defective>, kept: Option<&Document>) -> Self {
        let checks = Check::all();
        let with = |defect: &Defective| {
            let defect = *defect;
            checks.iter().map(move |check| (defect, *check))
        };
        let cells: Vec<Cell> = defects.iter().flat_map(with).collect();
        let mut failures = run(&cells);
        for (defect, check) in cells {
            let key = (defect.name, check.name);
            let expected = kept.is_some_and(|kept| kept.says(defect.name, check.name));
            for _ in 0..TRIES {
                if failures.contains_key(&key) == expected {
                    break;
                }
                match violation(defect.store, check.run) {
                    Some(message) => drop(failures.insert(key, message)),
                    None => drop(failures.remove(&key)),
                }
            }
        }
        Self { defects, failures }
    }

    pub(crate) fn defects(&self) -> &[Defective] {
        &self.defects
    }

    /// The clause functions, in the order of CONTRACT.md.
    pub(crate) fn clauses(&self) -> Vec<&'static str> {
        let names = Check::all().into_iter().map(|check| check.name);
        names.filter(|name| !BESIDE.contains(name)).collect()
    }

    pub(crate) fn fails(&self, defect: &Defective, check: &'static str) -> bool {
        self.failures.contains_key(&(defect.name, check))
    }

    /// The ids of the clauses that a defect fails beside the one that it is made for.
    pub(crate) fn other_ids(&self, defect: &Defective) -> Vec<String> {
        let own = id(defect.clause);
        let clauses = self.clauses().into_iter();
        let failed = clauses.filter(|clause| self.fails(defect, clause));
        let mut ids: Vec<String> = failed.map(id).filter(|id| *id != own).collect();
        ids.dedup();
        ids
    }

    /// What is wrong with the defects: that one does not fail the clause that it is made for, in
    /// the words of that clause, or that a clause has none.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for defect in &self.defects {
            let (name, clause) = (defect.name, defect.clause);
            match self.failures.get(&(name, clause)) {
                None => complaints.push(format!("{name} passes {clause}")),
                Some(message) if !says(message, &id(clause)) => {
                    complaints.push(format!("{name} breaks {clause} on the way: {message}"));
                }
                Some(_) => {}
            }
        }
        let made_for = self.defects.iter().map(|defect| defect.clause);
        let excepted = NEED_A_BROKEN_CONTROLLER.map(|(clause, _)| clause);
        let covered: Vec<_> = made_for.chain(excepted).collect();
        let clauses = self.clauses();
        let without = clauses.iter().filter(|clause| !covered.contains(clause));
        complaints.extend(without.map(|clause| format!("no defect is made for {clause}")));
        let unknown = covered.iter().filter(|clause| !clauses.contains(clause));
        complaints.extend(unknown.map(|clause| format!("there is no clause {clause}")));
        let names: BTreeSet<_> = self.defects.iter().map(|defect| defect.name).collect();
        if names.len() < self.defects.len() {
            complaints.push("two defects have one name".to_owned());
        }
        complaints
    }
}

/// Whether a message begins with a clause's id, behind what `assert_eq!` puts before it.
fn says(message: &str, id: &str) -> bool {
    let assertion = "assertion `left == right` failed: ";
    let said = message.strip_prefix(assertion).unwrap_or(message);
    said.strip_prefix(id)
        .is_some_and(|rest| rest.starts_with(": "))
}

/// The id of a clause function: `P5`.
pub(crate) fn id(clause: &str) -> String {
    let id = clause.split('_').next().unwrap_or_default();
    id.to_ascii_uppercase()
}

/// A defect, and a check of its store.
type Cell = (Defective, Check);

/// How often a check is tried again that does not come out as expected.
const TRIES: usize = 3;

/// How many checks run at a time: those that compute, and those that wait.
const COMPUTING: usize = 2;
const WAITING: usize = 8;

fn run(cells: &[Cell]) -> Failures {
    let (waiting, computing): (Vec<_>, Vec<_>) = cells.iter().partition(|(_, check)| check.waits());
    let queues = [
        (Queue::new(waiting), WAITING),
        (Queue::new(computing), COMPUTING),
    ];
    let failures = Mutex::default();
    std::thread::scope(|scope| {
        for (queue, threads) in &queues {
            for _ in 0..*threads {
                scope.spawn(|| queue.work(&failures));
            }
        }
    });
    failures
        .into_inner()
        .expect("no thread panics while it holds the lock")
}

/// Checks that several threads take from.
struct Queue {
    cells: Vec<Cell>,
    next: AtomicUsize,
}

impl Queue {
    const fn new(cells: Vec<Cell>) -> Self {
        let next = AtomicUsize::new(0);
        Self { cells, next }
    }

    fn work(&self, failures: &Mutex<Failures>) {
        let next = || self.cells.get(self.next.fetch_add(1, Ordering::Relaxed));
        while let Some((defect, check)) = next() {
            if let Some(message) = violation(defect.store, check.run) {
                let mut failures = failures.lock().expect("no thread panics while it holds it");
                failures.insert((defect.name, check.name), message);
            }
        }
    }
}
