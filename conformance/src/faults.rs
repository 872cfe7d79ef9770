//! Faults between a writer and its store: whatever became of a part, persisting it again leaves it
//! in the store once, or, if another writer has claimed the world meanwhile, once or not at all.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use aqevia_storage::{Batch, ErrorKind, Part, Receipt, Result, StorageBackend, WorldId};
use serde::Serialize;

use crate::Harness;
use crate::contents::contents;
use crate::harness::{another, open};
use crate::sample::{Kind, event, events, world};
use crate::suite::on_runtime;
use crate::writer::{Writer, persist_settled};

/// What befalls a part.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It never comes to the store.
    FailedBefore,
    /// It is executed, and its answer is lost.
    AnswerLost,
    /// The call is dropped after it was polled so often.
    Dropped(u32),
    /// The call is polled so often, and then neither goes on nor ends.
    Hangs(u32),
    /// The backend is dropped with the call, as with a broken connection, and another is opened.
    Disconnected(u32),
    /// The call goes on while what comes between is done.
    Delayed,
}

/// What comes between a part and its being persisted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Nothing,
    /// Another writer claims the world.
    Claim,
    /// Another writer claims the world and writes to it.
    ClaimAndWrite,
}

const BETWEEN: [Between; 3] = [Between::Nothing, Between::Claim, Between::ClaimAndWrite];

/// Every fault; calls are given up after so many polls.
fn all() -> impl Iterator<Item = Fault> {
    let polled = [0, 1, 2, 3, 8].into_iter();
    let polled = polled.flat_map(|polls| {
        [
            Fault::Dropped(polls),
            Fault::Hangs(polls),
            Fault::Disconnected(polls),
        ]
    });
    let plain = [Fault::FailedBefore, Fault::AnswerLost, Fault::Delayed];
    plain.into_iter().chain(polled)
}

/// What was tried, and what became of the parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultReport {
    /// Faults, each with what came between.
    pub cases: u64,
    /// Parts that were in the store before they were persisted again.
    pub repeated: u64,
    /// Parts that came in when they were persisted again.
    pub written: u64,
    /// Parts that were refused, since another writer had claimed the world.
    pub fenced: u64,
}

/// Tries every fault on a part, with and without another writer's claim before it is tried again.
///
/// # Panics
/// If a part is in the store twice, in part, or not as it was answered; the message begins with the
/// id of the clause and names the fault.
pub fn faults<H: Harness>() -> FaultReport {
    on_runtime(async {
        let harness = H::new().await;
        let mut backend = open(&harness).await;
        let mut report = FaultReport::default();
        for (fault, between) in all().flat_map(|fault| BETWEEN.map(|between| (fault, between))) {
            let world = world(&format!("world {}", report.cases));
            let case = Case {
                harness: &harness,
                fault,
                between,
                world,
            };
            backend = case.run(backend, &mut report).await;
        }
        report
    })
}

/// A fault, in a world of its own.
struct Case<'a, H> {
    harness: &'a H,
    fault: Fault,
    between: Between,
    world: WorldId,
}

type Call<'a> = Pin<Box<dyn Future<Output = Vec<Result<Receipt>>> + Send + 'a>>;

impl<H: Harness> Case<'_, H> {
    /// Runs it, and returns the backend that is open at its end.
    async fn run(
        &self,
        backend: Arc<dyn StorageBackend>,
        report: &mut FaultReport,
    ) -> Arc<dyn StorageBackend> {
        let mut writer = Writer::claim(&backend, &self.world).await;
        writer.persist(events(&self.world, 2)).await;
        let mut records = events(&self.world, 50);
        records.push(Kind::Fleets.put(&self.world, "a", "1"));
        let part = writer.part(records);
        drop(writer);

        let (backend, second) = self.suffer(backend, &part).await;
        let again = persist_settled(&*backend, &part).await;
        report.cases += 1;
        self.check(&*backend, &part, &again, second).await;
        match &again {
            Ok(receipt) if receipt.repeated => report.repeated += 1,
            Ok(_) => report.written += 1,
            Err(_) => report.fenced += 1,
        }
        backend
    }

    /// Lets the fault befall the part, and does what comes between. Returns the backend to go on
    /// with, and how many records another writer has written.
    async fn suffer(
        &self,
        backend: Arc<dyn StorageBackend>,
        part: &Arc<Part>,
    ) -> (Arc<dyn StorageBackend>, u64) {
        let batch = Batch::new(vec![Arc::clone(part)]).expect("one part");
        match self.fault {
            Fault::FailedBefore => {}
            Fault::AnswerLost => drop(backend.persist_batch(batch).await),
            Fault::Dropped(polls) => drop(given_up(backend.persist_batch(batch), polls)),
            Fault::Hangs(polls) => {
                let hanging = given_up(backend.persist_batch(batch), polls);
                let second = self.pass(&backend).await;
                drop(hanging);
                return (backend, second);
            }
            Fault::Disconnected(polls) => {
                drop(given_up(backend.persist_batch(batch), polls));
                drop(backend);
                let backend = open(self.harness).await;
                let second = self.pass(&backend).await;
                return (backend, second);
            }
            Fault::Delayed => {
                let delayed = Arc::clone(&backend);
                let call = tokio::spawn(async move { delayed.persist_batch(batch).await });
                let second = self.pass(&backend).await;
                drop(call.await);
                return (backend, second);
            }
        }
        let second = self.pass(&backend).await;
        (backend, second)
    }

    /// Does what comes between; the number of records that it writes.
    async fn pass(&self, backend: &Arc<dyn StorageBackend>) -> u64 {
        if self.between == Between::Nothing {
            return 0;
        }
        let other = another(self.harness, backend).await;
        let mut second = Writer::claim_as(&other, &self.world, "the next").await;
        if self.between == Between::Claim {
            return 0;
        }
        second
            .persist(vec![event(&self.world, "of the next")])
            .await;
        1
    }

    /// Checks the answer to the part that was persisted again, and what the store holds.
    async fn check(
        &self,
        backend: &dyn StorageBackend,
        part: &Part,
        again: &Result<Receipt>,
        second: u64,
    ) {
        let case = format!("{:?}, then {:?}", self.fault, self.between);
        let there = match again {
            Ok(receipt) => {
                assert_eq!(receipt.first.get(), 3, "P3: where a part lies after {case}");
                u64::from(receipt.count)
            }
            Err(error) => {
                let kind = error.kind();
                let claimed = self.between != Between::Nothing;
                assert!(
                    claimed && kind == ErrorKind::Fenced,
                    "P5: a part that is persisted again after {case}: {error}"
                );
                0
            }
        };
        let late = again.as_ref().is_ok_and(|receipt| !receipt.repeated);
        assert!(
            !late || self.between == Between::Nothing,
            "P6: a part of a fenced writer is written after {case}"
        );
        if let Fault::AnswerLost = self.fault {
            let repeated = again.as_ref().is_ok_and(|receipt| receipt.repeated);
            assert!(
                repeated,
                "P5: a part was executed, and is not repeated after {case}"
            );
        }
        if there > 0 {
            assert_eq!(
                there,
                u64::from(part.count()),
                "P1: a part is whole after {case}"
            );
        }
        let held = contents(backend, &self.world).await;
        let head = 2 + there + second;
        assert_eq!(
            held.head.get(),
            head,
            "P5: what is in the store after {case}"
        );
        let puts = u64::from(there > 0);
        let counts = (held.log.len() as u64, held.state.len() as u64);
        assert_eq!(
            counts,
            (head - puts, puts),
            "P1: the rows of a part after {case}"
        );
    }
}

/// A call that was polled so often, unless it ended before.
fn given_up(mut call: Call<'_>, polls: u32) -> Call<'_> {
    for _ in 0..polls {
        let mut context = Context::from_waker(Waker::noop());
        if call.as_mut().poll(&mut context).is_ready() {
            return Box::pin(std::future::pending());
        }
        std::thread::yield_now();
    }
    call
}
