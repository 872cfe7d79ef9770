//! Claiming worlds and persisting parts, on the one connection that writes.

use std::slice;
use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Change, Claim, Epoch, Error, ErrorKind, Fingerprint, Key, Owner, Part, Payload,
    Receipt, Result, Sequence, StateChange, WorldId, WriterCheck, step,
};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use crate::error::{committing, reading, writing};
use crate::read::{DELETE, EVENT, PUT};
use crate::world::World;

/// Claims a world (clauses P6, C10).
pub(crate) fn claim(
    connection: &mut Connection,
    id: &WorldId,
    owner: &Owner,
    schema: Fingerprint,
) -> Result<Claim> {
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(writing)?;
    let world = match World::find(&transaction, id)? {
        Some(world) => world,
        None => World::add(&transaction, id, Epoch::ZERO, owner)?,
    };
    step("claim: world found");
    let epoch = world.epoch.advance(1)?;
    let values = params![world.number, i64::from(epoch), owner.as_str(), schema.0];
    transaction
        .execute(include_str!("sql/update_world_claim.sql"), values)
        .map_err(writing)?;
    step("claim: written");
    transaction.commit().map_err(committing)?;
    step("claim: committed");
    Ok(Claim {
        epoch,
        head: world.head,
        last_number: world.last_number,
        last_at_ms: world.last_at_ms,
        link: world.link,
        schema: world.schema,
    })
}

/// Persists the parts of a batch in one transaction, and answers once for each.
///
/// A part that is refused leaves the others alone. If SQLite finds something wrong with the data,
/// each part is tried by itself, so that a damaged world does not hold up the others.
pub(crate) fn persist(connection: &mut Connection, parts: &[Arc<Part>]) -> Vec<Result<Receipt>> {
    let mut results = Vec::with_capacity(parts.len());
    let Err(error) = transact(connection, parts, &mut results) else {
        return results;
    };
    let of_one = matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid);
    if of_one && parts.len() > 1 {
        let alone = parts.iter().map(slice::from_ref);
        return alone.flat_map(|part| persist(connection, part)).collect();
    }
    let mut settled = results.into_iter();
    let settle = |part: &Arc<Part>| match settled.next() {
        Some(result) if !result.as_ref().is_ok_and(is_written) => result,
        _ => Err(part.failed(error.clone())),
    };
    parts.iter().map(settle).collect()
}

/// Whether a receipt stands for something that a transaction has written, and may have lost.
const fn is_written(receipt: &Receipt) -> bool {
    !receipt.repeated && receipt.count > 0
}

/// Persists parts in one transaction, with a result for each, up to the error that ends it.
fn transact(
    connection: &mut Connection,
    parts: &[Arc<Part>],
    results: &mut Vec<Result<Receipt>>,
) -> Result<()> {
    step("batch: received");
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(writing)?;
    step("batch: begun");
    for part in parts {
        let decision = decide(&transaction, part)?;
        results.push(match decision {
            Decision::Answer(answer) => answer.map_err(|error| part.failed(error)),
            Decision::Write(world) => Ok(write_part(&transaction, &world, part)?),
        });
    }
    step("batch: written");
    transaction.commit().map_err(committing)?;
    step("batch: committed");
    Ok(())
}

/// What becomes of a part.
enum Decision {
    /// Nothing is to be written for it.
    Answer(Result<Receipt>),
    /// It follows what its world holds.
    Write(World),
}

/// Decides on a part in the order that the clauses give: P5, then P6, P7 and P9.
///
/// # Errors
/// SQLite's; what the clauses refuse is an answer.
fn decide(connection: &Connection, part: &Part) -> Result<Decision> {
    let world = World::find(connection, part.world())?;
    let Some(world) = world.filter(|_| part.epoch() != Epoch::ZERO) else {
        let refused = Error::invalid(format!("{:?} has not been claimed", part.epoch()));
        return Ok(Decision::Answer(Err(refused)));
    };
    if part.number() <= world.last_number
        && let Some(receipt) = find_receipt(connection, &world, part)?
    {
        return Ok(Decision::Answer(Ok(receipt)));
    }
    if let Err(refused) = check(&world, part) {
        return Ok(Decision::Answer(Err(refused)));
    }
    if part.records().is_empty() {
        let first = world.head.advance(1);
        return Ok(Decision::Answer(
            first.map(|first| Receipt::written(first, 0)),
        ));
    }
    Ok(Decision::Write(world))
}

fn check(world: &World, part: &Part) -> Result<()> {
    let writer = WriterCheck {
        epoch: world.epoch,
        last_number: world.last_number,
        owner: Some(&world.owner),
    };
    writer.check(part)?;
    world.head.advance(u64::from(part.count())).map(drop)
}

/// The receipt of the same part, if it was persisted before (clause P5).
fn find_receipt(connection: &Connection, world: &World, part: &Part) -> Result<Option<Receipt>> {
    let mut select = connection
        .prepare_cached(include_str!("sql/select_batch.sql"))
        .map_err(reading)?;
    let key = [world.number, i64::from(part.number())];
    let columns = |row: &Row<'_>| -> rusqlite::Result<(i64, [u8; 64], i64, u32)> {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
    };
    let found = select.query_row(key, columns).optional().map_err(reading)?;
    let Some((epoch, digest, first, count)) = found else {
        return Ok(None);
    };
    if (epoch, digest) != (i64::from(part.epoch()), part.digest().to_bytes()) {
        return Ok(None);
    }
    let first = Sequence::try_from(first).map_err(|error| Error::corrupt(error.to_string()))?;
    Ok(Some(Receipt::repeated(first, count)))
}

/// Writes a part that follows what its world holds, in a transaction of the caller's.
pub(crate) fn write_part(connection: &Connection, world: &World, part: &Part) -> Result<Receipt> {
    let first = world.head.advance(1)?;
    let head = world.head.advance(u64::from(part.count()))?;
    insert_records(connection, world, part).map_err(writing)?;
    step("part: records written");
    change_state(connection, world, &part.state_changes(world.head)).map_err(writing)?;
    step("part: state written");
    insert_batch(connection, world, part, first).map_err(writing)?;
    step("part: batch row written");
    let values = params![
        world.number,
        i64::from(head),
        i64::from(part.number()),
        part.at_ms(),
        part.link().0,
    ];
    connection
        .prepare_cached(include_str!("sql/update_world_head.sql"))
        .and_then(|mut update| update.execute(values))
        .map_err(writing)?;
    Ok(Receipt::written(first, part.count()))
}

/// What is the same in many rows is bound once: SQLite keeps it until it is bound anew.
fn insert_records(connection: &Connection, world: &World, part: &Part) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(include_str!("sql/insert_record.sql"))?;
    insert.raw_bind_parameter(2, part.world().as_str())?;
    let mut bound = None;
    let first = world.log_id(world.head) + 1;
    let logged = (first..).zip(part.records());
    for (id, record) in logged.filter(|(_, record)| record.is_logged()) {
        let record = BatchRecord::record(record);
        if bound.replace(&record.collection) != Some(&record.collection) {
            insert.raw_bind_parameter(4, record.collection.as_str())?;
        }
        insert.raw_bind_parameter(1, id)?;
        insert.raw_bind_parameter(3, record.timestamp)?;
        insert.raw_bind_parameter(5, tag(&record.change))?;
        insert.raw_bind_parameter(6, record.key().map(Key::as_str))?;
        insert.raw_bind_parameter(7, record.payload().map_or(0, form))?;
        insert.raw_bind_parameter(8, record.payload().map(stored))?;
        insert.raw_execute()?;
    }
    Ok(())
}

const fn tag(change: &Change) -> Option<i64> {
    match change {
        Change::Put { .. } => Some(PUT),
        Change::Delete { .. } => Some(DELETE),
        Change::Event { .. } => Some(EVENT),
        // A change this crate does not know has no tag; the column refuses it.
        _ => None,
    }
}

fn form(payload: &Payload) -> u8 {
    payload.form() as u8
}

/// A payload as its column takes it: JSON as TEXT, everything else as BLOB.
fn stored(payload: &Payload) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(match payload {
        Payload::Json(text) => ValueRef::Text(text.as_bytes()),
        _ => ValueRef::Blob(payload.as_bytes()),
    })
}

fn change_state(
    connection: &Connection,
    world: &World,
    changes: &[StateChange<'_>],
) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(include_str!("sql/upsert_state.sql"))?;
    let mut delete = connection.prepare_cached(include_str!("sql/delete_state.sql"))?;
    upsert.raw_bind_parameter(1, world.number)?;
    let mut bound = None;
    for StateChange {
        collection,
        key,
        put,
        ..
    } in changes
    {
        let Some(put) = put else {
            delete.execute(params![world.number, collection.as_str(), key.as_str()])?;
            continue;
        };
        if bound.replace(*collection) != Some(*collection) {
            upsert.raw_bind_parameter(2, collection.as_str())?;
        }
        let payload = Some(put.payload).filter(|_| !put.logged);
        upsert.raw_bind_parameter(3, key.as_str())?;
        upsert.raw_bind_parameter(4, i64::from(put.sequence))?;
        upsert.raw_bind_parameter(5, put.first_timestamp)?;
        upsert.raw_bind_parameter(6, put.last_timestamp)?;
        upsert.raw_bind_parameter(7, payload.map_or(0, form))?;
        upsert.raw_bind_parameter(8, payload.map(stored))?;
        upsert.raw_bind_parameter(9, put.recreated)?;
        upsert.raw_execute()?;
    }
    Ok(())
}

fn insert_batch(
    connection: &Connection,
    world: &World,
    part: &Part,
    first: Sequence,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(include_str!("sql/insert_batch.sql"))?;
    let values = params![
        world.number,
        i64::from(part.number()),
        i64::from(part.epoch()),
        i64::from(first),
        part.count(),
        part.at_ms(),
        part.digest().to_bytes(),
        part.link().0,
    ];
    insert.execute(values).map(drop)
}
