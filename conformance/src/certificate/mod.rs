//! The certificate of a store: everything the suite has, run on it, and what came of it.

mod about;
mod date;
mod markdown;
mod measure;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aqevia_storage::{Capabilities, Clock, Durability, Error, SchemaPolicy, StoreInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::process::child::message_of;
use crate::process::{
    Launcher, controller_sweep, crash_sweep, no_room, room, start_up_storm, zombie,
};
use crate::suite::on_runtime;
use crate::{Clause, EQUIVALENCE_SEEDS, Harness, equivalence, faults, histories_of};

/// The rounds of the start-up storm.
const STORM_ROUNDS: u64 = 10;

/// The kills of each sweep that a certificate takes, at least.
pub const KILLS: u64 = 500;
/// The generated histories that it takes.
pub const HISTORIES: u32 = 512;

/// What a run lacks that is too short for a certificate: `5 of 500 kills`.
#[must_use]
pub fn shortness(kills: u64, histories: u32) -> Option<String> {
    let lacks = [
        (kills < KILLS).then(|| format!("{kills} of {KILLS} kills")),
        (histories < HISTORIES).then(|| format!("{histories} of {HISTORIES} histories")),
        room::is_left_out().then(|| format!("{} is off", room::OPT_OUT)),
    ];
    let lacks: Vec<_> = lacks.into_iter().flatten().collect();
    (!lacks.is_empty()).then(|| lacks.join(", "))
}

/// What the suite is: its version, and a hash of the contract and of its own sources, so that no
/// change of either leaves a certificate valid.
#[must_use]
pub fn suite_version() -> String {
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("AQEVIA_SUITE_HASH")).to_owned()
}

/// How much of each check is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What the store is called: `sqlite`.
    pub store: String,
    /// How a child of this process is started that runs the same harness.
    pub launcher: Launcher,
    /// Kills of the crash sweep and of the controller sweep, each.
    pub kills: u64,
    /// Generated histories.
    pub histories: u32,
    /// The seed of everything that is random.
    pub seed: u64,
    /// Checks of the engine's own.
    pub own: Vec<OwnCheck>,
}

/// A check that an engine has beside the suite's: its name, and what it found.
#[derive(Clone, Copy, Debug)]
pub struct OwnCheck {
    /// What it is called in the certificate.
    pub name: &'static str,
    /// What it does and what its figures are, for somebody who has only the page.
    pub about: &'static str,
    /// Runs it: an object of figures, or a panic.
    pub run: fn() -> Value,
}

/// What the suite found out about a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Certificate {
    /// What the store is called.
    pub store: String,
    /// What the run lacks, if it is too short for a certificate: see [`shortness`].
    pub short: Option<String>,
    /// The day in UTC on which the run began: `2026-03-01`.
    pub date: String,
    /// The operating system and the processor, and how the suite was built.
    pub machine: String,
    /// The suite, as [`suite_version`] says.
    pub suite: String,
    /// The engine and its version.
    pub engine: String,
    /// The version of the layout.
    pub layout: u32,
    /// What an acknowledged part survives, as declared.
    pub durability: String,
    /// Whether several backends may have the store open, as declared and checked.
    pub shared: bool,
    /// Whether a snapshot lets its world's writer go on, as declared and checked.
    pub snapshot: bool,
    /// Functions of clauses that were run.
    pub clauses: u64,
    /// Those that do not hold, each with the reason.
    pub broken: Map<String, Value>,
    /// Those that ask nothing of such a store, each with the reason.
    pub nothing_asked: Map<String, Value>,
    /// The other checks, in their order; also those that were not tried.
    pub checks: Vec<Check>,
}

/// A check and its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// What it is called.
    pub name: String,
    /// What it does, and what its figures are.
    pub about: String,
    /// Why it was not tried, if it was not.
    pub not_tried: Option<String>,
    /// What was tried and measured.
    pub figures: Map<String, Value>,
    /// Why it does not hold.
    pub failure: Option<String>,
}

impl Certificate {
    /// Whether everything holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.broken.is_empty() && self.checks.iter().all(|check| check.failure.is_none())
    }

    /// A figure of a check.
    #[must_use]
    pub fn figure(&self, check: &str, name: &str) -> Option<&Value> {
        let check = self.checks.iter().find(|found| found.name == check)?;
        check.figures.get(name)
    }

    /// The certificate for people.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::render(self)
    }

    /// Writes the certificate as `STORE.md` and `STORE.json` into a folder, which is made if it is
    /// not there. Returns the paths of both.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_to(&self, folder: &Path) -> io::Result<[PathBuf; 2]> {
        fs::create_dir_all(folder)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        let texts = [("md", self.to_markdown()), ("json", json)];
        let files = texts.map(|(extension, text)| {
            let file = folder.join(format!("{}.{extension}", self.store));
            fs::write(&file, text).map(|()| file)
        });
        let [page, json] = files;
        Ok([page?, json?])
    }
}

/// What [`certify`] tells while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Something is run next.
    Begins {
        /// What the certificate calls it; all clauses are one section.
        section: &'a str,
        /// The clause, or the section again.
        step: &'a str,
    },
    /// A step is done; a section may have many.
    StepDone,
}

/// How many steps [`certify`] tells of.
///
/// # Errors
/// As [`certify`].
pub fn steps<H: Harness>(plan: &Plan) -> Result<u64, String> {
    let declared = caught(|| on_runtime(async { H::new().await.capabilities() }))?;
    let clauses = Clause::all::<H>().len() as u64;
    let between = match (outlives_process(declared), declared.shared) {
        (false, _) => 0,
        (true, shared) => 4 + u64::from(shared) + 2 * plan.kills,
    };
    Ok(clauses + 4 + between + plan.own.len() as u64)
}

fn outlives_process(declared: Capabilities) -> bool {
    declared.durability != Durability::None
}

/// Runs the whole suite on stores of a harness, and tells `progress` how far it is.
///
/// What does not hold is in the certificate. The panics by which checks fail are caught, and the
/// hook that prints them is the caller's.
///
/// # Errors
/// If the first store cannot be made or opened: then there is nothing to certify.
pub fn certify<H: Harness>(
    plan: &Plan,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Certificate, String> {
    let date = date::of(Clock::system().now_ms());
    let store = caught(first_store::<H>)?
        .map_err(|error| format!("the first store cannot be opened: {error}"))?;
    let (clauses, broken) = run_clauses::<H>(progress);
    Ok(Certificate {
        store: plan.store.clone(),
        short: shortness(plan.kills, plan.histories),
        date,
        machine: machine(),
        suite: suite_version(),
        engine: store.info.engine,
        layout: store.info.layout,
        durability: named(store.info.capabilities.durability),
        shared: store.info.capabilities.shared,
        snapshot: store.info.capabilities.snapshot,
        clauses,
        broken,
        nothing_asked: store.nothing_asked,
        checks: checks::<H>(plan, store.declared, progress),
    })
}

/// What is known of the stores before anything is checked.
struct FirstStore {
    info: StoreInfo,
    declared: Capabilities,
    nothing_asked: Map<String, Value>,
}

fn first_store<H: Harness>() -> Result<FirstStore, Error> {
    on_runtime(async {
        let harness = H::new().await;
        let info = harness.open().await.init(SchemaPolicy::Upgrade).await?;
        let clauses = Clause::all::<H>().into_iter();
        let nothing_asked = clauses.filter_map(|clause| {
            let reason = clause.asks_nothing(&harness)?;
            Some((clause.name.to_owned(), Value::String(reason.to_owned())))
        });
        Ok(FirstStore {
            info,
            declared: harness.capabilities(),
            nothing_asked: nothing_asked.collect(),
        })
    })
}

/// Runs all clauses: how many there are, and those that do not hold.
fn run_clauses<H: Harness>(progress: &mut dyn FnMut(Progress<'_>)) -> (u64, Map<String, Value>) {
    let clauses = Clause::all::<H>();
    let mut broken = Map::new();
    for clause in &clauses {
        let (section, step) = ("clauses", clause.name);
        progress(Progress::Begins { section, step });
        if let Err(reason) = caught(clause.run) {
            broken.insert(clause.name.to_owned(), Value::String(reason));
        }
        progress(Progress::StepDone);
    }
    (clauses.len() as u64, broken)
}

fn named(durability: Durability) -> String {
    format!("{durability:?}")
}

fn machine() -> String {
    let build = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let (os, processor) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{os} {processor}, {build} build")
}

/// The checks that were run, and who is told of the next.
struct Checks<'a> {
    done: Vec<Check>,
    progress: &'a mut dyn FnMut(Progress<'_>),
}

impl Checks<'_> {
    /// Runs a check, which may count steps of its own.
    fn run(&mut self, (name, about): (&str, &str), run: impl FnOnce(&mut dyn FnMut()) -> Value) {
        let (section, step) = (name, name);
        (self.progress)(Progress::Begins { section, step });
        let check = Check::run(name, about, || {
            run(&mut || (self.progress)(Progress::StepDone))
        });
        self.done.push(check);
        (self.progress)(Progress::StepDone);
    }

    fn not_tried(&mut self, (name, about): (&str, &str), reason: &str) {
        let check = Check::new(name, about);
        self.done.push(Check {
            not_tried: Some(reason.to_owned()),
            ..check
        });
    }
}

fn checks<H: Harness>(
    plan: &Plan,
    declared: Capabilities,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Vec<Check> {
    let mut checks = Checks {
        done: Vec::new(),
        progress,
    };
    checks.run(about::HISTORIES, |_| {
        histories_of::<H>(plan.histories, plan.seed);
        json!({ "cases": plan.histories, "seed": plan.seed })
    });
    checks.run(about::EQUIVALENCE, |_| {
        let hash = equivalence::<H>(EQUIVALENCE_SEEDS);
        let seeds = format!("{EQUIVALENCE_SEEDS:?}");
        json!({ "seeds": seeds, "hash": hash.to_hex().as_str() })
    });
    checks.run(about::FAULTS, |_| value(&faults::<H>()));
    between_processes::<H>(plan, declared, &mut checks);
    for own in &plan.own {
        checks.run((own.name, own.about), |_| (own.run)());
    }
    checks.run(about::FIGURES, |_| value(&measure::figures::<H>()));
    checks.done
}

/// What only concerns a store that outlives its process.
fn between_processes<H: Harness>(plan: &Plan, declared: Capabilities, checks: &mut Checks<'_>) {
    if !outlives_process(declared) {
        for check in about::BETWEEN_PROCESSES {
            checks.not_tried(check, "the store ends with its process");
        }
        return;
    }
    let (launcher, seed) = (&plan.launcher, plan.seed);
    checks.run(about::CRASH_SWEEP, |done| {
        value(&crash_sweep::<H>(launcher, plan.kills, seed, &mut |_| {
            done();
        }))
    });
    checks.run(about::CONTROLLER_SWEEP, |done| {
        let kills = plan.kills;
        value(&controller_sweep::<H>(launcher, kills, seed, &mut |_| {
            done();
        }))
    });
    match declared.shared {
        true => checks.run(about::ZOMBIE, |_| value(&zombie::<H>(launcher, seed))),
        false => checks.not_tried(about::ZOMBIE, "one process at a time has the store open"),
    }
    checks.run(about::STORM, |_| {
        value(&start_up_storm::<H>(launcher, STORM_ROUNDS, seed))
    });
    checks.run(about::NO_ROOM, |_| value(&no_room::<H>(launcher, seed)));
}

fn value(report: &impl Serialize) -> Value {
    serde_json::to_value(report).expect("a report is an object")
}

impl Check {
    fn new(name: &str, about: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            not_tried: None,
            figures: Map::new(),
            failure: None,
        }
    }

    fn run(name: &str, about: &str, run: impl FnOnce() -> Value) -> Self {
        let mut check = Self::new(name, about);
        match caught(run) {
            Ok(Value::Object(figures)) => check.figures = figures,
            Ok(value) => drop(check.figures.insert("result".to_owned(), value)),
            Err(reason) => check.failure = Some(reason),
        }
        // A check that was not tried has nothing but zeros to tell.
        if let Some(Value::String(reason)) = check.figures.remove("not_tried") {
            check.figures.clear();
            check.not_tried = Some(reason);
        }
        check
    }
}

/// What a check returns, or the message of its panic.
fn caught<T>(check: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| message_of(&*panic))
}

#[cfg(test)]
mod tests;
