//! The crash sweep: a child persists parts and is killed, and nothing is lost.

use aqevia_storage::StorageBackend;
use tokio::time::Duration;

use super::Verdict;
use super::child::Task;
use super::launcher::Launcher;
use super::ledger::Ledger;
use super::line::Line;
use super::report::CrashReport;
use super::schedule::CALLS_SWEPT;
use super::sweep::{Books, Swept, Words, sweep};
use super::tally::Tally;
use super::within::Cut;
use crate::Harness;

/// How many batches a child persists at most.
const CALLS_MAX: u64 = 12;

/// Kills children of a store's writer as often as asked for, and checks the store after each kill.
///
/// Only for stores whose declared durability is not `None`. `progress` is told how many kills there
/// have been. After a kill the store is opened and compared with what it has to hold, but where the
/// next kill is to hit that opening. First and last a child ends by itself.
///
/// # Panics
/// If the store breaks the contract: the message begins with the clause's id. If a child hangs or
/// ends early. If fewer than one in twenty of the kills fell inside commits, or within statements
/// where a batch is one: nothing was shown then.
pub fn crash_sweep<H: Harness>(
    launcher: &Launcher,
    kills: u64,
    seed: u64,
    progress: &mut dyn FnMut(u64),
) -> CrashReport {
    let Swept { report, tally, .. } = sweep::<H, Ledger>(launcher, kills, seed, progress);
    CrashReport {
        swept: report,
        acknowledged_parts: tally.acknowledged,
        found_parts: tally.found,
        lost: tally.lost(),
        doubled: tally.doubled,
    }
}

impl Books for Ledger {
    const WORDS: Words = Words {
        name: "crash sweep",
        things: "parts",
        lost: "P2",
        doubled: "P5",
    };

    /// What is written follows from the number of the child, which no two stores share.
    fn new(seed: u64, _store: u64) -> Self {
        Self::of_seed(seed)
    }

    fn task(&mut self, run: u64, ends: bool) -> Task {
        let calls = if ends { CALLS_SWEPT } else { CALLS_MAX };
        Task::Write { run, calls, ends }
    }

    fn hear(&mut self, run: u64, line: &Line) -> Verdict {
        self.take_down(run, line)
    }

    fn writes(&self) -> bool {
        self.has_begun()
    }

    fn cut(&mut self) -> &mut Cut {
        &mut self.cut
    }

    async fn check(&mut self, backend: &dyn StorageBackend, run: u64) -> Verdict<Duration> {
        self.compare_and_write(backend, run).await
    }

    async fn tally(&self, backend: &dyn StorageBackend) -> Verdict<Tally> {
        self.count(backend).await
    }
}
