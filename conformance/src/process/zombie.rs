//! A writer that is stopped in the middle of a flush and goes on after another has claimed.

use std::sync::Arc;

use aqevia_storage::{Error, Part, StorageBackend, WorldId};
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::time::{Duration, Instant, sleep, timeout};

use super::announce::Halt;
use super::child::{Job, Task};
use super::compare::compare_world;
use super::launcher::{Heard, Launcher, Running};
use super::line::Line;
use super::plan::{Dice, Stand, noise, owner};
use super::stopped::{Answer, answer, answers, check_answers, first_writer};
use super::{Verdict, runtime};
use crate::Harness;
use crate::model::Model;
use crate::sample::{schema, world};
use crate::writer::persist;

/// What a check with stopped writers did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ZombieReport {
    /// What the records and the random moments follow from.
    pub seed: u64,
    /// The steps of one `persist_batch` at which a writer was stopped, one writer each.
    pub steps: Vec<String>,
    /// How many writers were stopped at a random moment of `persist_batch` beside those.
    pub timed: u64,
    /// How often the claim could not be made before the stopped writer went on.
    pub claims_that_waited: u64,
    /// How often the part of the stopped writer was refused.
    pub refused: u64,
    /// How often it was in the store, before the claim.
    pub let_in: u64,
}

/// How many writers are stopped at random moments.
const TIMED: u64 = 4;

/// Stops a writer at each step of a flush in turn, lets another claim its world and write to it,
/// and lets the first go on: its part is in before all that the second wrote, or is refused.
///
/// Only for stores that several processes may have open.
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
                steps: Vec::new(),
                timed: 0,
                claims_that_waited: 0,
                refused: 0,
                let_in: 0,
            },
            step: "none".to_owned(),
        }
    }

    fn all(&mut self) -> Verdict {
        let (steps, flush) = self.undisturbed()?;
        for halt in steps {
            self.report.steps.push(halt.step.clone());
            self.step.clone_from(&halt.step);
            let world = format!("stopped at step {}", self.report.steps.len());
            self.one(&world, When::At(halt))?;
        }
        for index in 0..TIMED {
            self.report.timed += 1;
            let mut dice = Dice::new(self.report.seed, &[index]);
            let share = u32::try_from(dice.below(1000)).unwrap_or(0);
            let world = format!("stopped at moment {index}");
            self.one(&world, When::After(flush * share / 1000))?;
        }
        let closed = self.runtime.block_on(self.backend.close());
        closed.map_err(|error| format!("P11: `close` of the second writer fails: {error:?}"))
    }

    fn start(&self, world: &str, halt: Option<Halt>) -> Running {
        let world = world.to_owned();
        self.launcher.start(&Job {
            task: Task::Flush { world },
            location: self.harness.location(),
            seed: self.report.seed,
            halt,
        })
    }

    /// The steps of a flush that nobody disturbs, and how long it takes.
    fn undisturbed(&self) -> Verdict<(Vec<Halt>, Duration)> {
        let mut child = self.start("undisturbed", None);
        let mut halts: Vec<Halt> = Vec::new();
        child.wait_for(|line| (*line == Line::Ready).then_some(()))?;
        let begin = Instant::now();
        loop {
            match child.next()? {
                Some(Line::Step { name: step }) => {
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
        let mut child = self.start(name, when.halt());
        let answered = match when {
            When::At(_) => child.wait_for(|line| match line {
                Line::Halted { .. } => Some(None),
                _ => None,
            })?,
            When::After(after) => wait(&mut child, after)?,
        };
        self.step.clone_from(&child.step);
        child.stop();
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
        let answers = answers(&mut child, answered)?;
        child.finish()?;
        self.settle(&id, &claimed, &written, &answers)
    }

    /// Compares what both writers were told with what the store holds.
    fn settle(
        &mut self,
        id: &WorldId,
        claimed: &Stand,
        written: &Arc<Part>,
        [flushed, next, again]: &[Answer; 3],
    ) -> Verdict {
        let seed = self.report.seed;
        let [first, second, _] = first_writer(seed, id);
        let let_in = claimed.claim.last_number == second.number();
        self.report.let_in += u64::from(let_in);
        self.report.refused += u64::from(!let_in);

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
        self.runtime.block_on(compared)
    }
}

/// How long a claim may take before the first writer is taken to be in its way.
const PATIENCE: Duration = Duration::from_millis(400);
/// How long a claim may take once the first writer goes on.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// When a writer is stopped.
enum When {
    At(Halt),
    /// So long after its flush began.
    After(Duration),
}

impl When {
    fn halt(&self) -> Option<Halt> {
        match self {
            Self::At(halt) => Some(halt.clone()),
            Self::After(_) => None,
        }
    }
}

/// Waits until a flush has gone on for so long, or has ended; its answer, if that was heard.
fn wait(child: &mut Running, after: Duration) -> Verdict<Option<Answer>> {
    child.wait_for(|line| (*line == Line::Ready).then_some(()))?;
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
