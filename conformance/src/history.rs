//! Generated histories: whatever is done to a store, it answers and holds what the model says.

use std::hash::{BuildHasher, RandomState};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::Harness;
use crate::run::Run;

/// The cases that are run unless `PROPTEST_CASES` asks for more.
const CASES_MIN: u32 = 256;
/// The longest history.
const STEPS_MAX: usize = 30;
/// The length of a history that is made from a seed.
const SEEDED_STEPS: usize = 60;

/// One thing that is done to a store. Worlds, keys and parts are numbers; [`Run`] names them.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A batch of one part a world.
    Persist(Vec<Attempt>),
    /// Another writer claims a world.
    Claim { world: u8 },
    /// The backend is closed or just dropped, and another is opened.
    Reopen { close: bool },
    /// Everything is read and compared, in pages of so many items and bytes.
    Read { items: usize, bytes: usize },
}

/// A part that somebody persists.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) world: u8,
    pub(crate) what: What,
    pub(crate) records: Vec<Draft>,
}

/// Which part it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    /// The part that follows.
    Next,
    /// A part that was written, so many before the last, again.
    Repeat { back: u8 },
    /// Other content under the number of a part that was written, so many before the last.
    Alter { back: u8 },
    /// A number that leaves out so many.
    Skip { over: u8 },
    /// The part that follows, by the writer whose claim came so many before the last.
    Fenced { claims_back: u8 },
    /// The part that follows, of an epoch that nobody has claimed yet.
    Unclaimed,
}

/// A record that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) logged: bool,
    pub(crate) change: DraftChange,
    pub(crate) key: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) timestamp: i64,
}

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum DraftChange {
    Put,
    Delete,
    Event,
}

/// Runs generated histories against new stores: 256, or as many more as `PROPTEST_CASES` says.
///
/// # Panics
/// If a store answers or holds anything but what the model says. The message shows the shortest
/// history that was found to do so, and how to run it again.
pub fn histories<H: Harness>() {
    run_all::<H>(config());
}

/// Runs as many generated histories as asked for, of a seed, against new stores.
///
/// # Panics
/// As [`histories`].
pub fn histories_of<H: Harness>(cases: u32, seed: u64) {
    run_all::<H>(Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    });
}

fn run_all<H: Harness>(config: Config) {
    let again = format!(
        "PROPTEST_RNG_SEED={} PROPTEST_CASES={} cargo test histories",
        config.rng_seed, config.cases
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let steps = prop::collection::vec(step(), 1..=STEPS_MAX);
    let outcome =
        TestRunner::new(config).run(&steps, |steps| runtime.block_on(Run::<H>::all(&steps)));
    if let Err(error) = outcome {
        panic!("a store is not as the model says; to run this again:\n{again}\n{error}");
    }
}

/// The history of a seed: the same on every machine.
pub(crate) fn seeded(seed: u64) -> Vec<Step> {
    let config = Config {
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(step(), SEEDED_STEPS);
    let tree = steps.new_tree(&mut TestRunner::new(config));
    tree.expect("a history").current()
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

fn step() -> impl Strategy<Value = Step> {
    let claim = (0..3_u8).prop_map(|world| Step::Claim { world });
    let reopen = any::<bool>().prop_map(|close| Step::Reopen { close });
    let read = (0..8_usize, 0..80_usize).prop_map(|(items, bytes)| Step::Read { items, bytes });
    prop_oneof![
        8 => prop::collection::vec(attempt(), 1..=3).prop_map(Step::Persist),
        4 => claim,
        1 => reopen,
        2 => read,
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let records = prop::collection::vec(draft(), 0..6);
    (0..3_u8, what(), records).prop_map(|(world, what, records)| Attempt {
        world,
        what,
        records,
    })
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        12 => Just(What::Next),
        3 => (0..4_u8).prop_map(|back| What::Repeat { back }),
        1 => (0..4_u8).prop_map(|back| What::Alter { back }),
        1 => (1..4_u8).prop_map(|over| What::Skip { over }),
        2 => (1..3_u8).prop_map(|claims_back| What::Fenced { claims_back }),
        1 => Just(What::Unclaimed),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let change = prop_oneof![
        4 => Just(DraftChange::Put),
        2 => Just(DraftChange::Delete),
        2 => Just(DraftChange::Event),
    ];
    let payload = prop::collection::vec(any::<u8>(), 0..8);
    let drafts = (any::<bool>(), change, 0..5_u8, payload, any::<i64>());
    drafts.prop_map(|(logged, change, key, payload, timestamp)| Draft {
        logged,
        change,
        key,
        payload,
        timestamp,
    })
}
