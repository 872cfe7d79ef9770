//! Defects in what becomes of keys: in the state, and in the log of their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, BatchRecord, Change, Collection, History, Key, Limit, Memory, Part, Payload, Reads,
    Receipt, Result, Sequence, StateRange, StateRow, StorageBackend, WorldId, WorldRecord,
};
use async_trait::async_trait;

use super::{Defect, StatePage, WHOLE, beside, each, persist_changed, with_records};

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

/// Leaves a Put out of the log if the next record of its key in the part is a Put, too.
#[derive(Default)]
pub(crate) struct LogsLastPut;

#[async_trait]
impl Defect for LogsLastPut {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let last = |part: &Part| {
            let mut records = part.records().to_vec();
            let mut put_later = BTreeSet::new();
            for record in records.iter_mut().rev() {
                let slot = slot(record.record());
                match record.record().change {
                    Change::Put { .. } if !put_later.insert(slot.clone()) => {
                        *record = unlogged(record)
                    }
                    Change::Delete { .. } => drop(put_later.remove(&slot)),
                    _ => {}
                }
            }
            with_records(part, records)
        };
        persist_changed(memory, &batch, last).await
    }
}

/// Leaves a Put out of the log if its key was deleted by a part before.
#[derive(Default)]
pub(crate) struct RecreatedUnlogged {
    graves: Graves,
}

#[async_trait]
impl Defect for RecreatedUnlogged {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let graves = self.graves.0.lock().unwrap().clone();
        let leave_out = |part: &Part| {
            let records = part.records().iter().map(|record| {
                let put = matches!(record.record().change, Change::Put { .. });
                match put && graves.contains_key(&slot(record.record())) {
                    true => unlogged(record),
                    false => record.clone(),
                }
            });
            with_records(part, records.collect())
        };
        let dug = Graves::of(memory, &batch).await;
        let answers = persist_changed(memory, &batch, leave_out).await;
        self.graves.extend(dug, &answers);
        answers
    }
}

/// Keeps the time of a key's first Put when a part deletes the key and a later one puts it again.
#[derive(Default)]
pub(crate) struct FirstTimeKept {
    graves: Graves,
}

#[async_trait]
impl Defect for FirstTimeKept {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let dug = Graves::of(memory, &batch).await;
        let answers = memory.persist_batch(batch).await;
        self.graves.extend(dug, &answers);
        answers
    }

    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let mut page = from.state(id, of, to).await?;
        let graves = self.graves.0.lock().unwrap();
        for row in &mut page.items {
            let slot = (id.clone(), row.collection.clone(), Some(row.key.clone()));
            row.first_timestamp = *graves.get(&slot).unwrap_or(&row.first_timestamp);
        }
        Ok(page)
    }

    fn another(&self) -> Self {
        Self {
            graves: self.graves.clone(),
        }
    }
}

/// The keys that parts left deleted, and when they had been put first, of all backends.
#[derive(Clone, Default)]
struct Graves(Arc<Mutex<BTreeMap<Slot, i64>>>);

impl Graves {
    /// The keys that a batch deletes.
    async fn of(memory: &Memory, batch: &Batch) -> BTreeMap<Slot, i64> {
        let mut dug = BTreeMap::new();
        let stored = stored(memory, batch).await;
        for part in batch.parts() {
            for change in part.state_changes(Sequence::ZERO) {
                let (collection, key) = (change.collection.clone(), change.key.clone());
                let slot = (part.world().clone(), collection, Some(key));
                if let (None, Some(row)) = (change.put, stored.get(&slot)) {
                    dug.insert(slot, row.first_timestamp);
                }
            }
        }
        dug
    }

    /// Takes the keys that were deleted, if a part was written.
    fn extend(&self, dug: BTreeMap<Slot, i64>, answers: &[Result<Receipt>]) {
        if answers.iter().flatten().any(|receipt| !receipt.repeated) {
            self.0.lock().unwrap().extend(dug);
        }
    }
}

/// Leaves the state of a key that is deleted: puts the payload that it has once more.
#[derive(Default)]
pub(crate) struct DeleteIgnored;

#[async_trait]
impl Defect for DeleteIgnored {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_by_state(memory, &batch, |record, row| match &record.change {
            Change::Delete { key } => {
                let (world, collection) = (&record.world, &record.collection);
                let (key, payload) = (key.clone(), row.payload.clone());
                WorldRecord::put(world, collection, key, payload, record.timestamp)
            }
            _ => record,
        })
        .await
    }
}

/// Leaves the payload of a key that is put again.
#[derive(Default)]
pub(crate) struct FirstPutWins;

#[async_trait]
impl Defect for FirstPutWins {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        persist_by_state(memory, &batch, |mut record, row| {
            if let Change::Put { payload, .. } = &mut record.change {
                *payload = Payload::clone(&row.payload);
            }
            record
        })
        .await
    }
}

/// Persists a batch after each record of a key that the state holds was changed.
async fn persist_by_state(
    memory: &Memory,
    batch: &Batch,
    change: fn(WorldRecord, &StateRow) -> WorldRecord,
) -> Vec<Result<Receipt>> {
    let state = stored(memory, batch).await;
    let changed = |part: &Part| {
        each(part, |record| match state.get(&slot(&record)) {
            Some(row) => change(record, row),
            None => record,
        })
    };
    persist_changed(memory, batch, changed).await
}

/// A key of a world.
type Slot = (WorldId, Collection, Option<Key>);

fn slot(record: &WorldRecord) -> Slot {
    let (world, collection) = (record.world.clone(), record.collection.clone());
    (world, collection, record.key().cloned())
}

fn unlogged(record: &BatchRecord) -> BatchRecord {
    BatchRecord::new(record.record().clone(), History::Latest)
}

/// The state that the store has before a batch.
async fn stored(memory: &Memory, batch: &Batch) -> BTreeMap<Slot, StateRow> {
    let (store, mut state) = (beside(memory).await, BTreeMap::new());
    for part in batch.parts() {
        let world = part.world();
        let page = store.state(world, StateRange::all(), WHOLE).await;
        let rows = page.expect("`state`").items;
        let rows = rows.into_iter().map(|row| {
            let slot = (world.clone(), row.collection.clone(), Some(row.key.clone()));
            (slot, row)
        });
        state.extend(rows);
    }
    state
}
