//! Claiming worlds and persisting parts, on the one thread that writes.

use std::sync::Arc;

use aqevia_storage::{
    Claim, Epoch, Error, ErrorKind, Fingerprint, Owner, Part, Receipt, Result, Sequence,
    StateChange, WorldId, WriterCheck, step,
};
use sled::transaction::ConflictableTransactionError;

use crate::codec::{Place, batch_key, log_key, state_key};
use crate::engine::{Changes, Edited, Engine, Failure, StateTrees, caught};
use crate::error::reading;
use crate::row::{BatchRow, StateHead, batch_value, chunk_keys, chunks, log_value, state_value};
use crate::shared::{Shared, Stop};
use crate::world::World;

/// Claims a world (clauses P6, C10). It does not touch what a snapshot of the world shows.
pub(crate) fn claim(
    shared: &Shared,
    id: &WorldId,
    owner: &Owner,
    schema: Fingerprint,
) -> Result<Claim> {
    shared.mend()?;
    shared.check_room(0)?;
    let world = shared.read(|engine| World::find(engine, id))?;
    step("claim: world found");
    let world = world.unwrap_or_else(|| World::unclaimed(owner.clone()));
    let claim = Claim {
        epoch: world.epoch.advance(1)?,
        head: world.head,
        last_number: world.last_number,
        last_at_ms: world.last_at_ms,
        link: world.link,
        schema: world.schema,
    };
    let world = World {
        epoch: claim.epoch,
        owner: owner.clone(),
        schema: Some(schema),
        ..world
    };
    let mut changes = Changes::default();
    changes.worlds.insert(id.as_str(), world.value());
    let committed = shared.commit(&changes);
    let synced = committed.and_then(|()| {
        step("claim: written");
        shared.sync()
    });
    match synced {
        Ok(()) => {}
        Err(Stop::Refused(refused)) => return Err(refused),
        Err(Stop::Failed(failure)) => {
            let absent = give_up(shared, failure)?;
            if shared.read(|engine| World::find(engine, id))? != Some(world) {
                return Err(absent);
            }
        }
    }
    step("claim: committed");
    Ok(claim)
}

/// Persists the parts of a batch, and waits for the disk once.
///
/// A part that is refused leaves the others alone: these are written in one transaction, or, if that
/// is refused, each in one of its own.
pub(crate) fn persist(shared: &Shared, parts: &[Arc<Part>]) -> Vec<Result<Receipt>> {
    step("batch: received");
    if let Err(error) = shared.mend() {
        let refuse = |part: &Arc<Part>| Err(part.failed(error.clone()));
        return parts.iter().map(refuse).collect();
    }
    let mut results = Vec::with_capacity(parts.len());
    // A panic is a failure too: what was committed before it is in doubt, what was refused is not.
    let transacted = caught(|| transact(shared, parts, &mut results));
    let Err(failure) = transacted.flatten() else {
        return results;
    };
    let absent = give_up(shared, failure);
    let mut settled = results.into_iter();
    let settle = |part: &Arc<Part>| match settled.next() {
        Some(result) if !result.as_ref().is_ok_and(is_written) => result,
        _ => find(shared, part, &absent).map_err(|error| part.failed(error)),
    };
    parts.iter().map(settle).collect()
}

/// Whether a receipt stands for something that was committed, and may not be durable.
const fn is_written(receipt: &Receipt) -> bool {
    !receipt.repeated && receipt.count > 0
}

/// Persists parts with a result for each, up to the failure that ends it.
fn transact(
    shared: &Shared,
    parts: &[Arc<Part>],
    results: &mut Vec<Result<Receipt>>,
) -> Result<(), Failure> {
    write(shared, parts, &mut Written { results, bytes: 0 })?;
    step("batch: written");
    let written = results.iter().flatten().any(is_written);
    if !written {
        return Ok(());
    }
    match shared.sync() {
        Err(Stop::Failed(failure)) => Err(failure),
        // Only this thread closes the store or makes it fail.
        Err(Stop::Refused(error)) => Err(Failure {
            error,
            for_want_of_room: false,
        }),
        Ok(()) => {
            step("batch: synced");
            Ok(())
        }
    }
}

/// Closes sled after a failure, and looks whether it can be opened again.
///
/// The answer is the error of what is not there then. What is there is durable.
///
/// # Errors
/// `Ambiguous` if what is there cannot be known.
fn give_up(shared: &Shared, failure: Failure) -> Result<Error> {
    shared.fail(&failure);
    step("store: failed");
    match shared.mend() {
        Ok(()) => Ok(Error::new(ErrorKind::Full, failure.error.to_string())),
        Err(_) => Err(failure.in_doubt().with_source(failure.error)),
    }
}

/// What became of a part that was in doubt.
fn find(shared: &Shared, part: &Part, absent: &Result<Error>) -> Result<Receipt> {
    let absent = absent.clone()?;
    match shared.read(|engine| decide(engine, part))? {
        // It was this call that wrote it.
        Decision::Answer(answer) => {
            answer.map(|receipt| Receipt::written(receipt.first, receipt.count))
        }
        Decision::Write(..) => Err(absent),
    }
}

/// What came of the parts of a batch so far.
struct Written<'a> {
    results: &'a mut Vec<Result<Receipt>>,
    /// Of their records, for which the disk has not been asked for room yet.
    bytes: usize,
}

/// Commits parts with a result for each, up to the failure that ends it.
fn write(shared: &Shared, parts: &[Arc<Part>], written: &mut Written<'_>) -> Result<(), Failure> {
    match (write_together(shared, parts, written), parts) {
        (Ok(()), _) => Ok(()),
        (Err(Stop::Failed(failure)), _) => Err(failure),
        (Err(Stop::Refused(refused)), [part]) => {
            written.results.push(Err(part.failed(refused)));
            Ok(())
        }
        // It may be for one of them: its world is held or damaged, or there is no room for all.
        (Err(Stop::Refused(_)), parts) => {
            let mut parts = parts.chunks(1);
            parts.try_for_each(|part| write(shared, part, written))
        }
    }
}

/// Commits parts in one transaction, with a result for each unless they are refused.
fn write_together(
    shared: &Shared,
    parts: &[Arc<Part>],
    written: &mut Written<'_>,
) -> Result<(), Stop> {
    let decided = shared.read(|engine| {
        let decided = parts.iter().map(|part| decide(engine, part));
        decided.collect::<Result<Vec<_>>>()
    });
    let mut changes = Changes::default();
    let mut follow = Vec::new();
    let mut answers = Vec::with_capacity(parts.len());
    for (part, decision) in parts.iter().zip(decided.map_err(Stop::Refused)?) {
        answers.push(match decision {
            Decision::Answer(answer) => answer.map_err(|error| part.failed(error)),
            Decision::Write(world, receipt) => {
                let state = part.state_changes(world.head);
                let added = add(*world, part, receipt.first, &mut changes);
                added.map_err(Stop::Refused)?;
                follow.push((part, state));
                Ok(receipt)
            }
        });
    }
    let before = written.results.len();
    // Order matters: what is answered here is not in doubt if the others come to be.
    written.results.extend(answers);
    if follow.is_empty() {
        return Ok(());
    }
    let own: usize = follow.iter().map(|(part, _)| part.bytes()).sum();
    let bytes = written.bytes.saturating_add(own);
    let committed = shared.check_room(bytes).map_err(Stop::Refused);
    let committed = committed.and_then(|()| {
        step("part: prepared");
        let worlds = follow.iter().map(|(part, _)| part.world());
        shared.commit_to(worlds, &changes, |trees| {
            follow.iter().try_for_each(|(part, state)| {
                let mut state = state.iter();
                state.try_for_each(|change| change_state(&trees, part.world(), change))
            })
        })
    });
    match committed {
        Ok(()) => {
            written.bytes = bytes;
            step("part: committed");
        }
        Err(Stop::Refused(_)) => written.results.truncate(before),
        Err(Stop::Failed(_)) => {}
    }
    committed
}

/// What becomes of a part.
enum Decision {
    /// Nothing is to be written for it.
    Answer(Result<Receipt>),
    /// It follows what its world holds, and comes to this receipt.
    Write(Box<World>, Receipt),
}

/// Decides on a part in the order that the clauses give: P5, then P6, P7 and P9.
///
/// # Errors
/// Those of reading; what the clauses refuse is an answer.
fn decide(engine: &Engine, part: &Part) -> Result<Decision> {
    let world = World::find(engine, part.world())?;
    let Some(world) = world.filter(|_| part.epoch() != Epoch::ZERO) else {
        let refused = Error::invalid(format!("{:?} has not been claimed", part.epoch()));
        return Ok(Decision::Answer(Err(refused)));
    };
    if part.number() <= world.last_number
        && let Some(receipt) = find_receipt(engine, part)?
    {
        return Ok(Decision::Answer(Ok(receipt)));
    }
    if let Err(refused) = check(&world, part) {
        return Ok(Decision::Answer(Err(refused)));
    }
    let first = match world.head.advance(1) {
        Ok(first) => first,
        Err(full) => return Ok(Decision::Answer(Err(full))),
    };
    let receipt = Receipt::written(first, part.count());
    if part.records().is_empty() {
        return Ok(Decision::Answer(Ok(receipt)));
    }
    Ok(Decision::Write(Box::new(world), receipt))
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
fn find_receipt(engine: &Engine, part: &Part) -> Result<Option<Receipt>> {
    let key = batch_key(part.world(), part.number());
    let Some(value) = engine.batches.get(key).map_err(reading)? else {
        return Ok(None);
    };
    let row = BatchRow::of(&value)?;
    let same = row.is(part.epoch(), part.digest());
    Ok(same.then(|| Receipt::repeated(row.first, row.count)))
}

/// Adds what a part writes that follows what its world holds, but for the state.
fn add(world: World, part: &Part, first: Sequence, changes: &mut Changes) -> Result<()> {
    let id = part.world();
    for (sequence, record) in (first.get()..).zip(part.records()) {
        if record.is_logged() {
            let (sequence, record) = (Sequence::new(sequence)?, record.record());
            changes
                .log
                .insert(log_key(id, sequence), log_value(record)?);
            let payload = record.payload().into_iter();
            for (key, chunk) in payload.flat_map(|p| chunks((Place::Log, id, sequence), p)) {
                changes.chunks.insert(key, chunk);
            }
        }
    }
    let row = batch_value(part, first);
    changes.batches.insert(batch_key(id, part.number()), row);
    let world = World {
        head: world.head.advance(u64::from(part.count()))?,
        last_number: part.number(),
        last_at_ms: part.at_ms(),
        link: part.link(),
        ..world
    };
    changes.worlds.insert(id.as_str(), world.value());
    Ok(())
}

fn change_state(trees: &StateTrees<'_>, id: &WorldId, change: &StateChange<'_>) -> Edited {
    let StateTrees {
        state,
        chunks: beside,
    } = trees;
    let key = state_key(id, change.collection, change.key);
    let before = state.get(&key)?;
    let before = before.as_deref().map(StateHead::of).transpose();
    let before = before.map_err(ConflictableTransactionError::Abort)?;
    for key in before.iter().flat_map(|before| chunk_keys(id, before)) {
        beside.remove(key)?;
    }
    let Some(put) = &change.put else {
        state.remove(key)?;
        return Ok(());
    };
    let first_timestamp = match before {
        Some(before) if !put.recreated => before.first_timestamp,
        _ => put.first_timestamp,
    };
    state.insert(key, state_value(put, first_timestamp))?;
    for (key, chunk) in chunks((Place::State, id, put.sequence), put.payload) {
        beside.insert(key, chunk)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use aqevia_storage::{BatchNumber, BatchRecord, History, WorldRecord};

    use super::*;
    use crate::shared::tests::{arda, shared};

    #[test]
    fn room_is_asked_for_beside_what_the_same_batch_has_written() {
        let folder = tempfile::tempdir().unwrap();
        let shared = shared(&folder);
        let owner = Owner::new("test").unwrap();
        let claim = claim(&shared, &arda(), &owner, Fingerprint([0; 32])).unwrap();
        let event = WorldRecord::new(arda(), vec![7], 7);
        let records = vec![BatchRecord::new(event, History::All)];
        let number = BatchNumber::FIRST;
        let part = Part::new(arda(), claim.epoch, number, 0, claim.link, records);
        let parts = [Arc::new(part.unwrap())];
        // More than any disk has.
        for (bytes, expected) in [(usize::MAX, Err(ErrorKind::Full)), (0, Ok(1))] {
            let mut results = Vec::new();
            let mut written = Written {
                results: &mut results,
                bytes,
            };
            assert!(write(&shared, &parts, &mut written).is_ok());
            let result = results.pop().unwrap();
            let answer = result.map(|receipt| receipt.count);
            assert_eq!(answer.map_err(|error| error.kind()), expected);
        }
    }
}
