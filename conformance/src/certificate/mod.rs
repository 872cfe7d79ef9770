//! The certificate of a store: everything the suite has, run on it, and what came of it.

mod markdown;
mod measure;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::{fs, io};

use aqevia_storage::{Durability, SchemaPolicy, StoreInfo};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::process::{
    Launcher, crash_sweep, is_shared, no_room, outlives_process, start_up_storm, zombie,
};
use crate::suite::on_runtime;
use crate::{Clause, EQUIVALENCE_SEEDS, Harness, equivalence, faults, histories_of};

/// The rounds of the start-up storm.
const STORM_ROUNDS: u64 = 10;

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
    /// Kills of the crash sweep, at least.
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
    /// Runs it: an object of figures, or a panic.
    pub run: fn() -> Value,
}

/// What the suite found out about a store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Certificate {
    /// What the store is called.
    pub store: String,
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
    /// The other checks, in their order.
    pub checks: Vec<Check>,
}

/// A check and its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// What it is called.
    pub name: String,
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

/// How many steps [`certify`] tells of.
#[must_use]
pub fn steps<H: Harness>(plan: &Plan) -> u64 {
    let clauses = Clause::all::<H>().len() as u64;
    let between = match (outlives_process::<H>(), is_shared::<H>()) {
        (false, _) => 0,
        (true, shared) => 3 + u64::from(shared) + plan.kills,
    };
    clauses + 4 + between + plan.own.len() as u64
}

/// Runs the whole suite on stores of a harness. `progress` is told what is run next, once a step.
pub fn certify<H: Harness>(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Certificate {
    let info = info::<H>();
    let mut broken = Map::new();
    let clauses = Clause::all::<H>();
    for clause in &clauses {
        progress(clause.name);
        if let Err(reason) = caught(clause.run) {
            broken.insert(clause.name.to_owned(), Value::String(reason));
        }
    }
    Certificate {
        store: plan.store.clone(),
        suite: suite_version(),
        engine: info.engine,
        layout: info.layout,
        durability: named(info.capabilities.durability),
        shared: info.capabilities.shared,
        snapshot: info.capabilities.snapshot,
        clauses: clauses.len() as u64,
        broken,
        checks: checks::<H>(plan, progress),
    }
}

fn info<H: Harness>() -> StoreInfo {
    on_runtime(async {
        let harness = H::new().await;
        let backend = harness.open().await;
        backend.init(SchemaPolicy::Upgrade).await.expect("`init`")
    })
}

fn named(durability: Durability) -> String {
    format!("{durability:?}")
}

/// The checks that were run, and who is told of the next.
struct Checks<'a> {
    done: Vec<Check>,
    progress: &'a mut dyn FnMut(&str),
}

impl Checks<'_> {
    fn run(&mut self, name: &str, run: impl FnOnce(&mut dyn FnMut(&str)) -> Value) {
        (self.progress)(name);
        let check = Check::run(name, || run(self.progress));
        self.done.push(check);
    }
}

fn checks<H: Harness>(plan: &Plan, progress: &mut dyn FnMut(&str)) -> Vec<Check> {
    let mut checks = Checks {
        done: Vec::new(),
        progress,
    };
    checks.run("generated histories", |_| {
        histories_of::<H>(plan.histories, plan.seed);
        json!({ "cases": plan.histories, "seed": plan.seed })
    });
    checks.run("equivalence", |_| {
        let hash = equivalence::<H>(EQUIVALENCE_SEEDS);
        let seeds = format!("{EQUIVALENCE_SEEDS:?}");
        json!({ "seeds": seeds, "hash": hash.to_hex().as_str() })
    });
    checks.run("faults", |_| value(&faults::<H>()));
    if outlives_process::<H>() {
        between_processes::<H>(plan, &mut checks);
    }
    for own in &plan.own {
        checks.run(own.name, |_| (own.run)());
    }
    checks.run("figures", |_| value(&measure::figures::<H>()));
    checks.done
}

/// What only concerns a store that outlives its process.
fn between_processes<H: Harness>(plan: &Plan, checks: &mut Checks<'_>) {
    let (launcher, seed) = (&plan.launcher, plan.seed);
    checks.run("crash sweep", |progress| {
        let mut kill = |_| progress("crash sweep");
        value(&crash_sweep::<H>(launcher, plan.kills, seed, &mut kill))
    });
    if is_shared::<H>() {
        checks.run("zombie", |_| value(&zombie::<H>(launcher, seed)));
    }
    checks.run("start-up storm", |_| {
        value(&start_up_storm::<H>(launcher, STORM_ROUNDS, seed))
    });
    checks.run("no room", |_| value(&no_room::<H>(launcher, seed)));
}

fn value(report: &impl Serialize) -> Value {
    serde_json::to_value(report).expect("a report is an object")
}

impl Check {
    fn run(name: &str, run: impl FnOnce() -> Value) -> Self {
        let (figures, failure) = match caught(run) {
            Ok(Value::Object(figures)) => (figures, None),
            Ok(value) => (Map::from_iter([("result".to_owned(), value)]), None),
            Err(reason) => (Map::new(), Some(reason)),
        };
        Self {
            name: name.to_owned(),
            figures,
            failure,
        }
    }
}

/// What a check returns, or the message of its panic.
fn caught<T>(check: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "a panic without a message".to_owned())
    })
}
