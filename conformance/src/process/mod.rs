//! What only shows between processes: kills, a writer that is stopped, a start of many at once, and
//! a folder without room.
//!
//! Each check starts child processes on the store of a harness, which [`Harness::at`] finds. A
//! child is the same program again: a [`Launcher`] says how to start it, and [`child`] is what it
//! calls. The checks are functions with a report, for certificates; the macro
//! [`conformance_suite!`](crate::conformance_suite) makes a short test of each.

use aqevia_storage::Durability;

use crate::Harness;

mod announce;
pub(crate) mod child;
mod compare;
mod controller;
mod crash;
mod filling;
mod launcher;
mod ledger;
mod line;
mod plan;
mod report;
pub(crate) mod room;
mod schedule;
mod starting;
mod stopped;
mod storm;
mod sweep;
mod tally;
mod verify;
mod within;
mod writes;
mod zombie;

pub use child::child;
pub use controller::controller_sweep;
pub use crash::crash_sweep;
pub use launcher::Launcher;
pub use report::{ControllerReport, CrashReport, KillReport, Percentiles, ZombieReport};
pub use room::{RoomReport, no_room};
pub use storm::{StormReport, start_up_storm};
pub use zombie::zombie;

/// What a step of a check comes to; the error is the message of a panic.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// The kills of each short sweep, unless `AQEVIA_TEST_KILLS` says how many.
const KILLS: u64 = 40;
/// The rounds of the short storm.
const ROUNDS: u64 = 3;

/// What a store has, as far as it decides which checks apply to it.
fn declared<H: Harness>() -> aqevia_storage::Capabilities {
    // Order matters: a harness may need a runtime to be made, and to end.
    crate::suite::on_runtime(async { H::new().await.capabilities() })
}

/// Whether a store outlives its process: the contract promises nothing between processes elsewhere.
pub fn outlives_process<H: Harness>() -> bool {
    declared::<H>().durability != Durability::None
}

/// Whether several processes may have a store open that outlives them.
pub fn is_shared<H: Harness>() -> bool {
    let declared = declared::<H>();
    declared.durability != Durability::None && declared.shared
}

/// The runtime on which a check opens stores, while its own thread attends to children.
fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime")
}

/// A seed that no test had before, or the one that `AQEVIA_TEST_SEED` gives.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};

    number("AQEVIA_TEST_SEED").unwrap_or_else(|| RandomState::new().hash_one(0))
}

/// The number that a variable of the environment holds, if it is set.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable}={text}: must be a number")))
}

/// The short forms of the checks, as the macro [`conformance_suite!`](crate::conformance_suite)
/// calls them. Each returns at once where the contract promises nothing.
#[doc(hidden)]
pub mod short {
    use super::{KILLS, Launcher, ROUNDS, is_shared, number, outlives_process, seed};
    use crate::Harness;

    /// A test that passes keeps this to itself, unless it is run with `--nocapture`.
    fn show(report: &impl std::fmt::Debug) {
        eprintln!("{report:#?}");
    }

    pub fn crash_sweep<H: Harness>(launcher: &Launcher) {
        if outlives_process::<H>() {
            let kills = number("AQEVIA_TEST_KILLS").unwrap_or(KILLS);
            show(&super::crash_sweep::<H>(
                launcher,
                kills,
                seed(),
                &mut |_| {},
            ));
        }
    }

    pub fn controller_sweep<H: Harness>(launcher: &Launcher) {
        if outlives_process::<H>() {
            let kills = number("AQEVIA_TEST_KILLS").unwrap_or(KILLS);
            show(&super::controller_sweep::<H>(
                launcher,
                kills,
                seed(),
                &mut |_| {},
            ));
        }
    }

    pub fn zombie<H: Harness>(launcher: &Launcher) {
        if is_shared::<H>() {
            show(&super::zombie::<H>(launcher, seed()));
        }
    }

    pub fn start_up_storm<H: Harness>(launcher: &Launcher) {
        if outlives_process::<H>() {
            show(&super::start_up_storm::<H>(launcher, ROUNDS, seed()));
        }
    }

    pub fn no_room<H: Harness>(launcher: &Launcher) {
        if outlives_process::<H>() {
            show(&super::no_room::<H>(launcher, seed()));
        }
    }
}

/// Makes one short test of each check between processes, and the test that is their child.
#[doc(hidden)]
#[macro_export]
macro_rules! process_tests {
    ($harness:ty) => {
        /// Does the job of a child process, if this is one; the tests below start it.
        #[test]
        fn child() {
            $crate::process::child::<$harness>();
        }

        $crate::process_tests!(@each
            $harness, crash_sweep, controller_sweep, zombie, start_up_storm, no_room
        );
    };
    (@each $harness:ty, $($check:ident),*) => {$(
        #[test]
        fn $check() {
            let child = concat!(module_path!(), "::child");
            let launcher = $crate::process::Launcher::of_test(child);
            $crate::process::short::$check::<$harness>(&launcher);
        }
    )*};
}
