//! Defects in what is kept of a part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchRecord, Change, Collection, History, Key, Limit, LogRange, Memory, Part, Payload,
    Reads, Receipt, Result, Sequence, StateRange, StorageBackend, WorldId, WorldRecord,
};
use async_trait::async_trait;

use super::{Defect, LogPage, persist_changed, persist_one, with_records};

/// Keeps the first half of a part, and acknowledges it whole.
#[derive(Default)]
pub(crate) struct HalfParts;

#[async_trait]
impl Defect for HalfParts {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let half = |part: &Part| {
            let half = part.records().len().div_ceil(2);
            with_records(part, part.records().split_at(half).0.to_vec())
        };
        let mut answers = persist_changed(memory, &batch, half).await;
        for (answer, part) in answers.iter_mut().zip(batch.parts()) {
            if let Ok(receipt) = answer {
                receipt.count = part.count();
            }
        }
        answers
    }
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
        if first.is_empty() {
            return memory.persist_batch(batch).await;
        }
        let receipt = persist_one(memory, renumbered(memory, part, first.to_vec()).await).await;
        // Two reads that end from here on: the second of them began here, too.
        let read = self.reads.load(Ordering::Acquire);
        for _ in 0..YIELDS_MAX {
            if self.reads.load(Ordering::Acquire) >= read + 2 {
                break;
            }
            tokio::task::yield_now().await;
        }
        let rest = persist_one(memory, renumbered(memory, part, second.to_vec()).await).await;
        vec![
            receipt.and_then(|receipt| rest.map(|_| Receipt::written(receipt.first, part.count()))),
        ]
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

/// How long a torn part waits for readers, where there may be none.
const YIELDS_MAX: usize = 100_000;

/// The part with other records, under the number that follows in the store.
async fn renumbered(memory: &Memory, part: &Part, records: Vec<BatchRecord>) -> Arc<Part> {
    super::writers::renumbered(memory, &with_records(part, records)).await
}

/// Acknowledges a part and keeps it to itself until `close`.
#[derive(Default)]
pub(crate) struct HeldUntilClose {
    held: Mutex<Vec<Batch>>,
}

#[async_trait]
impl Defect for HeldUntilClose {
    async fn persist(&self, _memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let mut held = self.held.lock().unwrap();
        let before = held
            .iter()
            .flat_map(Batch::parts)
            .map(|part| u64::from(part.count()));
        let first = Sequence::new(before.sum::<u64>() + 1).unwrap();
        let parts = batch.parts().iter();
        let receipts = parts
            .map(|part| Ok(Receipt::written(first, part.count())))
            .collect();
        held.push(batch);
        receipts
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        let held = std::mem::take(&mut *self.held.lock().unwrap());
        for batch in held {
            memory.persist_batch(batch).await;
        }
        memory.close().await
    }
}

/// Keeps the records of a part in the opposite order.
#[derive(Default)]
pub(crate) struct Reversed;

#[async_trait]
impl Defect for Reversed {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let reverse =
            |part: &Part| with_records(part, part.records().iter().rev().cloned().collect());
        persist_changed(memory, &batch, reverse).await
    }
}

/// Keeps text up to its first NUL.
#[derive(Default)]
pub(crate) struct CutAtNul;

#[async_trait]
impl Defect for CutAtNul {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_changed(memory, &batch, |part| each(part, cut_at_nul)).await
    }
}

fn cut_at_nul(mut record: WorldRecord) -> WorldRecord {
    if let Change::Put { payload, .. } | Change::Event { payload, .. } = &mut record.change
        && let Payload::Json(text) = payload
    {
        let end = text.find('\0').unwrap_or(text.len());
        text.truncate(end);
    }
    record
}

/// Of several records of one key in a part, keeps the payload of the first.
#[derive(Default)]
pub(crate) struct FirstInPart;

#[async_trait]
impl Defect for FirstInPart {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let first = |part: &Part| {
            let mut payloads = BTreeMap::new();
            each(part, |mut record| {
                let slot = slot(&record);
                if let Change::Put { payload, .. } = &mut record.change {
                    *payload = payloads.entry(slot).or_insert(payload.clone()).clone();
                }
                record
            })
        };
        persist_changed(memory, &batch, first).await
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

/// Keeps no more than 65,535 records of a part.
#[derive(Default)]
pub(crate) struct LargePartsCut;

#[async_trait]
impl Defect for LargePartsCut {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let cut = |part: &Part| {
            let kept = part.records().iter().take(usize::from(u16::MAX));
            with_records(part, kept.cloned().collect())
        };
        persist_changed(memory, &batch, cut).await
    }
}

/// Leaves the state of a key that is deleted: puts the payload that it has once more.
#[derive(Default)]
pub(crate) struct DeleteIgnored;

#[async_trait]
impl Defect for DeleteIgnored {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let state = stored(memory, &batch).await;
        let keep = |part: &Part| {
            each(part, |record| {
                match (&record.change, state.get(&slot(&record))) {
                    (Change::Delete { key }, Some(payload)) => {
                        let (world, collection) = (&record.world, &record.collection);
                        let payload = payload.clone();
                        WorldRecord::put(world, collection, key.clone(), payload, record.timestamp)
                    }
                    _ => record,
                }
            })
        };
        persist_changed(memory, &batch, keep).await
    }
}

/// Leaves the payload of a key that is put again.
#[derive(Default)]
pub(crate) struct FirstPutWins;

#[async_trait]
impl Defect for FirstPutWins {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let state = stored(memory, &batch).await;
        let keep = |part: &Part| {
            each(part, |mut record| {
                let first = state.get(&slot(&record));
                if let (Change::Put { payload, .. }, Some(first)) = (&mut record.change, first) {
                    *payload = first.clone();
                }
                record
            })
        };
        persist_changed(memory, &batch, keep).await
    }
}

/// A key of a world.
type Slot = (WorldId, Collection, Option<Key>);

fn slot(record: &WorldRecord) -> Slot {
    (
        record.world.clone(),
        record.collection.clone(),
        record.key().cloned(),
    )
}

/// The payloads that the store has before a batch.
async fn stored(memory: &Memory, batch: &Batch) -> BTreeMap<Slot, Payload> {
    let mut payloads = BTreeMap::new();
    for part in batch.parts() {
        let world = part.world();
        let page = memory
            .state(world, StateRange::all(), Limit::default())
            .await;
        // A store that is not open has none; the batch is refused then.
        let rows = page.map(|page| page.items).unwrap_or_default();
        payloads.extend(
            rows.into_iter()
                .map(|row| ((world.clone(), row.collection, Some(row.key)), row.payload)),
        );
    }
    payloads
}

/// The part with each of its records changed.
fn each(part: &Part, mut change: impl FnMut(WorldRecord) -> WorldRecord) -> Arc<Part> {
    let records = part.records().iter().map(|record| {
        let history = if record.is_logged() {
            History::All
        } else {
            History::Latest
        };
        BatchRecord::new(change(record.record().clone()), history)
    });
    with_records(part, records.collect())
}
