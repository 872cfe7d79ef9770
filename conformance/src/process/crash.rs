//! The crash sweep: a child is killed at every step and at random moments, and nothing is lost.

use aqevia_storage::SchemaPolicy;
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, timeout};

use super::child::{Job, Task};
use super::launcher::{Heard, Launcher, Running};
use super::ledger::Ledger;
use super::line::Line;
use super::report::{CrashReport, Percentiles};
use super::schedule::{CALLS_SWEPT, Kill, Plan, schedule};
use super::tally::Tally;
use super::verify::patiently;
use super::within::{Course, Within};
use super::{Verdict, runtime};
use crate::Harness;

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
    /// The steps of a batch.
    course: Course,
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
                stores: 1,
                ..CrashReport::default()
            },
            course: Course::default(),
            recoveries: Vec::new(),
            step: String::new(),
        }
    }

    fn all(&mut self, kills: u64, progress: &mut dyn FnMut(u64)) -> Verdict {
        let created = self.run_to_its_end()?;
        let opened = self.run_to_its_end()?;
        self.course = Course::of(&opened);
        for plan in schedule(&created, &opened, kills, self.report.seed) {
            if plan.new_store {
                self.begin_store()?;
            }
            self.kill(&plan)?;
            progress(self.report.kills);
            if plan.check {
                let recovery = self.check()?;
                self.recoveries.push(recovery);
            }
        }
        self.run_to_its_end()?;
        self.end_store()
    }

    fn begin_store(&mut self) -> Verdict {
        self.end_store()?;
        self.report.stores += 1;
        self.store = Store {
            harness: self.runtime.block_on(H::new()),
            ledger: Ledger::new(self.report.seed),
        };
        Ok(())
    }

    /// Counts what a store holds that is not written to any more.
    fn end_store(&mut self) -> Verdict {
        let Store { harness, ledger } = &self.store;
        let counted = async { timeout(CHECK_LIMIT, tally(harness, ledger)).await };
        let counted = self.runtime.block_on(counted);
        let counted = counted.unwrap_or_else(|_| {
            Err(format!(
                "R1: the parts of a store are not read within {CHECK_LIMIT:?}"
            ))
        })?;
        let report = &mut self.report;
        report.acknowledged_parts += counted.acknowledged;
        report.found_parts += counted.found;
        report.lost = report.acknowledged_parts - report.found_parts;
        report.doubled += counted.doubled;
        report.kills_with_part_stored += ledger.cut.stored;
        report.kills_inside_commits += ledger.cut.stored_only;
        match (report.lost, report.doubled) {
            (0, 0) => Ok(()),
            (0, doubled) => Err(format!(
                "P5: {doubled} parts are in the store more than once"
            )),
            (lost, _) => Err(format!(
                "P2: {lost} acknowledged parts are not in the store"
            )),
        }
    }

    fn start(&mut self, plan: Option<&Plan>) -> Running {
        self.run += 1;
        self.store.ledger.within = Within::No;
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
        self.count_inside(&plan.kill);
        self.report.kills_of_recoveries += u64::from(plan.of_recovery);
        Ok(())
    }

    /// Takes down whether a kill fell inside a commit, as far as the steps tell.
    fn count_inside(&mut self, kill: &Kill) {
        let ledger = &mut self.store.ledger;
        if !ledger.writes() {
            return;
        }
        let inner = ledger.within == Within::Inner;
        // A child that was killed where it waited had not gone on to the statement.
        let on_its_way = ledger.within == Within::Begun && !matches!(kill, Kill::At(_));
        let statement = self.course.one_statement && on_its_way;
        self.report.kills_at_inner_steps += u64::from(inner);
        self.report.kills_within_statements += u64::from(statement);
        self.report.kills_inside_commits += u64::from(inner || statement);
        ledger.cut.runs.insert(self.run, inner || statement);
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
            if let Line::Halted { name } = &line {
                if !kill.goes_on_from(name) {
                    return Ok(());
                }
                child.give_byte();
            }
            if let (None, Some(after)) = (moment, kill.after(&line)) {
                moment = Some(Instant::now() + after);
            }
        }
    }

    /// Opens the store, compares it with what it has to hold, and writes to it. How long it took
    /// until its worlds were claimed.
    fn check(&mut self) -> Verdict<Duration> {
        let Store { harness, ledger } = &mut self.store;
        let run = self.run;
        let checked = async { timeout(CHECK_LIMIT, check(harness, ledger, run)).await };
        let checked = self.runtime.block_on(checked);
        checked.unwrap_or_else(|_| {
            Err(format!(
                "P1: a store is not open and read within {CHECK_LIMIT:?} after a kill"
            ))
        })
    }

    fn finish(mut self, planned: u64) -> CrashReport {
        let CrashReport {
            kills,
            kills_inside_commits: inside,
            kills_within_statements: statements,
            seed,
            ..
        } = self.report;
        assert_eq!(kills, planned, "every kill that was planned was done");
        assert!(
            inside * KILLS_PER_PROOF >= kills,
            "the sweep shows nothing: only {inside} of {kills} kills fell inside commits (seed \
             {seed}); the steps of a batch have to be announced as `batch: ...` and `part: ...`"
        );
        assert!(
            !self.course.one_statement || statements * KILLS_PER_PROOF >= kills,
            "the sweep shows nothing: only {statements} of {kills} kills fell within statements \
             (seed {seed})"
        );
        self.report.recoveries = self.recoveries.len() as u64;
        self.report.recovery_ms = Percentiles::of(self.recoveries);
        self.report
    }
}

/// Of so many kills one at least has to fall inside a commit.
const KILLS_PER_PROOF: u64 = 20;

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

async fn tally<H: Harness>(harness: &H, ledger: &Ledger) -> Verdict<Tally> {
    let backend = harness.open().await;
    let initialised = patiently(|| backend.init(SchemaPolicy::Upgrade)).await;
    initialised.map_err(|error| format!("P1: `init` of a store at rest fails: {error:?}"))?;
    let counted = ledger.tally(&*backend).await?;
    let closed = backend.close().await;
    closed.map_err(|error| format!("P1: `close` of a store at rest fails: {error:?}"))?;
    Ok(counted)
}
