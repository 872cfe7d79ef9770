//! Many processes that start at once on one store.

use aqevia_storage::{ErrorKind, WorldId};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::child::{Job, Task};
use super::compare::{compare_world, heads};
use super::launcher::{Launcher, Running};
use super::line::Line;
use super::plan::{Stand, owner};
use super::starting::{SHARED, own, own_records, shared_records};
use super::{Verdict, runtime};
use crate::Harness;
use crate::harness::{close, open};
use crate::model::Model;
use crate::sample::{schema, world};

/// What a storm of starts did.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct StormReport {
    /// What the records follow from.
    pub seed: u64,
    /// How many times the processes started, on a new store each time.
    pub rounds: u64,
    /// How many processes started at once.
    pub processes: u64,
    /// How many of their `init` succeeded, in all rounds.
    pub opened: u64,
    /// How many were refused as `Unavailable`, as a store that is not `shared` has to.
    pub refused: u64,
    /// How many parts were refused in the world that all claim, because another claimed meanwhile.
    pub fenced: u64,
}

/// How many processes start at once.
const PROCESSES: u64 = 8;

/// Starts eight processes at once on an empty store, as often as asked for: each `init` succeeds,
/// and each process writes to a world of its own and to one that all claim. Where the store is not
/// `shared` one of them gets it, and the others are refused and leave no trace.
///
/// Only for stores whose declared durability is not `None`.
///
/// # Panics
/// If the store breaks the contract: the message begins with the clause's id. If a child hangs or
/// ends early.
pub fn start_up_storm<H: Harness>(launcher: &Launcher, rounds: u64, seed: u64) -> StormReport {
    let runtime = runtime();
    let mut report = StormReport {
        seed,
        rounds,
        processes: PROCESSES,
        opened: 0,
        refused: 0,
        fenced: 0,
    };
    for number in 0..rounds {
        let harness: H = runtime.block_on(H::new());
        let round = Round {
            launcher,
            runtime: &runtime,
            harness,
            number,
            seed,
        };
        if let Err(violation) = round.all(&mut report) {
            panic!("{violation}\n(start-up storm of seed {seed}, round {number})");
        }
    }
    report
}

struct Round<'a, H> {
    launcher: &'a Launcher,
    runtime: &'a Runtime,
    harness: H,
    number: u64,
    seed: u64,
}

/// A process that has said what came of its `init`.
struct Started {
    index: u64,
    child: Running,
    /// The kind of the error, if it was refused.
    refused: Option<String>,
}

/// What a process got in the world that all claim.
#[derive(Debug)]
struct InShared {
    index: u64,
    epoch: u64,
    /// Whether its part is in; if not, it was fenced.
    written: bool,
}

impl<H: Harness> Round<'_, H> {
    fn all(&self, report: &mut StormReport) -> Verdict {
        let mut started = self.start()?;
        check_started(&started, self.harness.capabilities().shared)?;
        let opened: Vec<_> = started
            .extract_if(.., |started| started.refused.is_none())
            .collect();
        report.opened += opened.len() as u64;
        report.refused += started.len() as u64;
        // Order matters: who was refused has ended before anybody writes.
        for refused in started {
            refused.child.finish()?;
        }
        let owners: Vec<_> = opened.iter().map(|started| started.index).collect();
        let in_shared = write(opened, in_step::<H>(&self.harness, self.number))?;
        report.fenced += in_shared.iter().filter(|one| !one.written).count() as u64;
        self.runtime.block_on(self.check(&owners, in_shared))
    }

    /// Starts all processes, lets them `init` at once, and hears what they got.
    fn start(&self) -> Verdict<Vec<Started>> {
        let mut children: Vec<_> = (0..PROCESSES).map(|index| self.child(index)).collect();
        for child in &mut children {
            child.wait_for(|line| (*line == Line::Ready).then_some(()))?;
        }
        for child in &mut children {
            child.give_byte();
        }
        let started = (0..).zip(children).map(|(index, mut child)| {
            let refused = child.wait_for(answer)?;
            Ok(Started {
                index,
                child,
                refused,
            })
        });
        started.collect()
    }

    fn child(&self, index: u64) -> Running {
        self.launcher.start(&Job {
            task: Task::StartUp {
                index,
                round: self.number,
            },
            location: self.harness.location(),
            seed: self.seed,
            halt: None,
        })
    }

    /// Compares the store with what the processes were told, and opens it once more.
    async fn check(&self, owners: &[u64], in_shared: Vec<InShared>) -> Verdict {
        let mut model = Model::default();
        for index in owners {
            let mut stand = claim(&mut model, &world(&own(*index)));
            for records in own_records(self.seed, self.number, *index) {
                let part = stand.part(records);
                model.persist(std::slice::from_ref(&part));
                stand.advance(&part);
            }
        }
        expect_shared(&mut model, self.seed, in_shared)?;
        let backend = open(&self.harness).await;
        let (found, expected) = (heads(&*backend).await?, model.heads());
        if found != expected {
            return Err(format!(
                "B2: the worlds are {found:?}, and have to be {expected:?}"
            ));
        }
        for head in &expected {
            let world = model.world(&head.world).ok_or("the model has its worlds")?;
            compare_world(&*backend, &head.world, world).await?;
        }
        close(backend).await;
        let before = self.harness.dump().await;
        close(open(&self.harness).await).await;
        match before == self.harness.dump().await {
            true => Ok(()),
            false => Err("B2: `init` finds something left to do after the processes".to_owned()),
        }
    }
}

/// Checks which processes got the store.
fn check_started(started: &[Started], shared: bool) -> Verdict {
    let unavailable = format!("{:?}", ErrorKind::Unavailable);
    for one in started {
        match &one.refused {
            None => {}
            Some(kind) if shared => {
                return Err(format!(
                    "B2: `init` beside that of others is refused: {kind}"
                ));
            }
            Some(kind) if *kind == unavailable => {}
            Some(kind) => return Err(format!("B8: `init` of a store in use is refused: {kind}")),
        }
    }
    let opened = started.iter().filter(|one| one.refused.is_none()).count();
    if !shared && opened != 1 {
        return Err(format!(
            "B8: {opened} processes of {PROCESSES} have a store open that is not shared"
        ));
    }
    Ok(())
}

/// Whether, in a round, the processes write only after each has initialised the store, and to their
/// common world only after each has claimed it. In the other rounds nobody waits for anybody.
pub(super) fn in_step<H: Harness>(harness: &H, round: u64) -> bool {
    !harness.capabilities().shared || round.is_multiple_of(2)
}

/// Lets the processes write, all at once, and hears what they got in the world that all claim.
fn write(mut writers: Vec<Started>, in_step: bool) -> Verdict<Vec<InShared>> {
    let go_on = |writers: &mut Vec<Started>| {
        if in_step {
            writers
                .iter_mut()
                .for_each(|writer| writer.child.give_byte());
        }
    };
    go_on(&mut writers);
    let mut epochs = Vec::new();
    for writer in &mut writers {
        epochs.push(writer.child.wait_for(|line| match line {
            Line::Claimed { epoch, .. } => Some(*epoch),
            _ => None,
        })?);
    }
    go_on(&mut writers);
    let writers = writers.into_iter().zip(epochs);
    writers
        .map(|(writer, epoch)| in_shared(writer, epoch))
        .collect()
}

fn in_shared(writer: Started, epoch: u64) -> Verdict<InShared> {
    let Started {
        index, mut child, ..
    } = writer;
    let refused = child.wait_for(answer)?;
    child.finish()?;
    let fenced = format!("{:?}", ErrorKind::Fenced);
    match refused {
        Some(kind) if kind != fenced => Err(format!(
            "P11: a part is refused beside those of others: {kind}"
        )),
        refused => Ok(InShared {
            index,
            epoch,
            written: refused.is_none(),
        }),
    }
}

fn answer(line: &Line) -> Option<Option<String>> {
    match line {
        Line::Answered { kind, .. } => Some(kind.clone()),
        _ => None,
    }
}

/// Takes the claims of the world that all claim into the model, with the parts that are in.
///
/// A part of an epoch is in before the next is claimed, so the epochs give the order.
fn expect_shared(model: &mut Model, seed: u64, mut in_shared: Vec<InShared>) -> Verdict {
    in_shared.sort_by_key(|one| one.epoch);
    for (expected, one) in (1..).zip(&in_shared) {
        if one.epoch != expected {
            return Err(format!(
                "P6: the claims of one world get other epochs: {in_shared:?}"
            ));
        }
        let stand = claim(model, &world(SHARED));
        if one.written {
            model.persist(&[stand.part(shared_records(seed, one.index))]);
        }
    }
    match in_shared.last() {
        Some(last) if !last.written => {
            Err(format!("P6: who claimed last is fenced: {in_shared:?}"))
        }
        _ => Ok(()),
    }
}

fn claim(model: &mut Model, id: &WorldId) -> Stand {
    Stand {
        world: id.clone(),
        claim: model.claim(id, &owner(), schema().fingerprint()),
    }
}
