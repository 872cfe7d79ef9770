//! A writer that is stopped in the middle of a flush and goes on after another has claimed.

use std::sync::Arc;

use aqevia_storage::{Error, Part, StorageBackend, WorldId};
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::announce::Halt;
use super::child::{Job, Task};
use super::compare::compare_world;
use super::launcher::{Heard, Launcher, Running};
use super::line::Line;
use super::plan::{Dice, Stand, noise, owner};
use super::report::ZombieReport;
use super::stopped::{Answer, answer, answers, check_answers, first_writer};
use super::within::{Within, is_of_batch};
use super::{Verdict, runtime};
use crate::Harness;
use crate::model::Model;
use crate::sample::{schema, world};
use crate::writer::persist;

/// How many writers are stopped at random moments: more, up to the most, while none of them was
/// under way.
const TIMED: u64 = 5;
const TIMED_MAX: u64 = 20;

/// The bytes of a record of a writer that is stopped at a step.
const SMALL: usize = 400;
/// And of one that is stopped at a random moment: the part is more than sockets hold at once.
const LARGE: usize = 40_000;

/// Stops a writer at each step of a flush in turn, lets another claim its world and write to it,
/// and lets the first go on: its part is in before all that the second wrote, or is refused.
///
/// Only for stores that several processes may have open. At least one late part has to be refused
/// and one let in, and one writer stopped at a random moment of its flush: nothing is shown else.
///
/// # Panics
/// If the store breaks the contract: the message begins with the clause's id. If a child hangs or
/// ends early.
pub fn zombie<H: Harness>(launcher: &Launcher, seed: u64) -> ZombieReport {
    let runtime = runtime();
    let mut check = Check::<H>::new(launcher, &runtime, seed);
    let outcome = check.all();
    if let Err(violation) = outcome {
        let step = &check.step;
        panic!("{violation}\n(a writer stopped at step {step:?}, seed {seed})");
    }
    check.report
}

struct Check<'a, H> {
    launcher: &'a Launcher,
    runtime: &'a Runtime,
    harness: H,
    backend: Arc<dyn StorageBackend>,
    report: ZombieReport,
    /// Where the last child was stopped.
    step: String,
}

impl<'a, H: Harness> Check<'a, H> {
    fn new(launcher: &'a Launcher, runtime: &'a Runtime, seed: u64) -> Self {
        let (harness, backend) = runtime.block_on(async {
            let harness = H::new().await;
            let backend = crate::harness::open(&harness).await;
            (harness, backend)
        });
        Self {
            launcher,
            runtime,
            harness,
            backend,
            report: ZombieReport {
                seed,
                ..ZombieReport::default()
            },
            step: "none".to_owned(),
        }
    }

    fn all(&mut self) -> Verdict {
        let (steps, _) = self.undisturbed(SMALL)?;
        for halt in steps {
            self.report.steps.push(halt.step.clone());
            self.step.clone_from(&halt.step);
            let world = format!("stopped at step {}", self.report.steps.len());
            self.one(&world, When::At(halt))?;
        }
        let (steps, flush) = self.undisturbed(LARGE)?;
        let first = steps.into_iter().find(|halt| is_of_batch(&halt.step));
        for index in 0..TIMED_MAX {
            if index >= TIMED && self.report.timed_under_way > 0 {
                break;
            }
            self.report.timed += 1;
            let mut dice = Dice::new(self.report.seed, &[index]);
            let share = u32::try_from(dice.below(1000)).unwrap_or(0);
            let world = format!("stopped at moment {index}");
            let after = flush * share / 1000;
            self.one(&world, When::After(first.clone(), after))?;
        }
        self.shows()?;
        let closed = self.runtime.block_on(self.backend.close());
        closed.map_err(|error| format!("P11: `close` of the second writer fails: {error:?}"))
    }

    /// Whether writers were stopped where it matters.
    fn shows(&self) -> Verdict {
        let ZombieReport {
            refused,
            let_in_under_way: let_in,
            timed_under_way: timed,
            ..
        } = self.report;
        if refused > 0 && let_in > 0 && timed > 0 {
            return Ok(());
        }
        Err(format!(
            "P6: the check shows nothing: {refused} late parts were refused, {let_in} of writers \
             that were stopped under way were let in, and {timed} writers were stopped under way \
             at a random moment; each has to be one at least, and the steps of a batch have to be \
             announced as `batch: ...` and `part: ...`"
        ))
    }

    fn start(&self, (world, bytes): (&str, usize), halt: Option<Halt>) -> Running {
        let world = world.to_owned();
        self.launcher.start(&Job {
            task: Task::Flush { world, bytes },
            location: self.harness.location(),
            seed: self.report.seed,
            halt,
        })
    }

    /// The steps of a flush that nobody disturbs, and how long it takes from the first of its batch.
    fn undisturbed(&self, bytes: usize) -> Verdict<(Vec<Halt>, Duration)> {
        let mut child = self.start((&format!("undisturbed {bytes}"), bytes), None);
        let mut halts: Vec<Halt> = Vec::new();
        child.wait_for(|line| (*line == Line::Ready).then_some(()))?;
        let mut begin = Instant::now();
        let mut within = Within::Asked;
        loop {
            match child.next()? {
                Some(Line::Step { name: step }) => {
                    within = within.after(&step);
                    if within == Within::Begun {
                        begin = Instant::now();
                    }
                    let passed = halts.iter().filter(|halt| halt.step == step).count() as u64;
                    halts.push(Halt { step, passed });
                }
                Some(Line::Answered { .. }) => break,
                Some(_) => {}
                None => return Err(child.ended_early()),
            }
        }
        let flush = begin.elapsed();
        child.give_byte();
        child.finish()?;
        Ok((halts, flush))
    }

    /// Stops a writer within its flush, and sees the two writers through to the end.
    fn one(&mut self, name: &str, when: When) -> Verdict {
        let id = world(name);
        let mut child = self.start((name, when.bytes()), when.halt());
        let answered = match &when {
            When::At(_) => child.wait_for(|line| match line {
                Line::Halted { .. } => Some(None),
                _ => None,
            })?,
            When::After(halt, after) => wait(&mut child, halt.as_ref(), *after)?,
        };
        child.stop();
        // What it told before it stood counts for where that was.
        let answered = drain(&mut child, answered)?;
        self.step.clone_from(&child.step);
        let second = Second::start(self.runtime, &self.backend, &id, self.report.seed);
        let second = second.within(self.runtime, PATIENCE);
        if matches!(when, When::At(_)) {
            child.give_byte();
        }
        child.go_on();
        let (claimed, written) = match second {
            Ok(done) => done,
            Err(waiting) => {
                self.report.claims_that_waited += 1;
                waiting.within(self.runtime, LIMIT).unwrap_or_else(|_| {
                    Err(format!(
                        "P11: no claim is made within {LIMIT:?} after the first writer went on"
                    ))
                })
            }
        }?;
        let answered_before = answered.is_some();
        let answers = answers(&mut child, answered)?;
        child.finish()?;
        self.settle((&id, when.bytes()), &claimed, &written, &answers)
            .map(|let_in| self.count(let_in, answered_before, &when))
    }

    fn count(&mut self, let_in: bool, answered: bool, when: &When) {
        let under_way = !answered && is_of_batch(&self.step);
        let report = &mut self.report;
        report.let_in += u64::from(let_in);
        report.refused += u64::from(!let_in);
        report.under_way += u64::from(under_way);
        report.refused_under_way += u64::from(under_way && !let_in);
        report.let_in_under_way += u64::from(under_way && let_in);
        let timed = matches!(when, When::After(..));
        report.timed_under_way += u64::from(under_way && timed);
    }

    /// Compares what both writers were told with what the store holds, and tells whether the first
    /// one's part was let in.
    fn settle(
        &self,
        (id, bytes): (&WorldId, usize),
        claimed: &Stand,
        written: &Arc<Part>,
        [flushed, next, again]: &[Answer; 3],
    ) -> Verdict<bool> {
        let seed = self.report.seed;
        let [first, second, _] = first_writer(seed, id, bytes);
        let let_in = claimed.claim.last_number == second.number();

        let mut model = Model::default();
        model.claim(id, &owner(), schema().fingerprint());
        model.persist(&[first]);
        if let_in {
            model.persist(std::slice::from_ref(&second));
        }
        let mut expected = model.claim(id, &owner(), schema().fingerprint());
        expected.schema = claimed.claim.schema;
        if claimed.claim != expected {
            let found = &claimed.claim;
            return Err(format!(
                "P6: the claim is {found:?}, and has to be {expected:?}"
            ));
        }
        model.persist(std::slice::from_ref(written));
        check_answers(let_in, flushed, next, again)?;
        let expected = model.world(id).ok_or("the model has the world")?;
        let compared = compare_world(&*self.backend, id, expected);
        self.runtime.block_on(compared)?;
        Ok(let_in)
    }
}

/// How long a claim may take before the first writer is taken to be in its way.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a claim may take once the first writer goes on.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// When a writer is stopped.
enum When {
    At(Halt),
    /// So long after it went on from a step, or began its flush.
    After(Option<Halt>, Duration),
}

impl When {
    fn halt(&self) -> Option<Halt> {
        match self {
            Self::At(halt) => Some(halt.clone()),
            Self::After(halt, _) => halt.clone(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::At(_) => SMALL,
            Self::After(..) => LARGE,
        }
    }
}

/// Waits until a flush has gone on for so long, or has ended; its answer, if that was heard.
fn wait(child: &mut Running, halt: Option<&Halt>, after: Duration) -> Verdict<Option<Answer>> {
    child.wait_for(|line| (*line == Line::Ready).then_some(()))?;
    if halt.is_some() {
        child.wait_for(|line| matches!(line, Line::Halted { .. }).then_some(()))?;
        child.give_byte();
        child.wait_for(|line| (*line == Line::GoesOn).then_some(()))?;
    }
    let moment = Instant::now() + after;
    loop {
        match child.next_until(moment)? {
            Heard::Nothing => return Ok(None),
            Heard::Line(line) => {
                if let Some(answer) = answer(&line) {
                    return Ok(Some(answer));
                }
            }
            Heard::End => return Err(child.ended_early()),
        }
    }
}

/// Hears what a stopped child told before; its answer, if that is among it.
fn drain(child: &mut Running, mut answered: Option<Answer>) -> Verdict<Option<Answer>> {
    loop {
        match child.next_until(Instant::now() + QUIET)? {
            Heard::Nothing => return Ok(answered),
            Heard::Line(line) => answered = answered.or_else(|| answer(&line)),
            Heard::End => return Err(child.ended_early()),
        }
    }
}

/// How long nothing is heard of a child that has told all.
const QUIET: Duration = Duration::from_millis(20);

/// The second writer, at work: it claims, and persists a part.
struct Second(tokio::task::JoinHandle<Verdict<(Stand, Arc<Part>)>>);

impl Second {
    fn start(
        runtime: &Runtime,
        backend: &Arc<dyn StorageBackend>,
        id: &WorldId,
        seed: u64,
    ) -> Self {
        let (backend, id) = (Arc::clone(backend), id.clone());
        Self(runtime.spawn(async move { claim_and_write(&*backend, &id, seed).await }))
    }

    /// What it came to, or itself if it is still at work.
    fn within(
        mut self,
        runtime: &Runtime,
        limit: Duration,
    ) -> Result<Verdict<(Stand, Arc<Part>)>, Self> {
        match runtime.block_on(async { timeout(limit, &mut self.0).await }) {
            Ok(done) => Ok(done.expect("the second writer does not panic")),
            Err(_) => Err(self),
        }
    }
}

async fn claim_and_write(
    backend: &dyn StorageBackend,
    id: &WorldId,
    seed: u64,
) -> Verdict<(Stand, Arc<Part>)> {
    let failed = |error: Error| format!("P11: the second writer is refused: {error:?}");
    let claimed = loop {
        match Stand::claim(backend, id).await {
            Err(error) if error.kind().is_retryable() => sleep(PAUSE).await,
            claimed => break claimed.map_err(failed)?,
        }
    };
    let part = claimed.part(noise(&mut Dice::new(seed, &[2]), id, 3, 50));
    loop {
        match persist(backend, &part).await {
            Err(error) if error.kind().is_retryable() => sleep(PAUSE).await,
            written => return written.map(|_| (claimed, part)).map_err(failed),
        }
    }
}

/// Between two tries of something that may be tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(10);
