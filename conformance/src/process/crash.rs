//! The crash sweep: a child is killed at every step and at random moments, and nothing is lost.

use std::collections::BTreeMap;

use aqevia_storage::SchemaPolicy;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, timeout};

use super::child::{Job, Task};
use super::launcher::{Heard, Launcher, Running};
use super::ledger::Ledger;
use super::line::Line;
use super::schedule::{CALLS_SWEPT, Kill, Plan, schedule};
use super::verify::patiently;
use super::{Verdict, runtime};
use crate::Harness;

/// What a crash sweep did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct CrashReport {
    /// What the records, the order of the kills and their moments follow from.
    pub seed: u64,
    /// How often a process was killed with SIGKILL.
    pub kills: u64,
    /// How many of the kills came at each step: the last that the process had taken.
    pub kills_by_step: BTreeMap<String, u64>,
    /// How many came between the call of `persist_batch` and the acknowledgement of its parts.
    pub kills_inside_commits: u64,
    /// How many came while a store was opened whose process had been killed before.
    pub kills_of_recoveries: u64,
    /// How many stores were written to.
    pub stores: u64,
    /// How many parts were acknowledged.
    pub acknowledged_parts: u64,
    /// How many of those were not in the store. A sweep that finds one panics.
    pub lost: u64,
    /// How many parts were in the store more than once. A sweep that finds one panics.
    pub doubled: u64,
    /// How long it took to open a store after a kill: `init`, and the claims of its worlds.
    pub recovery_ms: Percentiles,
}

/// Times in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Percentiles {
    /// Half of the times are at most this.
    pub p50: f64,
    /// Of a hundred times, 99 are at most this.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        let at = |share: usize| {
            let index = (times.len() * share).div_ceil(100).saturating_sub(1);
            let time = times.get(index).copied().unwrap_or_default();
            (time.as_secs_f64() * 1e6).round() / 1e3
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// Kills children of a store's writer as often as asked for, and checks the store after each kill.
///
/// Only for stores whose declared durability is not `None`. `progress` is told how many kills there
/// have been. After a kill the store is opened and compared with what it has to hold, but where the
/// next kill is to hit that opening. First and last a child ends by itself.
///
/// # Panics
/// If the store breaks the contract: the message begins with the clause's id. If a child hangs or
/// ends early. If fewer than a tenth of the kills fell inside commits: nothing was shown then.
pub fn crash_sweep<H: Harness>(
    launcher: &Launcher,
    kills: u64,
    seed: u64,
    progress: &mut dyn FnMut(u64),
) -> CrashReport {
    let runtime = runtime();
    let mut sweep = Sweep::<H>::new(launcher, &runtime, seed);
    let swept = sweep.all(kills, progress);
    if let Err(violation) = swept {
        let (kills, step) = (sweep.report.kills, &sweep.step);
        panic!(
            "{violation}\n(crash sweep of seed {seed}: {kills} kills, the last at step {step:?})"
        );
    }
    sweep.finish(kills)
}

/// A store and what it has to hold.
struct Store<H> {
    harness: H,
    ledger: Ledger,
}

struct Sweep<'a, H> {
    launcher: &'a Launcher,
    runtime: &'a Runtime,
    store: Store<H>,
    /// Tells one child from the next.
    run: u64,
    report: CrashReport,
    recoveries: Vec<Duration>,
    /// Where the last child was killed.
    step: String,
}

/// How many batches a child persists at most.
const CALLS_MAX: u64 = 12;

impl<'a, H: Harness> Sweep<'a, H> {
    fn new(launcher: &'a Launcher, runtime: &'a Runtime, seed: u64) -> Self {
        Self {
            launcher,
            runtime,
            store: Store {
                harness: runtime.block_on(H::new()),
                ledger: Ledger::new(seed),
            },
            run: 0,
            report: CrashReport {
                seed,
                kills: 0,
                kills_by_step: BTreeMap::new(),
                kills_inside_commits: 0,
                kills_of_recoveries: 0,
                stores: 1,
                acknowledged_parts: 0,
                lost: 0,
                doubled: 0,
                recovery_ms: Percentiles::default(),
            },
            recoveries: Vec::new(),
            step: String::new(),
        }
    }

    fn all(&mut self, kills: u64, progress: &mut dyn FnMut(u64)) -> Verdict {
        let created = self.run_to_its_end()?;
        let opened = self.run_to_its_end()?;
        for plan in schedule(&created, &opened, kills, self.report.seed) {
            if plan.new_store {
                self.begin_store();
            }
            self.kill(&plan)?;
            progress(self.report.kills);
            if plan.check {
                self.check()?;
            }
        }
        self.run_to_its_end().map(drop)
    }

    fn begin_store(&mut self) {
        self.report.acknowledged_parts += self.store.ledger.acknowledged;
        self.report.stores += 1;
        self.store = Store {
            harness: self.runtime.block_on(H::new()),
            ledger: Ledger::new(self.report.seed),
        };
    }

    fn start(&mut self, plan: Option<&Plan>) -> Running {
        self.run += 1;
        self.store.ledger.calling = false;
        let halt = plan.and_then(|plan| plan.kill.halt());
        self.launcher.start(&Job {
            task: Task::Write {
                run: self.run,
                calls: plan.map_or(CALLS_SWEPT, |_| CALLS_MAX),
                ends: plan.is_none(),
            },
            location: self.store.harness.location(),
            seed: self.report.seed,
            halt,
        })
    }

    /// Lets a child end by itself, checks the store, and returns the steps that it took.
    fn run_to_its_end(&mut self) -> Verdict<Vec<String>> {
        let mut child = self.start(None);
        let mut steps = Vec::new();
        loop {
            let line = child.next()?;
            let line = line.ok_or_else(|| child.ended_early())?;
            self.store.ledger.hear(self.run, &line)?;
            match line {
                Line::Step { name } => steps.push(name),
                Line::Done => break,
                _ => {}
            }
        }
        drop(child);
        self.check()?;
        Ok(steps)
    }

    /// Starts a child, kills it as planned, and hears all that it told before.
    fn kill(&mut self, plan: &Plan) -> Verdict {
        let mut child = self.start(Some(plan));
        let killed = self.hear_until(&mut child, &plan.kill);
        self.step.clone_from(&child.step);
        killed?;
        child.kill();
        while let Some(line) = child.next()? {
            self.store.ledger.hear(self.run, &line)?;
        }
        self.step.clone_from(&child.step);
        self.report.kills += 1;
        *self
            .report
            .kills_by_step
            .entry(child.step.clone())
            .or_default() += 1;
        self.report.kills_inside_commits += u64::from(self.store.ledger.calling);
        self.report.kills_of_recoveries += u64::from(plan.of_recovery);
        Ok(())
    }

    /// Listens until the child is to be killed.
    fn hear_until(&mut self, child: &mut Running, kill: &Kill) -> Verdict {
        let mut moment = None;
        loop {
            let line = match moment {
                None => child.next()?,
                Some(moment) => match child.next_until(moment)? {
                    Heard::Line(line) => Some(line),
                    Heard::Nothing => return Ok(()),
                    Heard::End => None,
                },
            };
            let line = line.ok_or_else(|| child.ended_early())?;
            self.store.ledger.hear(self.run, &line)?;
            if matches!(line, Line::Halted { .. }) {
                return Ok(());
            }
            if let (None, Some(after)) = (moment, kill.after(&line)) {
                moment = Some(Instant::now() + after);
            }
        }
    }

    /// Opens the store, compares it with what it has to hold, and writes to it.
    fn check(&mut self) -> Verdict {
        let Store { harness, ledger } = &mut self.store;
        let run = self.run;
        let checked = async { timeout(CHECK_LIMIT, check(harness, ledger, run)).await };
        let checked = self.runtime.block_on(checked);
        let recovery = checked.unwrap_or_else(|_| {
            Err(format!(
                "P1: a store is not open and read within {CHECK_LIMIT:?} after a kill"
            ))
        })?;
        self.recoveries.push(recovery);
        Ok(())
    }

    fn finish(mut self, planned: u64) -> CrashReport {
        let CrashReport {
            kills,
            kills_inside_commits: inside,
            seed,
            ..
        } = self.report;
        assert_eq!(kills, planned, "every kill that was planned was done");
        assert!(
            inside * 10 >= kills,
            "the sweep shows nothing: only {inside} of {kills} kills fell inside commits (seed \
             {seed})"
        );
        self.report.acknowledged_parts += self.store.ledger.acknowledged;
        self.report.recovery_ms = Percentiles::of(self.recoveries);
        self.report
    }
}

/// How long it may take to open a store, read it and write to it.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// How long it took until the worlds were claimed.
async fn check<H: Harness>(harness: &H, ledger: &mut Ledger, run: u64) -> Verdict<Duration> {
    let begin = Instant::now();
    let backend = harness.open().await;
    let initialised = patiently(|| backend.init(SchemaPolicy::Upgrade)).await;
    initialised.map_err(|error| format!("P1: `init` after a kill fails: {error:?}"))?;
    let opened = begin.elapsed();
    let claimed = ledger.check(&*backend, run).await?;
    let closed = backend.close().await;
    closed.map_err(|error| format!("P1: `close` after a kill fails: {error:?}"))?;
    Ok(opened + claimed)
}
