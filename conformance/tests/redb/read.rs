//! Pages of worlds, log and state, and what they take up: each from one read transaction.

use std::ops::Bound;

use aqevia_storage::{
    Change, Collection, Error, Form, Key, Limit, LogRange, LogRow, Page, Payload, Result, Sequence,
    StateRange, StateRow, StateScope, Usage, WorldHead, WorldId, WorldPage, WorldRange,
    WorldRecord,
};
use redb::{ReadTransaction, ReadableTable};

use crate::error::{corrupt, failed};
use crate::layout::{LOG, LogColumns, PARTS, STATE, StateColumns, WORLDS, World};

/// What [`LOG`] says of each change.
pub(crate) const PUT: u8 = 1;
pub(crate) const DELETE: u8 = 2;
pub(crate) const EVENT: u8 = 3;

/// A page of a world's log.
pub(crate) fn log(
    transaction: &ReadTransaction,
    world: &WorldId,
    range: LogRange,
    limit: Limit,
) -> Result<Page<LogRow, LogRange>> {
    let table = transaction.open_table(LOG).map_err(failed)?;
    let after = Bound::Excluded((world.as_str(), range.after.get()));
    let until = Bound::Included((world.as_str(), range.until.get()));
    let rows = table.range((after, until)).map_err(failed)?;
    let rows = rows.map(|row| {
        let (key, columns) = row.map_err(failed)?;
        log_row(world, key.value().1, columns.value()).map_err(corrupt)
    });
    let (items, full) = take(rows, limit, |row| row.record.bytes())?;
    let last = items.last().filter(|_| full);
    let next = last.map(|row| LogRange::after(row.sequence).until(range.until));
    Ok(Page::new(items, next, head(transaction, world)?))
}

/// A page of a world's state.
pub(crate) fn state(
    transaction: &ReadTransaction,
    world: &WorldId,
    range: &StateRange,
    limit: Limit,
) -> Result<Page<StateRow, StateRange>> {
    let table = transaction.open_table(STATE).map_err(failed)?;
    let from = (first_of(world, range), Bound::Unbounded);
    let rows = table.range(from).map_err(failed)?;
    // A range is of one piece, so the first row that is not in it ends it.
    let rows = rows.map_while(|row| {
        let row = row.map_err(failed).and_then(|(key, columns)| {
            let (of, collection, key) = key.value();
            if of != world.as_str() {
                return Ok(None);
            }
            let row = state_row(collection, key, columns.value()).map_err(corrupt)?;
            Ok(Some(row).filter(|row| range.contains(&row.collection, &row.key)))
        });
        row.transpose()
    });
    let (items, full) = take(rows, limit, StateRow::bytes)?;
    let last = items.last().filter(|_| full);
    let next = last.map(|row| range.clone().after(row.collection.clone(), row.key.clone()));
    Ok(Page::new(items, next, head(transaction, world)?))
}

/// Where a range of a world's state begins.
fn first_of<'a>(world: &'a WorldId, range: &'a StateRange) -> Bound<(&'a str, &'a str, &'a str)> {
    let scope = match &range.scope {
        StateScope::Collection(collection) => (collection.as_str(), ""),
        StateScope::Key(collection, key) => (collection.as_str(), key.as_str()),
        _ => ("", ""),
    };
    let after = range.after.as_ref().map(|(c, k)| (c.as_str(), k.as_str()));
    match after.filter(|after| *after >= scope) {
        Some((collection, key)) => Bound::Excluded((world.as_str(), collection, key)),
        None => Bound::Included((world.as_str(), scope.0, scope.1)),
    }
}

/// A page of the worlds.
pub(crate) fn worlds(
    transaction: &ReadTransaction,
    range: &WorldRange,
    limit: Limit,
) -> Result<WorldPage> {
    let table = transaction.open_table(WORLDS).map_err(failed)?;
    let after = range.after.as_ref().map_or("", WorldId::as_str);
    let rows = table
        .range::<&str>((Bound::Excluded(after), Bound::Unbounded))
        .map_err(failed)?;
    let heads = rows.map(|row| {
        let (name, columns) = row.map_err(failed)?;
        let world = World::of(columns.value())?;
        Ok(WorldHead {
            world: WorldId::new(name.value()).map_err(corrupt)?,
            head: world.claim.head,
            epoch: world.claim.epoch,
            owner: world.owner,
            last_number: world.claim.last_number,
            last_at_ms: world.claim.last_at_ms,
        })
    });
    let (items, full) = take(heads, limit, |head| head.world.as_str().len())?;
    let last = items.last().filter(|_| full);
    let next = last.map(|head| WorldRange::after(head.world.clone()));
    Ok(WorldPage::new(items, next))
}

/// What a world holds; `store_bytes` is left to the caller.
pub(crate) fn usage(transaction: &ReadTransaction, world: &WorldId) -> Result<Usage> {
    let mut usage = Usage::default();
    let numbers = (world.as_str(), 0)..=(world.as_str(), u64::MAX);
    let log = transaction.open_table(LOG).map_err(failed)?;
    for row in log.range(numbers.clone()).map_err(failed)? {
        let (_, columns) = row.map_err(failed)?;
        usage.log_records += 1;
        usage.log_bytes += columns.value().5.len() as u64;
    }
    let state = transaction.open_table(STATE).map_err(failed)?;
    for row in state.range((world.as_str(), "", "")..).map_err(failed)? {
        let (key, columns) = row.map_err(failed)?;
        if key.value().0 != world.as_str() {
            break;
        }
        usage.state_keys += 1;
        usage.state_bytes += columns.value().4.len() as u64;
    }
    let parts = transaction.open_table(PARTS).map_err(failed)?;
    usage.parts = parts.range(numbers).map_err(failed)?.count() as u64;
    Ok(usage)
}

/// The head of a world, zero for one that does not exist.
fn head(transaction: &ReadTransaction, world: &WorldId) -> Result<Sequence> {
    let table = transaction.open_table(WORLDS).map_err(failed)?;
    let world = find_world(&table, world)?;
    Ok(world.map_or(Sequence::ZERO, |world| world.claim.head))
}

/// A world that was claimed.
pub(crate) fn find_world(
    worlds: &impl ReadableTable<&'static str, crate::layout::WorldColumns<'static>>,
    id: &WorldId,
) -> Result<Option<World>> {
    let columns = worlds.get(id.as_str()).map_err(failed)?;
    columns
        .map(|columns| World::of(columns.value()))
        .transpose()
}

fn log_row(world: &WorldId, sequence: u64, columns: LogColumns<'_>) -> Result<LogRow> {
    let (change, collection, key, timestamp, form, payload) = columns;
    let collection = Collection::new(collection)?;
    let key = Some(key).filter(|key| !key.is_empty());
    let key = key.map(Key::new).transpose()?;
    let change = match (change, key) {
        (PUT, Some(key)) => {
            let payload = stored(form, payload)?;
            Change::Put { key, payload }
        }
        (DELETE, Some(key)) => Change::Delete { key },
        (EVENT, key) => {
            let payload = stored(form, payload)?;
            Change::Event { key, payload }
        }
        _ => return Err(Error::corrupt("no record has this change")),
    };
    let record = WorldRecord::of(world, &collection, change, timestamp);
    Ok(LogRow::new(Sequence::new(sequence)?, record))
}

fn state_row(collection: &str, key: &str, columns: StateColumns<'_>) -> Result<StateRow> {
    let (sequence, first_timestamp, last_timestamp, form, payload) = columns;
    Ok(StateRow {
        collection: Collection::new(collection)?,
        key: Key::new(key)?,
        payload: stored(form, payload)?,
        sequence: Sequence::new(sequence)?,
        first_timestamp,
        last_timestamp,
    })
}

fn stored(form: u8, payload: &[u8]) -> Result<Payload> {
    Payload::from_stored(Form::try_from(form)?, payload.to_vec())
}

/// The items of a page, and whether others follow.
fn take<T>(
    items: impl Iterator<Item = Result<T>>,
    limit: Limit,
    bytes: impl Fn(&T) -> usize,
) -> Result<(Vec<T>, bool)> {
    let mut meter = limit.meter();
    let mut page = Vec::new();
    for item in items {
        let item = item?;
        if !meter.admit(bytes(&item)) {
            return Ok((page, true));
        }
        page.push(item);
    }
    Ok((page, false))
}
