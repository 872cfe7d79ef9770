//! Defects in pages: what is on them, in which order, and where the next begins.

use std::sync::Mutex;

use aqevia_storage::{
    Limit, LogRange, Memory, Reads, Result, Sequence, StateRange, StateScope, StorageBackend,
    WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;

use super::{Defect, LogPage, StatePage, WHOLE};

/// Goes on one record too far behind a page that ends at its bytes.
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
        if let Some(next) = &mut page.next
            && page.items.len() < to.items
        {
            next.after = next.after.advance(1)?;
        }
        Ok(page)
    }
}

/// Gives a page of a collection one row more than it was asked for.
#[derive(Default)]
pub(crate) struct OneTooMany;

#[async_trait]
impl Defect for OneTooMany {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let more = matches!(of.scope, StateScope::Collection(_));
        let items = to.items.saturating_add(usize::from(more));
        from.state(id, of, Limit { items, ..to }).await
    }
}

/// Goes on behind a page of the log by how much was left then, which a writer moves.
#[derive(Default)]
pub(crate) struct LogFromItsEnd {
    next: Mutex<Option<(LogRange, usize)>>,
}

#[async_trait]
impl Defect for LogFromItsEnd {
    async fn log(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: LogRange,
        to: Limit,
    ) -> Result<LogPage> {
        let going_on = self.next.lock().unwrap().take_if(|(next, _)| *next == of);
        let mut of = of;
        if let Some((_, left)) = going_on {
            let whole = from.log(id, LogRange::ALL.until(of.until), WHOLE).await?;
            let before = whole.items.iter().rev().nth(left);
            of.after = before.map_or(Sequence::ZERO, |row| row.sequence);
        }
        let page = from.log(id, of, to).await?;
        if let Some(next) = page.next {
            let rest = from.log(id, next, WHOLE).await?;
            *self.next.lock().unwrap() = Some((next, rest.items.len()));
        }
        Ok(page)
    }
}

/// Goes on behind a page of the state by how many keys were before it, which a writer moves.
#[derive(Default)]
pub(crate) struct StateByOffset {
    next: Mutex<Option<(StateRange, usize)>>,
}

#[async_trait]
impl Defect for StateByOffset {
    async fn state(
        &self,
        from: &dyn Reads,
        id: &WorldId,
        of: StateRange,
        to: Limit,
    ) -> Result<StatePage> {
        let mut whole = of.clone();
        whole.after = None;
        let going_on = self.next.lock().unwrap().take_if(|(next, _)| *next == of);
        let mut of = of;
        let rows = from.state(id, whole, WHOLE).await?.items;
        if let Some((_, passed)) = going_on {
            let before = rows.into_iter().take(passed).last();
            of.after = before.map(|row| (row.collection, row.key));
        }
        let page = from.state(id, of.clone(), to).await?;
        if let Some(next) = &page.next {
            let mut whole = of;
            whole.after = None;
            let rows = from.state(id, whole, WHOLE).await?.items;
            let passed = rows
                .iter()
                .filter(|row| !next.contains(&row.collection, &row.key));
            *self.next.lock().unwrap() = Some((next.clone(), passed.count()));
        }
        Ok(page)
    }
}

/// Gives the state in the order of the length of its collections' names.
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
        page.items.sort_by_key(|row| row.collection.as_str().len());
        Ok(page)
    }
}

/// Lists the worlds of a page in the order of the length of their names.
#[derive(Default)]
pub(crate) struct WorldsByLength;

#[async_trait]
impl Defect for WorldsByLength {
    async fn worlds(&self, memory: &Memory, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let mut page = memory.worlds(range, limit).await?;
        page.items.sort_by_key(|head| head.world.as_str().len());
        Ok(page)
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
        let newest = page.items.iter().map(|row| row.sequence).max();
        page.head = newest.unwrap_or(Sequence::ZERO);
        Ok(page)
    }
}
