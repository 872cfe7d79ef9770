//! A replay from its start to its report.

use std::sync::Arc;

use anyhow::Context;
use aqevia::{Durability, StorageBackend, StorageConfig, StorageController, WorldId};
use indicatif::{ProgressBar, ProgressStyle};

use super::dump::{check, dump};
use super::expected::Expected;
use super::fresh::refuse_stored;
use super::halt::Halt;
use super::locate::locate;
use super::options::Options;
use super::play::{Engine, Start};
use super::report::{Report, Verdict};
use super::stored::{Stored, heads};
use super::turns::Turns;
use super::verify::{Differences, compare};
use super::wait::Waiter;

/// Plays, persists, verifies and dumps, as the options say.
///
/// # Errors
/// What kept the replay from playing at all, or from closing the store with everything in it. What
/// ended it early otherwise is in the report.
pub fn run(options: &Options) -> Result<Report, Halt> {
    let waiter = Waiter::listen().context("listen for signals");
    let run = Run {
        options,
        config: options.config()?,
        waiter: waiter.map_err(Halt::Store)?,
    };
    run.run()
}

struct Run<'a> {
    options: &'a Options,
    config: StorageConfig,
    waiter: Waiter,
}

impl Run<'_> {
    fn run(&self) -> Result<Report, Halt> {
        // Order matters: no store is made for a stream that is not there, or a dump that cannot be.
        drop(self.turns(&ProgressBar::hidden())?);
        self.check_dump().map_err(Halt::Store)?;
        let store = aqevia::open_with(&self.config)?;
        let controller = self.start(store)?;
        self.refuse_stored(&controller)?;
        let mut expected = Expected::default();
        let mut report = self.play(&controller, &mut expected);
        let (compare, outlives) = (is_comparable(&report), report.outlives);
        if compare && !outlives {
            self.examine(&controller, &mut expected, &mut report);
        }
        report.store_bytes = self.store_bytes(&controller, &expected);
        controller.shutdown_blocking()?;
        report.flush_count = controller.stats().flush_count;
        drop(controller);
        if compare && outlives {
            let controller = self.start(aqevia::open_with(&self.config)?)?;
            self.examine(&controller, &mut expected, &mut report);
            controller.shutdown_blocking()?;
        }
        Ok(report)
    }

    fn check_dump(&self) -> anyhow::Result<()> {
        let Some(path) = &self.options.dump else {
            return Ok(());
        };
        let mut others = vec![self.options.input.clone()];
        if matches!(self.config.url.scheme(), "sqlite" | "sled") {
            let store = self.config.url.path()?;
            let files = ["", "-wal", "-shm", "-journal"];
            others.extend(files.map(|suffix| format!("{store}{suffix}").into()));
        }
        check(path, &others)
    }

    /// Starts a controller. A signal does not break that off: half a store is none.
    fn start(&self, store: Arc<dyn StorageBackend>) -> Result<StorageController, Halt> {
        let started = StorageController::start_blocking(store, self.config.controller.clone());
        self.waiter.check()?;
        Ok(started?)
    }

    fn refuse_stored(&self, controller: &StorageController) -> Result<(), Halt> {
        if self.options.play().start == Start::Stored {
            return Ok(());
        }
        let heads = heads(controller, &self.waiter)?;
        refuse_stored(self.turns(&ProgressBar::hidden())?, &heads, &self.waiter)
    }

    fn play(&self, controller: &StorageController, expected: &mut Expected) -> Report {
        let mut engine = Engine::new(controller, &self.waiter, self.options.play());
        let progress = progress_bar();
        let turns = self.turns(&progress);
        let played = turns.and_then(|turns| engine.play(turns, expected));
        progress.finish_and_clear();
        let durability = controller
            .store_info()
            .map(|info| info.capabilities.durability);
        Report {
            input: self.options.input.display().to_string(),
            store: self.config.url.to_string(),
            played: engine.into_played(),
            flush_count: 0,
            store_bytes: None,
            verdict: Verdict::None("the replay was not finished"),
            halt: played.err(),
            outlives: durability != Some(Durability::None),
        }
    }

    /// What the store takes up, if it has a medium. It is not worth failing for.
    fn store_bytes(&self, controller: &StorageController, expected: &Expected) -> Option<u64> {
        let world = expected.worlds.keys().next()?;
        let usage = self.waiter.wait(controller.usage(world)).ok()?.ok()?;
        Some(usage.store_bytes).filter(|bytes| *bytes > 0)
    }

    fn turns(&self, progress: &ProgressBar) -> Result<Turns, Halt> {
        Turns::open(&self.options.input, progress).map_err(Halt::Stream)
    }

    /// Compares the store with the stream and writes the dump. What goes wrong is in the report.
    fn examine(
        &self,
        controller: &StorageController,
        expected: &mut Expected,
        report: &mut Report,
    ) {
        let stored = Stored::new(controller, &self.waiter);
        let worlds: Vec<WorldId> = expected.worlds.keys().cloned().collect();
        let verdict = self.verdict(stored, expected, report);
        let dumped = verdict.and_then(|verdict| {
            report.verdict = verdict;
            match &self.options.dump {
                Some(path) => dump(stored, &worlds, path),
                None => Ok(()),
            }
        });
        if let Err(halt) = dumped {
            report.halt.get_or_insert(halt);
        }
    }

    fn verdict(
        &self,
        stored: Stored<'_>,
        expected: &mut Expected,
        report: &Report,
    ) -> Result<Verdict, Halt> {
        if self.config.url.scheme() == "null" {
            return Ok(Verdict::None("this store keeps nothing"));
        }
        let (entities, events) = (expected.entities.len() as u64, expected.event_count());
        let mut differences = Differences::default();
        let missing = compare(stored, expected, &mut differences)?;
        if !missing.is_empty() {
            let turns = self.turns(&ProgressBar::hidden())?;
            locate(stored, turns, missing, &mut differences)?;
        }
        Ok(Verdict::Compared {
            when: match report.outlives {
                true => "after reopening",
                false => "before closing (this store may end with its process)",
            },
            extent: match report.halt {
                None => "the stream",
                Some(_) => "the turns that were read of the stream",
            },
            entities,
            events,
            differences,
        })
    }
}

/// Whether all that was read of the stream, and no more, has to be in the store.
fn is_comparable(report: &Report) -> bool {
    match report.halt {
        None => true,
        Some(Halt::Stream(_)) => !report.played.behind,
        Some(_) => false,
    }
}

/// Shows on a terminal how much of the file is read; elsewhere nothing.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{bar:50} {bytes} of {total_bytes}, {eta} to go") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
