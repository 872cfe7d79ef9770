//! Pages of a world's log and state. Each is to be read with nobody committing (clause R5).

use std::ops::{Bound, RangeBounds};

use aqevia_storage::{
    Limit, LogRange, LogRow, Page, Result, Sequence, StateRange, StateRow, StateScope, WorldId,
};
use sled::Tree;

use crate::codec::{collection_prefix, end_of, log_key, state_key, world_prefix};
use crate::engine::Engine;
use crate::error::reading;
use crate::row::{Names, log_row, state_row};
use crate::world::World;

/// A page of a world's log.
pub(crate) fn log(
    engine: &Engine,
    id: &WorldId,
    range: LogRange,
    limit: Limit,
) -> Result<Page<LogRow, LogRange>> {
    let Some(world) = World::find(engine, id)? else {
        return Ok(Page::new(Vec::new(), None, Sequence::ZERO));
    };
    let keys = (
        Bound::Excluded(log_key(id, range.after)),
        Bound::Included(log_key(id, range.until)),
    );
    let mut names = Names::default();
    let decode = |row: (&[u8], &[u8])| Ok(Some(log_row(engine, id, row, &mut names)?));
    let (items, full) = take(&engine.log, keys, limit, decode, |row| row.record.bytes())?;
    let last = items.last().filter(|_| full);
    let next = last.map(|row| LogRange::after(row.sequence).until(range.until));
    Ok(Page::new(items, next, world.head))
}

/// A page of a world's state.
pub(crate) fn state(
    engine: &Engine,
    id: &WorldId,
    range: &StateRange,
    limit: Limit,
) -> Result<Page<StateRow, StateRange>> {
    let Some(world) = World::find(engine, id)? else {
        return Ok(Page::new(Vec::new(), None, Sequence::ZERO));
    };
    let mut names = Names::default();
    // The keys are no fewer than the range, and more only if the range is empty or odd.
    let decode = |row: (&[u8], &[u8])| {
        let row = state_row(engine, id, row, &mut names)?;
        Ok(Some(row).filter(|row| range.contains(&row.collection, &row.key)))
    };
    let keys = state_keys(id, range);
    let (items, full) = take(&engine.state, keys, limit, decode, StateRow::bytes)?;
    let last = items.last().filter(|_| full);
    let next = last.map(|row| range.clone().after(row.collection.clone(), row.key.clone()));
    Ok(Page::new(items, next, world.head))
}

type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);

fn state_keys(id: &WorldId, range: &StateRange) -> Keys {
    let (low, high) = match &range.scope {
        StateScope::Key(collection, key) => {
            let key = state_key(id, collection, key);
            (key.clone(), Bound::Included(key))
        }
        StateScope::Collection(collection) => {
            let prefix = collection_prefix(id, collection);
            let end = end_of(&prefix);
            (prefix, Bound::Excluded(end))
        }
        _ => {
            let prefix = world_prefix(id);
            let end = end_of(&prefix);
            (prefix, Bound::Excluded(end))
        }
    };
    let after = range.after.as_ref().map(|(c, k)| state_key(id, c, k));
    match after.filter(|after| *after >= low) {
        Some(after) => (Bound::Excluded(after), high),
        None => (Bound::Included(low), high),
    }
}

/// The items of a page, and whether others follow. Rows that decode to nothing are passed over.
fn take<T>(
    tree: &Tree,
    keys: impl RangeBounds<Vec<u8>>,
    limit: Limit,
    mut decode: impl FnMut((&[u8], &[u8])) -> Result<Option<T>>,
    bytes: impl Fn(&T) -> usize,
) -> Result<(Vec<T>, bool)> {
    let mut meter = limit.meter();
    let mut items = Vec::new();
    for row in tree.range(keys) {
        let (key, value) = row.map_err(reading)?;
        let Some(item) = decode((&key, &value))? else {
            continue;
        };
        if !meter.admit(bytes(&item)) {
            return Ok((items, true));
        }
        items.push(item);
    }
    Ok((items, false))
}
