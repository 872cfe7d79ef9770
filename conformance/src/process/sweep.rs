//! A sweep: children that write to a store are killed at every step and at random moments, and the
//! store is checked after each kill.

use aqevia_storage::{SchemaPolicy, StorageBackend};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, timeout};

use super::child::{Job, Task};
use super::launcher::{Heard, Launcher, Running};
use super::line::Line;
use super::report::{KillReport, Percentiles};
use super::schedule::{Kill, Plan, schedule};
use super::tally::Tally;
use super::verify::patiently;
use super::within::{Course, Cut, Within};
use super::{Verdict, runtime};
use crate::Harness;

/// What the children of a sweep write to a store, and what it has to hold.
pub(super) trait Books: Sized + Send + Sync {
    /// What the sweep, and what it counts, are called in its messages.
    const WORDS: Words;

    /// The books of a store that nobody has written to, by its number among those of the sweep.
    fn new(seed: u64, store: u64) -> Self;

    /// What the next child is started for: it ends by itself, or waits to be killed.
    fn task(&mut self, run: u64, ends: bool) -> Task;

    /// Takes down what the child of a run tells.
    fn hear(&mut self, run: u64, line: &Line) -> Verdict;

    /// Whether something that was handed to `persist_batch` has not been answered.
    fn writes(&self) -> bool;

    /// What kills cut off.
    fn cut(&mut self) -> &mut Cut;

    /// Compares a store that was just initialised with what it has to hold, and claims its worlds;
    /// how long the claims took.
    fn check(
        &mut self,
        backend: &dyn StorageBackend,
        run: u64,
    ) -> impl Future<Output = Verdict<Duration>> + Send;

    /// Counts what a store holds of what was acknowledged.
    fn tally(&self, backend: &dyn StorageBackend) -> impl Future<Output = Verdict<Tally>> + Send;
}

/// The words of a sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    pub(super) name: &'static str,
    /// What is acknowledged, counted, and found.
    pub(super) things: &'static str,
    /// The clause that is broken if one is lost.
    pub(super) lost: &'static str,
    /// The clause that is broken if one is there twice.
    pub(super) doubled: &'static str,
}

/// What a sweep did and found.
#[derive(Debug)]
pub(super) struct Swept<B> {
    pub(super) report: KillReport,
    pub(super) tally: Tally,
    /// The books of each store.
    pub(super) books: Vec<B>,
}

/// Kills children as often as asked for, and checks the store after each kill.
///
/// After a kill the store is opened and compared with what it has to hold, but where the next kill
/// is to hit that opening. First and last a child ends by itself.
///
/// # Panics
/// If the store breaks the contract, if a child hangs or ends early, and if too few of the kills
/// fell inside commits to show anything.
pub(super) fn sweep<H: Harness, B: Books>(
    launcher: &Launcher,
    kills: u64,
    seed: u64,
    progress: &mut dyn FnMut(u64),
) -> Swept<B> {
    let runtime = runtime();
    let mut sweep = Sweep::<H, B>::new(launcher, &runtime, seed);
    let swept = sweep.all(kills, progress);
    if let Err(violation) = swept {
        let (kills, step, name) = (sweep.report.kills, &sweep.step, B::WORDS.name);
        panic!("{violation}\n({name} of seed {seed}: {kills} kills, the last at step {step:?})");
    }
    sweep.finish(kills)
}

/// A store and what it has to hold.
struct Store<H, B> {
    harness: H,
    books: B,
}

struct Sweep<'a, H, B> {
    launcher: &'a Launcher,
    runtime: &'a Runtime,
    store: Store<H, B>,
    /// The books of the stores before.
    ended: Vec<B>,
    /// Tells one child from the next.
    run: u64,
    /// How far the child that was heard last is within `persist_batch`.
    within: Within,
    report: KillReport,
    tally: Tally,
    /// The steps of a batch.
    course: Course,
    recoveries: Vec<Duration>,
    /// Where the last child was killed.
    step: String,
}

impl<'a, H: Harness, B: Books> Sweep<'a, H, B> {
    fn new(launcher: &'a Launcher, runtime: &'a Runtime, seed: u64) -> Self {
        Self {
            launcher,
            runtime,
            store: Store {
                harness: runtime.block_on(H::new()),
                books: B::new(seed, 1),
            },
            ended: Vec::new(),
            run: 0,
            within: Within::No,
            report: KillReport {
                seed,
                stores: 1,
                ..KillReport::default()
            },
            tally: Tally::default(),
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
        let store = Store {
            harness: self.runtime.block_on(H::new()),
            books: B::new(self.report.seed, self.report.stores),
        };
        let before = std::mem::replace(&mut self.store, store);
        self.ended.push(before.books);
        Ok(())
    }

    /// Counts what a store holds that is not written to any more.
    fn end_store(&mut self) -> Verdict {
        let Words {
            things,
            lost: clause_of_lost,
            doubled: clause_of_doubled,
            ..
        } = B::WORDS;
        let Store { harness, books } = &mut self.store;
        let counted = async { timeout(CHECK_LIMIT, tally(harness, books)).await };
        let counted = self.runtime.block_on(counted);
        let counted = counted.unwrap_or_else(|_| {
            Err(format!(
                "R1: the {things} of a store are not read within {CHECK_LIMIT:?}"
            ))
        })?;
        let cut = books.cut();
        self.report.kills_with_part_stored += cut.stored;
        self.report.kills_inside_commits += cut.stored_only;
        self.tally.add(counted);
        match (self.tally.lost(), self.tally.doubled) {
            (0, 0) => Ok(()),
            (0, doubled) => Err(format!(
                "{clause_of_doubled}: {doubled} {things} are in the store more than once"
            )),
            (lost, _) => Err(format!(
                "{clause_of_lost}: {lost} acknowledged {things} are not in the store"
            )),
        }
    }

    fn start(&mut self, plan: Option<&Plan>) -> Running {
        self.run += 1;
        self.within = Within::No;
        let halt = plan.and_then(|plan| plan.kill.halt());
        self.launcher.start(&Job {
            task: self.store.books.task(self.run, plan.is_none()),
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
            self.hear(&line)?;
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
            self.hear(&line)?;
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

    fn hear(&mut self, line: &Line) -> Verdict {
        match line {
            Line::Persisting { .. } => self.within = Within::Asked,
            Line::Step { name } => self.within = self.within.after(name),
            _ => {}
        }
        self.store.books.hear(self.run, line)
    }

    /// Takes down whether a kill fell inside a commit, as far as the steps tell.
    fn count_inside(&mut self, kill: &Kill) {
        let books = &mut self.store.books;
        if self.within == Within::No || !books.writes() {
            return;
        }
        let inner = self.within == Within::Inner;
        // A child that was killed where it waited had not gone on to the statement.
        let on_its_way = self.within == Within::Begun && !matches!(kill, Kill::At(_));
        let statement = self.course.one_statement && on_its_way;
        self.report.kills_at_inner_steps += u64::from(inner);
        self.report.kills_within_statements += u64::from(statement);
        self.report.kills_inside_commits += u64::from(inner || statement);
        books.cut().runs.insert(self.run, inner || statement);
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
            self.hear(&line)?;
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
        let Store { harness, books } = &mut self.store;
        let run = self.run;
        let checked = async { timeout(CHECK_LIMIT, check(harness, books, run)).await };
        let checked = self.runtime.block_on(checked);
        checked.unwrap_or_else(|_| {
            Err(format!(
                "P1: a store is not open and read within {CHECK_LIMIT:?} after a kill"
            ))
        })
    }

    fn finish(mut self, planned: u64) -> Swept<B> {
        let KillReport {
            kills,
            kills_inside_commits: inside,
            kills_within_statements: statements,
            seed,
            ..
        } = self.report;
        assert_eq!(kills, planned, "every kill that was planned was done");
        assert!(
            inside >= kills / KILLS_PER_PROOF,
            "the sweep shows nothing: only {inside} of {kills} kills fell inside commits (seed \
             {seed}); the steps of a batch have to be announced as `batch: ...` and `part: ...`"
        );
        assert!(
            !self.course.one_statement || statements >= kills / KILLS_PER_PROOF,
            "the sweep shows nothing: only {statements} of {kills} kills fell within statements \
             (seed {seed})"
        );
        self.report.recoveries = self.recoveries.len() as u64;
        self.report.recovery_ms = Percentiles::of(self.recoveries);
        self.ended.push(self.store.books);
        Swept {
            report: self.report,
            tally: self.tally,
            books: self.ended,
        }
    }
}

/// Of so many kills one at least has to fall inside a commit; of fewer none has to.
const KILLS_PER_PROOF: u64 = 20;

/// How long it may take to open a store, read it and write to it.
const CHECK_LIMIT: Duration = Duration::from_secs(120);

/// How long it took until the worlds were claimed.
async fn check<H: Harness, B: Books>(harness: &H, books: &mut B, run: u64) -> Verdict<Duration> {
    let begin = Instant::now();
    let backend = harness.open().await;
    let initialised = patiently(|| backend.init(SchemaPolicy::Upgrade)).await;
    initialised.map_err(|error| format!("P1: `init` after a kill fails: {error:?}"))?;
    let opened = begin.elapsed();
    let claimed = books.check(&*backend, run).await?;
    let closed = backend.close().await;
    closed.map_err(|error| format!("P1: `close` after a kill fails: {error:?}"))?;
    Ok(opened + claimed)
}

async fn tally<H: Harness, B: Books>(harness: &H, books: &B) -> Verdict<Tally> {
    let backend = harness.open().await;
    let initialised = patiently(|| backend.init(SchemaPolicy::Upgrade)).await;
    initialised.map_err(|error| format!("P1: `init` of a store at rest fails: {error:?}"))?;
    let counted = books.tally(&*backend).await?;
    let closed = backend.close().await;
    closed.map_err(|error| format!("P1: `close` of a store at rest fails: {error:?}"))?;
    Ok(counted)
}
