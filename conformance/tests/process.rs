//! The checks between processes bite: a store that is broken in one way fails the check that looks
//! for it, and the message begins with the clause that it breaks.

#![expect(
    clippy::expect_used,
    reason = "the store below is test code, in a module of its own"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use conformance::process::{
    Launcher, controller_sweep, crash_sweep, no_room, start_up_storm, zombie,
};

#[path = "process/entry.rs"]
mod entry;
#[path = "process/journal.rs"]
mod journal;
#[path = "process/store.rs"]
mod store;

use journal::{Defect, JournalHarness};

/// Change it to try other records, another order of kills, and other moments.
const SEED: u64 = 1207;
/// Enough to hit each step of the store below.
const KILLS: u64 = 60;

/// Runs a check, and expects it to say itself that one of the clauses does not hold.
fn finds<T>(clauses: &[&str], check: impl FnOnce() -> T) -> String {
    let panic = catch_unwind(AssertUnwindSafe(check)).err();
    let panic = panic.expect("the check does not find the defect");
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
    let text = text.unwrap_or_default();
    let found = clauses
        .iter()
        .any(|clause| text.starts_with(&format!("{clause}: ")));
    assert!(found, "none of {clauses:?}, but: {text}");
    text
}

/// One module a defect: its name, the test of a child, and the test that it is found.
macro_rules! defects {
    ($($name:ident: $defect:ident is found by $check:ident as $($clause:literal)|+;)*) => {$(
        mod $name {
            use super::*;

            #[derive(Debug)]
            pub(crate) struct Broken;

            impl journal::Kind for Broken {
                const DEFECT: Defect = Defect::$defect;
            }

            #[test]
            fn child() {
                conformance::process::child::<JournalHarness<Broken>>();
            }

            #[test]
            fn is_found() {
                let launcher = Launcher::of_test(concat!(module_path!(), "::child"));
                let text = finds(&[$($clause),+], || $check::<JournalHarness<Broken>>(&launcher));
                assert!(!text.contains("shows nothing"), "{text}");
            }
        }
    )*};
}

fn sweep<H: conformance::Harness>(launcher: &Launcher) {
    crash_sweep::<H>(launcher, KILLS, SEED, &mut |_| {});
}

fn controlled<H: conformance::Harness>(launcher: &Launcher) {
    controller_sweep::<H>(launcher, KILLS, SEED, &mut |_| {});
}

fn stopped<H: conformance::Harness>(launcher: &Launcher) {
    zombie::<H>(launcher, SEED);
}

fn storm<H: conformance::Harness>(launcher: &Launcher) {
    start_up_storm::<H>(launcher, 5, SEED);
}

fn full<H: conformance::Harness>(launcher: &Launcher) {
    no_room::<H>(launcher, SEED);
}

defects! {
    a_part_acknowledged_before_it_is_written: WritesLater is found by sweep as "P2";
    a_part_held_until_the_next_call: OneBehind is found by sweep as "P2";
    a_part_written_in_two_halves: TwoHalves is found by sweep as "P1";
    a_part_forgotten_and_written_again: Forgetful is found by sweep as "P5";
    a_torn_entry_that_is_not_cut_off: KeepsTail is found by sweep as "P2" | "P6";
    a_part_made_twice_at_recovery: RecoversTwice is found by sweep as "P5" | "P6";
    a_group_acknowledged_before_it_is_written: WritesLater is found by controlled as "C1" | "P2";
    a_group_held_until_the_next_call: OneBehind is found by controlled as "C1" | "P2";
    a_group_written_in_two_halves: TwoHalves is found by controlled as "P1" | "P2" | "C4" | "C9";
    a_group_written_behind_a_torn_entry: KeepsTail is found by controlled as "C1" | "P2";
    a_group_made_twice_at_recovery: RecoversTwice is found by controlled as "C2";
    a_stopped_writer_let_through: NotFencing is found by stopped as "P6";
    a_store_made_by_each_process: MakesAgain is found by storm as "B2" | "P6" | "P11";
    a_full_disk_not_noticed: IgnoresFull is found by full as "P2";
    a_full_disk_taken_for_damage: FullIsCorrupt is found by full as "E1";
    a_refused_part_that_stays: KeepsRefused is found by full as "E1";
}

/// The store without a defect passes: it is the defects that are found.
mod sound {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct Sound;

    impl journal::Kind for Sound {
        const DEFECT: Defect = Defect::None;
    }

    conformance::process_tests!(JournalHarness<Sound>);
}

/// A store that is open in one process at a time passes, and one that says so and is not is found.
mod alone {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct Alone;

    impl journal::Kind for Alone {
        const DEFECT: Defect = Defect::None;
        const SHARED: bool = false;
    }

    conformance::process_tests!(JournalHarness<Alone>);
}

mod not_alone {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct NotAlone;

    impl journal::Kind for NotAlone {
        const DEFECT: Defect = Defect::LetsOthersIn;
        const SHARED: bool = false;
    }

    #[test]
    fn child() {
        conformance::process::child::<JournalHarness<NotAlone>>();
    }

    #[test]
    fn is_found() {
        let launcher = Launcher::of_test(concat!(module_path!(), "::child"));
        finds(&["B8"], || storm::<JournalHarness<NotAlone>>(&launcher));
    }
}

/// A store that tells of no step shows nothing about writers that are stopped, and the check says so.
mod mute {
    use super::*;

    #[derive(Debug)]
    pub(crate) struct Mute;

    impl journal::Kind for Mute {
        const DEFECT: Defect = Defect::TellsNoSteps;
    }

    #[test]
    fn child() {
        conformance::process::child::<JournalHarness<Mute>>();
    }

    #[test]
    fn is_found() {
        let launcher = Launcher::of_test(concat!(module_path!(), "::child"));
        let text = finds(&["P6"], || stopped::<JournalHarness<Mute>>(&launcher));
        assert!(text.contains("shows nothing"), "{text}");
    }
}
