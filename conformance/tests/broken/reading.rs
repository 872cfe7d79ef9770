//! Defects in what is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aqevia_storage::{
    Batch, Limit, LogRange, Memory, Reads, Receipt, Result, Sequence, StateRange, StorageBackend,
    WorldId,
};
use async_trait::async_trait;

use super::{Defect, LogPage, StatePage};

/// Shows each world as it was before the part that was acknowledged last.
#[derive(Default)]
pub(crate) struct Behind {
    before: Mutex<BTreeMap<WorldId, Arc<dyn Reads>>>,
}

impl Behind {
    fn before(&self, world: &WorldId) -> Option<Arc<dyn Reads>> {
        self.before.lock().unwrap().get(world).map(Arc::clone)
    }
}

#[async_trait]
impl Defect for Behind {
    async fn persist(&self, memory: &Memory, batch: Batch) -> Vec<Result<Receipt>> {
        for part in batch.parts() {
            if let Ok(before) = memory.snapshot(part.world()).await {
                let mut worlds = self.before.lock().unwrap();
                worlds.insert(part.world().clone(), Arc::from(before));
            }
        }
        memory.persist_batch(batch).await
    }

    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        match self.before(id) {
            Some(before) => before.log(id, of, to).await,
            None => from.log(id, of, to).await,
        }
    }

    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        match self.before(id) {
            Some(before) => before.state(id, of, to).await,
            None => from.state(id, of, to).await,
        }
    }
}

/// Goes on one record too far behind a page.
#[derive(Default)]
pub(crate) struct SkipsBetweenPages;

#[async_trait]
impl Defect for SkipsBetweenPages {
    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let mut page = from.log(id, of, to).await?;
        if let Some(next) = &mut page.next {
            next.after = next.after.advance(1)?;
        }
        Ok(page)
    }
}

/// Goes on behind a page by counting keys from the beginning, which a writer moves.
#[derive(Default)]
pub(crate) struct PagesByOffset {
    read: Mutex<usize>,
}

#[async_trait]
impl Defect for PagesByOffset {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let begins = of.after.is_none();
        let mut whole = of.clone();
        whole.after = None;
        let all = Limit {
            items: usize::MAX,
            ..to
        };
        let mut page = from.state(id, whole, all).await?;
        let mut read = self.read.lock().unwrap();
        let skipped = if begins { 0 } else { *read };
        page.items = page.items.into_iter().skip(skipped).collect();
        let more = page.items.len() > to.items;
        page.items.truncate(to.items);
        *read = skipped + page.items.len();
        let last = page.items.last().filter(|_| more);
        page.next = last.map(|row| of.after(row.collection.clone(), row.key.clone()));
        Ok(page)
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

/// Gives pages of the state without the head they were read at.
#[derive(Default)]
pub(crate) struct NoHead;

#[async_trait]
impl Defect for NoHead {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let mut page = from.state(id, of, to).await?;
        page.head = page
            .items
            .iter()
            .map(|row| row.sequence)
            .max()
            .unwrap_or(Sequence::ZERO);
        Ok(page)
    }
}

/// Gives a snapshot that shows what is written after it was taken.
#[derive(Default)]
pub(crate) struct LiveSnapshot;

#[async_trait]
impl Defect for LiveSnapshot {
    async fn snapshot(&self, memory: &Memory, id: &WorldId) -> Result<Box<dyn Reads>> {
        memory.snapshot(id).await?;
        let live = memory.reopen();
        live.init(Default::default()).await?;
        Ok(Box::new(live))
    }
}

/// Gives the state in the order of the length of its keys.
#[derive(Default)]
pub(crate) struct OrderedByLength;

#[async_trait]
impl Defect for OrderedByLength {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let mut page = from.state(id, of, to).await?;
        page.items.sort_by_key(|row| row.key.as_str().len());
        Ok(page)
    }
}
