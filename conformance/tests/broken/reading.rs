//! Defects in what a reader sees: of other backends, of other worlds, and in snapshots.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, Error, ErrorKind, Limit, LogRange, Memory, Owner, Reads, Receipt, Result, Schema,
    StateRange, StorageBackend, WorldId, WorldPage, WorldRange, check_snapshot,
};
use async_trait::async_trait;

use super::{Defect, LogPage, StatePage, beside};

/// Shows a world as it was when this backend read it first, until it writes itself.
#[derive(Default)]
pub(crate) struct StaleBeside {
    read: Mutex<BTreeMap<WorldId, Arc<dyn Reads>>>,
}

impl StaleBeside {
    async fn read(&self, memory: &Memory, id: &WorldId) -> Result<()> {
        let snapshot = Arc::from(memory.snapshot(id).await?);
        self.read
            .lock()
            .unwrap()
            .entry(id.clone())
            .or_insert(snapshot);
        Ok(())
    }

    fn known(&self, id: &WorldId) -> Option<Arc<dyn Reads>> {
        self.read.lock().unwrap().get(id).map(Arc::clone)
    }
}

#[async_trait]
impl Defect for StaleBeside {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        self.read.lock().unwrap().clear();
        memory.persist_batch(batch).await
    }

    async fn worlds(&self, memory: &Memory, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let page = memory.worlds(range, limit).await?;
        for head in &page.items {
            self.read(memory, &head.world).await?;
        }
        Ok(page)
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let page = from.log(id, of, to).await?;
        match self.known(id) {
            Some(known) => known.log(id, of, to).await,
            None => Ok(page),
        }
    }

    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let page = from.state(id, of.clone(), to).await?;
        match self.known(id) {
            Some(known) => known.state(id, of, to).await,
            None => Ok(page),
        }
    }
}

/// Shows a part of one record to other backends from this backend's next call on.
#[derive(Default)]
pub(crate) struct LateForOthers {
    this: u64,
    store: Arc<Late>,
}

/// What the backends over a store keep from each other.
#[derive(Default)]
struct Late {
    backends: AtomicU64,
    before: Mutex<BTreeMap<WorldId, Before>>,
}

/// Who wrote a world last, and how it was before.
type Before = (u64, Arc<dyn Reads>);

impl LateForOthers {
    /// How another backend left a world, unless that has called again.
    fn before(&self, id: &WorldId) -> Option<Arc<dyn Reads>> {
        let mut before = self.store.before.lock().unwrap();
        before.retain(|_, (by, _)| *by != self.this);
        before.get(id).map(|(_, before)| Arc::clone(before))
    }
}

#[async_trait]
impl Defect for LateForOthers {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        let (store, mut before) = (beside(memory).await, BTreeMap::new());
        for part in batch.parts().iter().filter(|part| part.count() == 1) {
            let snapshot = store.snapshot(part.world()).await.expect("`snapshot`");
            before.insert(part.world().clone(), (self.this, Arc::from(snapshot)));
        }
        let answers = memory.persist_batch(batch).await;
        let mut known = self.store.before.lock().unwrap();
        known.retain(|_, (by, _)| *by != self.this);
        if answers.iter().all(Result::is_ok) {
            known.extend(before);
        }
        answers
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let page = from.log(id, of, to).await?;
        match self.before(id) {
            Some(before) => before.log(id, of, to).await,
            None => Ok(page),
        }
    }

    async fn close(&self, memory: &Memory) -> Result<()> {
        self.before(&WorldId::new("any").unwrap());
        memory.close().await
    }

    fn another(&self) -> Self {
        Self {
            this: self.store.backends.fetch_add(1, Ordering::AcqRel) + 1,
            store: Arc::clone(&self.store),
        }
    }
}

/// Takes worlds for one whose names differ in case.
#[derive(Default)]
pub(crate) struct CaseIgnored;

impl Defect for CaseIgnored {
    fn world(&self, id: &WorldId) -> WorldId {
        WorldId::new(id.as_str().to_ascii_lowercase()).unwrap()
    }
}

/// Creates the world that a snapshot is asked for.
#[derive(Default)]
pub(crate) struct SnapshotCreates;

#[async_trait]
impl Defect for SnapshotCreates {
    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        create(memory, id).await?;
        memory.snapshot(id).await
    }
}

/// Lists a world whose state was read as if somebody had claimed it.
#[derive(Default)]
pub(crate) struct ReadCreates {
    read: Arc<Mutex<Vec<WorldId>>>,
}

#[async_trait]
impl Defect for ReadCreates {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        self.read.lock().unwrap().push(id.clone());
        from.state(id, of, to).await
    }

    async fn worlds(&self, memory: &Memory, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let read = std::mem::take(&mut *self.read.lock().unwrap());
        for id in read {
            create(memory, &id).await?;
        }
        memory.worlds(range, limit).await
    }

    fn another(&self) -> Self {
        Self {
            read: Arc::clone(&self.read),
        }
    }
}

/// Claims a world that nobody has claimed.
async fn create(memory: &Memory, id: &WorldId) -> Result<()> {
    if super::head(memory, id).await.is_none() {
        let schema = Schema::new().fingerprint();
        memory.claim(id, &Owner::process(1), schema).await?;
    }
    Ok(())
}

/// Gives a snapshot that shows what is written after it was taken.
#[derive(Default)]
pub(crate) struct LiveSnapshot;

#[async_trait]
impl Defect for LiveSnapshot {
    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        memory.snapshot(id).await?;
        let live = beside(memory).await;
        Ok(Box::new(OfWorld {
            id: id.clone(),
            reads: live,
            other: ErrorKind::Invalid,
        }))
    }
}

/// Gives a snapshot that answers `Unavailable` for another world, as if that could change.
#[derive(Default)]
pub(crate) struct OtherWorldLater;

#[async_trait]
impl Defect for OtherWorldLater {
    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        Ok(Box::new(OfWorld {
            id: id.clone(),
            reads: memory.snapshot(id).await?,
            other: ErrorKind::Unavailable,
        }))
    }
}

/// Reads of one world, which answer with `other` for another.
struct OfWorld<R> {
    id: WorldId,
    reads: R,
    other: ErrorKind,
}

impl<R> OfWorld<R> {
    fn check(&self, id: &WorldId) -> Result<()> {
        let checked = check_snapshot(&self.id, id);
        checked.map_err(|error| Error::new(self.other, error.to_string()))
    }
}

#[async_trait]
impl<R: Reads> Reads for OfWorld<R> {
    async fn log(&self, id: &WorldId, of: LogRange, to: Limit) -> Result<LogPage> {
        self.check(id)?;
        self.reads.log(id, of, to).await
    }

    async fn state(&self, id: &WorldId, of: StateRange, to: Limit) -> Result<StatePage> {
        self.check(id)?;
        self.reads.state(id, of, to).await
    }
}
