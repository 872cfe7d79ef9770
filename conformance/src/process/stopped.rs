//! The writer that is stopped, and what it is told.

use std::sync::Arc;

use aqevia_storage::{
    Claim, Epoch, ErrorKind, Part, Receipt, Result, SchemaPolicy, StorageBackend, WorldId,
};
use tokio::time::{Instant, sleep};

use super::Verdict;
use super::announce::Announcer;
use super::child::Job;
use super::launcher::Running;
use super::line::{Line, wait_for_byte};
use super::plan::{Dice, Stand, noise};
use super::writes::{ANSWERED, CALLED};
use super::zombie::{LIMIT, PAUSE};
use crate::Harness;
use crate::sample::world;
use crate::writer::persist;

/// What a child told of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    kind: Option<String>,
    first: u64,
    repeated: bool,
}

impl Answer {
    fn is(&self, kind: ErrorKind) -> bool {
        self.kind == Some(format!("{kind:?}"))
    }
}

/// Hears what the first writer is told of its part, of the one after it, and of the first again.
pub(super) fn answers(child: &mut Running, flushed: Option<Answer>) -> Verdict<[Answer; 3]> {
    let flushed = match flushed {
        Some(flushed) => flushed,
        None => child.wait_for(answer)?,
    };
    child.give_byte();
    Ok([flushed, child.wait_for(answer)?, child.wait_for(answer)?])
}

pub(super) fn answer(line: &Line) -> Option<Answer> {
    match line.clone() {
        Line::Answered {
            kind,
            first,
            repeated,
        } => Some(Answer {
            kind,
            first,
            repeated,
        }),
        _ => None,
    }
}

pub(super) fn check_answers(
    let_in: bool,
    flushed: &Answer,
    next: &Answer,
    again: &Answer,
) -> Verdict {
    let first = FIRST_RECORDS as u64 + 1;
    match (let_in, &flushed.kind) {
        (true, None) if flushed.first == first => {}
        (true, None) => {
            return Err(format!(
                "P3: the part got {flushed:?}, not sequence {first}"
            ));
        }
        (false, None) => {
            return Err(
                "P6: the part of a stopped writer is acknowledged after another claimed its world"
                    .to_owned(),
            );
        }
        (false, Some(_)) if flushed.is(ErrorKind::Fenced) => {}
        (true, Some(kind)) => {
            return Err(format!(
                "E1: a part is answered {kind}, and is in the store"
            ));
        }
        (false, Some(kind)) => {
            return Err(format!("P6: a part of a fenced writer is answered {kind}"));
        }
    }
    if !next.is(ErrorKind::Fenced) {
        return Err(format!(
            "P6: what a fenced writer tries next is answered {next:?}"
        ));
    }
    let repeated = Answer {
        kind: None,
        first,
        repeated: true,
    };
    if let_in && *again != repeated {
        return Err(format!(
            "P5: a part that is in the store is answered {again:?}"
        ));
    }
    if !let_in && !again.is(ErrorKind::Fenced) {
        return Err(format!(
            "P6: a part that was refused is answered {again:?} later"
        ));
    }
    Ok(())
}

/// How many records the first writer's first part has.
const FIRST_RECORDS: usize = 4;

/// The parts of the first writer, the first to claim a world: one that it persists in peace, the
/// one at which it is stopped, whose records have so many bytes, and the one after that.
pub(super) fn first_writer(seed: u64, id: &WorldId, bytes: usize) -> [Arc<Part>; 3] {
    let mut stand = Stand {
        world: id.clone(),
        claim: Claim::first(),
    };
    let mut dice = Dice::new(seed, &[1]);
    [(FIRST_RECORDS, 400), (200, bytes), (2, 400)].map(|(count, bytes)| {
        let part = stand.part(noise(&mut dice, id, count, bytes));
        stand.advance(&part);
        part
    })
}

/// See [`Task::Flush`].
pub(crate) async fn flush<H: Harness>(
    job: &Job,
    announcer: &Arc<Announcer>,
    (name, bytes): (&str, usize),
) {
    let harness = H::at(&job.location).await;
    let backend = harness.open().await;
    let initialised = backend.init(SchemaPolicy::Upgrade).await;
    initialised.expect("P11: `init` while another process has the store open");
    let id = world(name);
    let stand = Stand::claim(&*backend, &id).await;
    assert_eq!(
        stand
            .expect("P11: `claim` while another has the store open")
            .claim
            .epoch,
        Epoch::FIRST,
        "R4: a world that nobody claimed is at no epoch"
    );
    let [first, second, third] = first_writer(job.seed, &id, bytes);
    let persisted = persist(&*backend, &first).await;
    persisted.expect("P11: `persist_batch` while another has the store open");
    announcer.arm();
    Line::Ready.say();
    announcer.step(CALLED);
    let answer = persist_to_an_end(&*backend, &second).await;
    announcer.step(ANSWERED);
    say(&answer);
    wait_for_byte();
    say(&persist_to_an_end(&*backend, &third).await);
    say(&persist_to_an_end(&*backend, &second).await);
    // A writer that is fenced can still close.
    backend
        .close()
        .await
        .expect("P11: `close` of a fenced writer");
}

/// Persists a part as its writer would: again, while the answer allows it.
async fn persist_to_an_end(backend: &dyn StorageBackend, part: &Arc<Part>) -> Result<Receipt> {
    let begin = Instant::now();
    loop {
        match persist(backend, part).await {
            Err(error) if error.kind().is_retryable() && begin.elapsed() < LIMIT => {
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

fn say(answer: &Result<Receipt>) {
    let kind = answer
        .as_ref()
        .err()
        .map(|error| format!("{:?}", error.kind()));
    let receipt = answer.as_ref().ok();
    Line::Answered {
        kind,
        first: receipt.map_or(0, |receipt| receipt.first.get()),
        repeated: receipt.is_some_and(|receipt| receipt.repeated),
    }
    .say();
}
