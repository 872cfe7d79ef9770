//! A run from its start to its report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aqevia::{Clock, Durability, StorageConfig, StorageController, World, WorldId};
use tokio::time::Instant;

use super::engine::{Engine, Played};
use super::galaxy::Galaxy;
use super::harm::Harm;
use super::line::Line;
use super::options::Options;
use super::report::{Report, Seen};
use super::verify::{Verdict, compare};
use super::watch::{Sample, Watch};
use crate::replay::halt::{Halt, Signal};
use crate::replay::stored::Stored;
use crate::replay::wait::Waiter;

/// How long the controller may take to recover when the fault is over.
const RECOVERY: Duration = Duration::from_secs(120);
/// What the exposure may be, beyond twice what it was before the fault, to count as recovered.
const SETTLED_S: f64 = 1.0;

/// Runs an engine through a fault, as the options say, unless a signal ends the run: then the report
/// is of what was measured so far, and nothing is compared.
///
/// # Errors
/// What kept it from running to its end, or from closing the store with everything in it.
pub fn run(options: &Options) -> Result<Report, Halt> {
    let waiter = Waiter::listen()
        .context("listen for signals")
        .map_err(Halt::Store)?;
    let config = options.config()?;
    let harm = Harm::prepare(options.fault, &config.url).map_err(Halt::Store)?;
    let store = aqevia::open_with(&config)?;
    let controller = StorageController::start_blocking(store, config.controller.clone())?;
    let run = Run {
        options,
        config,
        waiter,
        controller: Arc::new(controller),
        galaxy: Arc::new(Galaxy::new(options.entities)?),
    };
    run.run(harm)
}

struct Run<'a> {
    options: &'a Options,
    config: StorageConfig,
    waiter: Waiter,
    controller: Arc<StorageController>,
    galaxy: Arc<Galaxy>,
}

impl Run<'_> {
    fn run(self, harm: Harm) -> Result<Report, Halt> {
        // Each run has a world of its own, so that a store may be used again.
        let world = WorldId::new(format!("tick {}", Clock::system().now_ms()))?;
        let world = self.controller.open_world_blocking(world)?;
        self.controller
            .set_state_source(Arc::clone(&self.galaxy) as _)?;
        let (played, seen, stopped_by) = self.play(&world, harm)?;
        let held = self.galaxy.lock().take_held();
        let mut report = Report::new(self.options, &self.config.url, played, seen, held);
        if stopped_by.is_some() {
            report.stopped_by = stopped_by;
            report.count(&self.controller.stats());
            return Ok(report);
        }

        let begin = Instant::now();
        let info = self.controller.store_info();
        let outlives = info.is_some_and(|info| info.capabilities.durability != Durability::None);
        self.waiter.wait(self.controller.save_all())??;
        if !outlives {
            report.verdict = self.compare(&self.controller, &world, &report)?;
        }
        // Order matters: the last handles of the world go before the store is opened again.
        let id = world.id().clone();
        self.controller.shutdown_blocking()?;
        report.shutdown_s = begin.elapsed().as_secs_f64();
        report.count(&self.controller.stats());
        if outlives {
            let store = aqevia::open_with(&self.config)?;
            let again = StorageController::start_blocking(store, self.config.controller.clone())?;
            report.verdict = self.compare_in(&again, &id, &report)?;
            again.shutdown_blocking()?;
        }
        Ok(report)
    }

    fn compare(
        &self,
        controller: &StorageController,
        world: &World,
        report: &Report,
    ) -> Result<Verdict, Halt> {
        self.compare_in(controller, world.id(), report)
    }

    fn compare_in(
        &self,
        controller: &StorageController,
        world: &WorldId,
        report: &Report,
    ) -> Result<Verdict, Halt> {
        let stored = Stored::new(controller, &self.waiter);
        compare(stored, world, &self.galaxy, report.played.events)
    }

    /// What the engine did, what was seen, and the signal that ended it early.
    fn play(&self, world: &World, mut harm: Harm) -> Result<(Played, Seen, Option<Signal>), Halt> {
        let begin = Instant::now();
        let running = Running::begin(self, world, begin);
        let watch = Watch::begin(Arc::clone(&self.controller), begin);
        let line = Line::new(Arc::clone(&running.worst));
        let mut course = Course {
            waiter: &self.waiter,
            running: &running,
            watch,
            line,
            seen: Seen::default(),
        };
        let stopped_by = match course.run(self.options, &mut harm, begin) {
            Ok(()) => None,
            Err(Halt::Signal(signal)) => Some(signal),
            Err(halt) => return Err(halt),
        };
        let seen = course.seen;
        Ok((running.end().map_err(Halt::Store)?, seen, stopped_by))
    }
}

/// The engine on its thread, which is stopped at the latest when this is dropped.
struct Running {
    stop: Arc<AtomicBool>,
    worst: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<Played>>>,
}

impl Running {
    fn begin(run: &Run<'_>, world: &World, begin: Instant) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let worst = Arc::new(AtomicU64::new(0));
        let engine = Engine {
            galaxy: Arc::clone(&run.galaxy),
            world: world.clone(),
            dirty: run.options.dirty,
            events: run.options.events,
            begin,
            stop: Arc::clone(&stop),
            worst: Arc::clone(&worst),
        };
        Self {
            stop,
            worst,
            thread: Some(thread::spawn(move || engine.run())),
        }
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn end(mut self) -> Result<Played> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("the engine has ended")?;
        thread.join().map_err(|_| anyhow!("the engine panicked"))?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Why it ended is told elsewhere, or this is the way out of another error.
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// The course of a run: before, during and after the fault.
struct Course<'a> {
    waiter: &'a Waiter,
    running: &'a Running,
    watch: Watch,
    line: Line,
    seen: Seen,
}

impl Course<'_> {
    fn run(&mut self, options: &Options, harm: &mut Harm, begin: Instant) -> Result<(), Halt> {
        let now = || begin.elapsed().as_secs_f64();
        let before = options.before.as_secs_f64();
        self.until("before", |sample| sample.at_s >= before)?;
        let settled = 2.0 * self.seen.exposure_age_max_s() + SETTLED_S;

        let fault = options.fault.name();
        self.seen.fault_began_s = Some(now());
        harm.begin().map_err(Halt::Store)?;
        let over = now() + options.lasts.as_secs_f64();
        self.until(fault, |sample| sample.at_s >= over)?;
        harm.end().map_err(Halt::Store)?;
        let ended = now();
        self.seen.fault_ended_s = Some(ended);

        let latest = ended + RECOVERY.as_secs_f64();
        let recovered = |sample: &Sample| {
            sample.at_s >= ended && sample.healthy && sample.exposure_age_s <= settled
        };
        self.until("recovering", |sample| {
            recovered(sample) || sample.at_s >= latest
        })?;
        let last = self.seen.samples.last();
        let recovered = last
            .filter(|sample| recovered(sample))
            .map(|last| last.at_s);
        self.seen.recovered_s = recovered.map(|at_s| at_s - ended);
        let end = now() + options.after.as_secs_f64();
        self.until("after", |sample| sample.at_s >= end)
    }

    /// Goes on until a sample is as wished, the engine ends, or a signal comes.
    fn until(&mut self, phase: &str, wished: impl Fn(&Sample) -> bool) -> Result<(), Halt> {
        while let Some(sample) = self.watch.sample() {
            self.waiter.check()?;
            self.line.show(phase, &sample);
            let done = wished(&sample) || sample.stopped || self.running.has_ended();
            self.seen.samples.push(sample);
            if done {
                break;
            }
        }
        Ok(())
    }
}
