//! What is generated: the settings, what the engine does, and what the store does.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// The longest schedule.
const STEPS_MAX: usize = 40;
/// The most calls that a schedule spoils.
const ACTS_MAX: usize = 12;
/// The keys that the records of a world have.
const KEYS: u8 = 6;

/// A schedule.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) settings: Settings,
    pub(crate) begin: Begin,
    pub(crate) steps: Vec<Step>,
    /// What the store does with its next batches; those after them it persists.
    pub(crate) acts: Vec<Act>,
    /// The same for claims.
    pub(crate) claims: Vec<ClaimAct>,
    pub(crate) end: End,
}

/// The settings of a controller that matter here.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) worlds: usize,
    pub(crate) coalescing: bool,
    pub(crate) batch_capacity: usize,
    pub(crate) batch_records_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) pending_records_max: usize,
    pub(crate) pending_bytes_max: usize,
    pub(crate) flush_interval_ms: u64,
    pub(crate) auto_save_interval_ms: u64,
    pub(crate) exposure_max_ms: Option<u64>,
    pub(crate) retry_longest_ms: u64,
}

/// How the worlds come to be open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// The store is there.
    Open,
    /// The store is away for so long, and the worlds are adopted as new ones.
    Adopt {
        away_ms: u16,
        /// Another has written to the first of them.
        stale: bool,
    },
}

/// One thing that the engine does. Worlds count modulo those that there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Record {
        world: u8,
        draft: Draft,
    },
    Submit {
        world: u8,
        drafts: Vec<Draft>,
    },
    Commit {
        world: u8,
        drafts: Vec<Draft>,
    },
    Change {
        world: u8,
        key: u8,
        /// The store refuses the new state.
        refused: bool,
    },
    Save,
    Flush,
    Read {
        world: u8,
    },
    Advance {
        ms: u16,
    },
    /// Another writer claims a world, and may write to it.
    Other {
        world: u8,
        writes: bool,
    },
    /// Opens a world that was stopped, and may take what it left.
    Open {
        world: u8,
        takes: bool,
    },
    /// Happens while the state source is asked the next time.
    Meanwhile {
        what: Meanwhile,
        before: bool,
    },
    /// The state source fails the next time.
    Source(SourceFault),
}

/// What the engine does on another thread while the state source is asked.
#[derive(Clone, Debug)]
pub(crate) enum Meanwhile {
    Change { key: u8 },
    Record(Draft),
    Save,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum SourceFault {
    PanicsBeforeTheCut,
    PanicsAfterTheCut,
    ForgetsOne,
}

/// A record that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) change: DraftChange,
    /// Of the collection whose history is `All`, not of that of the states.
    pub(crate) logged: bool,
    pub(crate) key: u8,
    /// The store refuses it.
    pub(crate) refused: bool,
    pub(crate) padding: u8,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum DraftChange {
    Put,
    Delete,
    Event,
}

/// What the store does with a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Persist,
    Delay {
        ms: u16,
    },
    /// Waits for so long, or until the next capture has made its cut.
    UntilCut {
        ms: u16,
    },
    /// Hangs until then, and fails.
    HangAndFail {
        ms: u16,
    },
    Unavailable,
    Full,
    /// Persists, and loses the answer.
    LoseAnswer,
    /// Loses the request, and does not know it.
    LoseRequest,
    Panic {
        persists: bool,
    },
    /// Cannot persist parts of one world.
    FailWorld {
        world: u8,
    },
    /// Nothing of the store can be reached for so long.
    Away {
        ms: u16,
    },
}

/// What the store does with a claim.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ClaimAct {
    Claim,
    Unavailable,
    LoseAnswer,
    Panic,
}

/// How a schedule ends.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// What is given to the first world just before.
    pub(crate) last: Option<Draft>,
    pub(crate) drops: bool,
    pub(crate) outage: Option<Outage>,
    /// Whether the controller is first left alone until it has recovered.
    pub(crate) waits: bool,
}

/// What the store answers for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outage {
    Unavailable,
    Full,
    LoseRequest,
    LoseAnswer,
    Hang,
}

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let steps = vec(step(), 1..=STEPS_MAX);
    let acts = vec(act(), 0..=ACTS_MAX);
    let all = (settings(), begin(), steps, acts, vec(claim(), 0..4), end());
    all.prop_map(|(settings, begin, steps, acts, claims, end)| Plan {
        settings,
        begin,
        steps,
        acts,
        claims,
        end,
    })
}

fn settings() -> impl Strategy<Value = Settings> {
    let bounds = (
        1..=3_usize,
        any::<bool>(),
        1..=10_usize,
        3..=8_usize,
        prop_oneof![Just(1 << 20), 120..240_usize],
        4..=24_usize,
        prop_oneof![3 => Just(1 << 20), 1 => 240..600_usize],
    );
    let times = (
        prop_oneof![Just(0), Just(50), Just(1000)],
        prop_oneof![Just(200), Just(3000)],
        option::weighted(0.2, 20..2000_u64),
        prop_oneof![Just(500), Just(2000)],
    );
    (bounds, times).prop_map(|(bounds, times)| Settings {
        worlds: bounds.0,
        coalescing: bounds.1,
        batch_capacity: bounds.2,
        batch_records_max: bounds.3,
        batch_bytes_max: bounds.4,
        pending_records_max: bounds.5,
        pending_bytes_max: bounds.6,
        flush_interval_ms: times.0,
        auto_save_interval_ms: times.1,
        // It is over the interval of flushes, or nothing could wait for its own.
        exposure_max_ms: times.2.map(|max| times.0 + max),
        retry_longest_ms: times.3,
    })
}

fn begin() -> impl Strategy<Value = Begin> {
    let adopt = (0..3000_u16, prop::bool::weighted(0.2));
    prop_oneof![
        4 => Just(Begin::Open),
        1 => adopt.prop_map(|(away_ms, stale)| Begin::Adopt { away_ms, stale }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let world = || 0..3_u8;
    let group = || (world(), vec(draft(), 1..=5));
    prop_oneof![
        10 => (world(), draft()).prop_map(|(world, draft)| Step::Record { world, draft }),
        6 => group().prop_map(|(world, drafts)| Step::Submit { world, drafts }),
        3 => group().prop_map(|(world, drafts)| Step::Commit { world, drafts }),
        6 => (world(), 0..KEYS, prop::bool::weighted(0.08))
            .prop_map(|(world, key, refused)| Step::Change { world, key, refused }),
        1 => Just(Step::Save),
        1 => Just(Step::Flush),
        1 => world().prop_map(|world| Step::Read { world }),
        9 => advance().prop_map(|ms| Step::Advance { ms }),
        1 => (world(), any::<bool>()).prop_map(|(world, writes)| Step::Other { world, writes }),
        2 => (world(), any::<bool>()).prop_map(|(world, takes)| Step::Open { world, takes }),
        2 => (meanwhile(), any::<bool>())
            .prop_map(|(what, before)| Step::Meanwhile { what, before }),
        1 => source_fault().prop_map(Step::Source),
    ]
}

fn advance() -> impl Strategy<Value = u16> {
    prop_oneof![Just(1), 1..60_u16, 60..1500_u16, Just(4000)]
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        (0..KEYS).prop_map(|key| Meanwhile::Change { key }),
        draft().prop_map(Meanwhile::Record),
        Just(Meanwhile::Save),
    ]
}

fn source_fault() -> impl Strategy<Value = SourceFault> {
    prop_oneof![
        Just(SourceFault::PanicsBeforeTheCut),
        Just(SourceFault::PanicsAfterTheCut),
        Just(SourceFault::ForgetsOne),
    ]
}

fn draft() -> impl Strategy<Value = Draft> {
    let change = prop_oneof![
        5 => Just(DraftChange::Put),
        1 => Just(DraftChange::Delete),
        2 => Just(DraftChange::Event),
    ];
    let (logged, refused) = (prop::bool::weighted(0.2), prop::bool::weighted(0.08));
    (change, logged, 0..KEYS, refused, 0..40_u8).prop_map(
        |(change, logged, key, refused, padding)| Draft {
            change,
            logged,
            key,
            refused,
            padding,
        },
    )
}

fn act() -> impl Strategy<Value = Act> {
    let ms = || prop_oneof![1..100_u16, 100..4000_u16];
    prop_oneof![
        6 => Just(Act::Persist),
        3 => ms().prop_map(|ms| Act::Delay { ms }),
        2 => ms().prop_map(|ms| Act::UntilCut { ms }),
        1 => ms().prop_map(|ms| Act::HangAndFail { ms }),
        2 => Just(Act::Unavailable),
        1 => Just(Act::Full),
        2 => Just(Act::LoseAnswer),
        2 => Just(Act::LoseRequest),
        1 => any::<bool>().prop_map(|persists| Act::Panic { persists }),
        2 => (0..3_u8).prop_map(|world| Act::FailWorld { world }),
        1 => ms().prop_map(|ms| Act::Away { ms }),
    ]
}

fn claim() -> impl Strategy<Value = ClaimAct> {
    prop_oneof![
        6 => Just(ClaimAct::Claim),
        1 => Just(ClaimAct::Unavailable),
        1 => Just(ClaimAct::LoseAnswer),
        1 => Just(ClaimAct::Panic),
    ]
}

fn end() -> impl Strategy<Value = End> {
    let outage = prop_oneof![
        Just(Outage::Unavailable),
        Just(Outage::Full),
        Just(Outage::LoseRequest),
        Just(Outage::LoseAnswer),
        Just(Outage::Hang),
    ];
    let parts = (
        option::of(draft()),
        prop::bool::weighted(0.35),
        option::weighted(0.4, outage),
        any::<bool>(),
    );
    parts.prop_map(|(last, drops, outage, waits)| End {
        last,
        drops,
        outage,
        waits,
    })
}
