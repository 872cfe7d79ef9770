//! Defects in how much of a part is there, and when.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use aqevia_storage::{
    Batch, BatchRecord, Change, History, Limit, LogRange, Memory, Part, Reads, Receipt, Result,
    Sequence, StorageBackend, WorldId, WorldRecord,
};
use async_trait::async_trait;

use super::numbers::renumbered;
use super::{Defect, LogPage, persist_changed, persist_one, with_records};

/// Keeps the first half of a part, and acknowledges it whole.
#[derive(Default)]
pub(crate) struct HalfParts;

#[async_trait]
impl Defect for HalfParts {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_cut(memory, &batch, |records| records.div_ceil(2)).await
    }
}

/// Loses the last record of a part that has more than two hundred, if they cannot be paired.
#[derive(Default)]
pub(crate) struct OddOneLost;

#[async_trait]
impl Defect for OddOneLost {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let paired = |records| records - usize::from(records > 200) * (records % 2);
        persist_cut(memory, &batch, paired).await
    }
}

/// Keeps no more than 65,535 records of a part.
#[derive(Default)]
pub(crate) struct LargePartsCut;

#[async_trait]
impl Defect for LargePartsCut {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_cut(memory, &batch, |records| records.min(usize::from(u16::MAX))).await
    }
}

/// Keeps so many records of each part, and acknowledges it whole.
async fn persist_cut(
    memory: &Memory,
    batch: &Batch,
    kept: fn(usize) -> usize,
) -> Vec<Result<Receipt>> {
    let cut = |part: &Part| {
        let kept = kept(part.records().len());
        with_records(part, part.records().split_at(kept).0.to_vec())
    };
    let mut answers = persist_changed(memory, batch, cut).await;
    for (answer, part) in answers.iter_mut().zip(batch.parts()) {
        if let Ok(receipt) = answer {
            receipt.count = part.count();
        }
    }
    answers
}

/// Writes a part of two records or more in two steps, between which others can read.
#[derive(Default)]
pub(crate) struct TornParts {
    reads: AtomicUsize,
}

#[async_trait]
impl Defect for TornParts {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let [part] = batch.parts() else {
            return memory.persist_batch(batch).await;
        };
        let (first, second) = part.records().split_at(part.records().len() / 2);
        if first.len() < TORN_MIN {
            return memory.persist_batch(batch).await;
        }
        let half = |records: &[BatchRecord]| with_records(part, records.to_vec());
        let receipt = persist_one(memory, renumbered(memory, &half(first)).await).await;
        // Two reads that end from here on: the second of them began here, too.
        let read = self.reads.load(Ordering::Acquire);
        for _ in 0..YIELDS_MAX {
            if self.reads.load(Ordering::Acquire) >= read + 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let rest = persist_one(memory, renumbered(memory, &half(second)).await).await;
        let count = part.count();
        vec![receipt.and_then(|receipt| rest.map(|_| Receipt::written(receipt.first, count)))]
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let page = from.log(id, of, to).await;
        self.reads.fetch_add(1, Ordering::AcqRel);
        page
    }
}

/// Half of the records from which on a part is torn.
const TORN_MIN: usize = 400;
/// How long a torn part waits for readers, where there may be none.
const YIELDS_MAX: usize = 20_000;

/// Writes the first half of a part whose call is dropped before it is done.
#[derive(Default)]
pub(crate) struct HalfWhenDropped;

#[async_trait]
impl Defect for HalfWhenDropped {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut unfinished = Unfinished {
            memory,
            batch: Some(batch.clone()),
        };
        tokio::task::yield_now().await;
        unfinished.batch = None;
        memory.persist_batch(batch).await
    }
}

/// A call that is under way.
struct Unfinished<'a> {
    memory: &'a Memory,
    batch: Option<Batch>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            at_once(persist_cut(self.memory, &batch, |records| records / 2));
        }
    }
}

/// What the reference backend answers, which is there at the first poll.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    match std::pin::pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("the reference backend waits for nothing"),
    }
}

/// Writes of a batch of several parts the first, and acknowledges all.
#[derive(Default)]
pub(crate) struct FirstOfBatch;

#[async_trait]
impl Defect for FirstOfBatch {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = Vec::new();
        for part in batch.parts() {
            let receipt = Receipt::written(Sequence::FIRST, part.count());
            answers.push(match answers.is_empty() {
                true => persist_one(memory, Arc::clone(part)).await,
                false => Ok(receipt),
            });
        }
        answers
    }
}

/// Gives the events of a part their sequences before its Puts, where no Put is logged.
#[derive(Default)]
pub(crate) struct EventsFirst;

#[async_trait]
impl Defect for EventsFirst {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let sorted = |part: &Part| {
            let mut records = part.records().to_vec();
            let is_event = |record: &BatchRecord| {
                let change = &record.record().change;
                matches!(change, Change::Event { .. })
            };
            if records
                .iter()
                .all(|record| is_event(record) == record.is_logged())
            {
                records.sort_by_key(|record| !is_event(record));
            }
            with_records(part, records)
        };
        persist_changed(memory, &batch, sorted).await
    }
}

/// Writes something for a part without records.
#[derive(Default)]
pub(crate) struct EmptyTakesNumber;

#[async_trait]
impl Defect for EmptyTakesNumber {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let fill = |part: &Part| {
            let mut records = part.records().to_vec();
            if records.is_empty() {
                let event = WorldRecord::new(part.world().clone(), Vec::new(), 0);
                records.push(BatchRecord::new(event, History::Latest));
            }
            with_records(part, records)
        };
        persist_changed(memory, &batch, fill).await
    }
}

/// Answers a part without records with the head instead of the sequence after it.
#[derive(Default)]
pub(crate) struct EmptyAtHead;

#[async_trait]
impl Defect for EmptyAtHead {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut answers = memory.persist_batch(batch).await;
        for receipt in answers.iter_mut().flatten() {
            if receipt.count == 0 {
                receipt.first = Sequence::new(receipt.first.get() - 1).unwrap();
            }
        }
        answers
    }
}
