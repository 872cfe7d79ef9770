//! The controller sweep: a child with a whole controller in it is killed, and what an engine was
//! told is stored is there.
//!
//! The engine plays a script in each world, which follows from a seed. What it tells beforehand is
//! how far it goes; what it was told itself is told at once. So the parent knows of each place of
//! the script whether it may be in the store, and whether it has to be.

mod engine;
mod ledger;
pub(super) mod play;
mod script;
mod telling;
mod track;
mod verify;
mod watch;

use super::launcher::Launcher;
use super::report::{ControllerReport, Percentiles};
use super::sweep::{Swept, sweep};
use crate::Harness;
use ledger::Ledger;

/// Kills processes with a [`StorageController`](aqevia_storage::StorageController) in them as often
/// as asked for, and checks with a plain backend after each kill what they left.
///
/// In each world an engine hands over records without tickets, groups with tickets and commits,
/// changes entities that are captured, and saves. After a kill the next process opens the worlds,
/// reads what is stored, and goes on behind it. What has to hold:
///
/// - What a ticket, a commit or a save acknowledged is stored, with all before it (C1).
/// - The log is the script's from its beginning, without holes, and nothing is in it twice (C2).
/// - A group is there as a whole or not at all (C4).
/// - Each key has the state that the script gave it, or a newer one that took its place (C2).
/// - The entities stand as at one moment of the script, and all that was handed over before that
///   moment is there as well (C9).
/// - After a process that nobody disturbs, the store holds the script to its end (C6).
///
/// Only for stores whose declared durability is not `None`. `progress` is told how many kills there
/// have been.
///
/// # Panics
/// If the store or the controller breaks the contract: the message begins with the clause's id. If
/// a child hangs or ends early. If fewer than one in twenty of the kills fell inside commits, or if
/// nothing was acknowledged, captured or coalesced: nothing was shown then.
pub fn controller_sweep<H: Harness>(
    launcher: &Launcher,
    kills: u64,
    seed: u64,
    progress: &mut dyn FnMut(u64),
) -> ControllerReport {
    let swept = sweep::<H, Ledger>(launcher, kills, seed, progress);
    let Swept {
        report,
        tally,
        books,
    } = swept;
    let mut report = ControllerReport {
        swept: report,
        acknowledged_groups: tally.acknowledged,
        found_groups: tally.found,
        lost: tally.lost(),
        doubled: tally.doubled,
        ..ControllerReport::default()
    };
    let mut resumes = Vec::new();
    for counts in books.into_iter().map(Ledger::into_counts) {
        report.acknowledged_saves += counts.saves;
        report.captures += counts.captures;
        report.coalesced += counts.coalesced;
        resumes.extend(counts.resumes);
    }
    report.resume_ms = Percentiles::of(resumes);
    let shown = [
        report.acknowledged_groups,
        report.acknowledged_saves,
        report.captures,
        report.coalesced,
    ];
    assert!(
        !shown.contains(&0),
        "the sweep shows nothing: of groups, saves, captures and coalesced records there were \
         {shown:?} (seed {seed})"
    );
    report
}
