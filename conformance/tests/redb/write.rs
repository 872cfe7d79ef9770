//! Claiming worlds and persisting parts, each in one write transaction.

use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Change, Claim, Epoch, Error, ErrorKind, Fingerprint, Key, Link, Owner, Part,
    Payload, Receipt, Result, Sequence, StateChange, WorldId, step,
};
use redb::{Database, ReadableDatabase, ReadableTable, Table, WriteTransaction};

use crate::error::{committing, corrupt, failed};
use crate::layout::{
    LOG, LogColumns, PARTS, PartColumns, STATE, StateColumns, WORLDS, World, WorldColumns,
};
use crate::read::{DELETE, EVENT, PUT, find_world};
use crate::store::Store;

/// Claims a world (clauses P6, C10).
pub(crate) fn claim(
    database: &Database,
    id: &WorldId,
    owner: &Owner,
    schema: Fingerprint,
) -> Result<Claim> {
    let transaction = begin(database)?;
    let mut worlds = transaction.open_table(WORLDS).map_err(failed)?;
    let before = find_world(&worlds, id)?.map(|world| world.claim);
    let mut claim = before.unwrap_or(Claim {
        epoch: Epoch::ZERO,
        ..Claim::first()
    });
    claim.epoch = claim.epoch.advance(1)?;
    let world = World {
        owner: owner.clone(),
        claim: Claim {
            schema: Some(schema),
            ..claim.clone()
        },
    };
    worlds
        .insert(id.as_str(), world.columns())
        .map_err(failed)?;
    drop(worlds);
    step("claim: written");
    transaction.commit().map_err(committing)?;
    step("claim: committed");
    Ok(claim)
}

/// Persists the parts of a batch in one transaction, and answers once for each.
///
/// A part that is refused leaves the others alone. If the transaction fails, so does each part that
/// was written in it; the others keep their answers.
pub(crate) fn persist(store: &Store, parts: &[Arc<Part>]) -> Vec<Result<Receipt>> {
    let mut results = Vec::with_capacity(parts.len());
    let Err(error) = store.with(|database| transact(database, parts, &mut results)) else {
        return results;
    };
    let mut settled = results.into_iter();
    let settle = |part: &Arc<Part>| match settled.next() {
        Some(result) if !result.as_ref().is_ok_and(is_written) => result,
        _ => Err(part.failed(outcome(store, part, &error))),
    };
    parts.iter().map(settle).collect()
}

/// Whether a receipt stands for something that a transaction has written, and may have lost.
const fn is_written(receipt: &Receipt) -> bool {
    !receipt.repeated && receipt.count > 0
}

/// What a failed transaction means for a part. A commit that failed may have been made all the
/// same; if the part is not in the file that was opened again, it was not.
fn outcome(store: &Store, part: &Part, error: &Error) -> Error {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<Error>());
    let Some(cause) = cause.filter(|_| error.kind() == ErrorKind::Ambiguous) else {
        return error.clone();
    };
    let found = store.with(|database| {
        let transaction = database.begin_read().map_err(failed)?;
        let parts = transaction.open_table(PARTS).map_err(failed)?;
        find_receipt(&parts, part)
    });
    match found {
        Ok(None) => cause.clone(),
        Ok(Some(_)) | Err(_) => error.clone(),
    }
}

/// Persists parts in one transaction, with a result for each, up to the error that ends it.
fn transact(
    database: &Database,
    parts: &[Arc<Part>],
    results: &mut Vec<Result<Receipt>>,
) -> Result<()> {
    let transaction = begin(database)?;
    step("batch: begun");
    let mut tables = Tables::open(&transaction)?;
    for part in parts {
        results.push(match tables.decide(part) {
            Ok(Decision::Write(world)) => Ok(tables.write(world, part)?),
            Ok(Decision::Answer(receipt)) => Ok(receipt),
            Err(refused) => Err(part.failed(refused)),
        });
    }
    drop(tables);
    if !results.iter().flatten().any(is_written) {
        // Dropping the transaction ends it, and costs no sync.
        return Ok(());
    }
    step("batch: written");
    transaction.commit().map_err(committing)?;
    step("batch: committed");
    Ok(())
}

/// Begins a transaction that is durable when its commit returns, and needs no repair after a kill.
fn begin(database: &Database) -> Result<WriteTransaction> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What becomes of a part.
enum Decision {
    /// Nothing is to be written for it.
    Answer(Receipt),
    /// It follows what its world holds.
    Write(World),
}

/// The tables of a write transaction.
struct Tables<'a> {
    worlds: Table<'a, &'static str, WorldColumns<'static>>,
    log: Table<'a, (&'static str, u64), LogColumns<'static>>,
    state: Table<'a, (&'static str, &'static str, &'static str), StateColumns<'static>>,
    parts: Table<'a, (&'static str, u64), PartColumns>,
}

impl<'a> Tables<'a> {
    fn open(transaction: &'a WriteTransaction) -> Result<Self> {
        Ok(Self {
            worlds: transaction.open_table(WORLDS).map_err(failed)?,
            log: transaction.open_table(LOG).map_err(failed)?,
            state: transaction.open_table(STATE).map_err(failed)?,
            parts: transaction.open_table(PARTS).map_err(failed)?,
        })
    }

    /// Decides on a part in the order that the clauses give: P5, then P6, P7 and P9.
    fn decide(&self, part: &Part) -> Result<Decision> {
        if let Some(receipt) = find_receipt(&self.parts, part)? {
            return Ok(Decision::Answer(receipt));
        }
        let Some(world) = find_world(&self.worlds, part.world())? else {
            return Err(Error::invalid("the world has never been claimed"));
        };
        world.check(part)?;
        if part.records().is_empty() {
            let first = world.claim.head.advance(1)?;
            return Ok(Decision::Answer(Receipt::written(first, 0)));
        }
        Ok(Decision::Write(world))
    }

    /// Writes a part that follows what its world holds.
    fn write(&mut self, mut world: World, part: &Part) -> Result<Receipt> {
        let head = world.claim.head;
        let first = head.advance(1)?;
        self.insert_records(part, first)?;
        step("part: records written");
        for change in part.state_changes(head) {
            self.change_state(part.world(), &change)?;
        }
        step("part: state written");
        self.insert_part(part, first)?;
        step("part: noted");
        world.claim.head = head.advance(u64::from(part.count()))?;
        world.claim.last_number = part.number();
        world.claim.last_at_ms = part.at_ms();
        world.claim.link = part.link();
        let worlds = &mut self.worlds;
        let inserted = worlds.insert(part.world().as_str(), world.columns());
        inserted.map_err(failed)?;
        Ok(Receipt::written(first, part.count()))
    }

    fn insert_records(&mut self, part: &Part, first: Sequence) -> Result<()> {
        let logged = (first.get()..).zip(part.records());
        for (sequence, record) in logged.filter(|(_, record)| record.is_logged()) {
            let record = BatchRecord::record(record);
            let columns = (
                tag(&record.change)?,
                record.collection.as_str(),
                record.key().map_or("", Key::as_str),
                record.timestamp,
                record.payload().map_or(0, |payload| payload.form() as u8),
                record.payload().map_or(&[][..], Payload::as_bytes),
            );
            let key = (part.world().as_str(), sequence);
            self.log.insert(key, columns).map_err(failed)?;
        }
        Ok(())
    }

    fn change_state(&mut self, world: &WorldId, change: &StateChange<'_>) -> Result<()> {
        let key = (
            world.as_str(),
            change.collection.as_str(),
            change.key.as_str(),
        );
        let Some(put) = change.put else {
            self.state.remove(key).map_err(failed)?;
            return Ok(());
        };
        let stored = self.state.get(key).map_err(failed)?;
        let stored = stored.map(|columns| columns.value().1);
        let first_timestamp = stored.filter(|_| !put.recreated);
        let columns = (
            put.sequence.get(),
            first_timestamp.unwrap_or(put.first_timestamp),
            put.last_timestamp,
            put.payload.form() as u8,
            put.payload.as_bytes(),
        );
        self.state.insert(key, columns).map_err(failed)?;
        Ok(())
    }

    fn insert_part(&mut self, part: &Part, first: Sequence) -> Result<()> {
        let key = (part.world().as_str(), part.number().get());
        let Link(link) = part.link();
        let columns = (
            part.epoch().get(),
            part.digest().to_bytes(),
            first.get(),
            part.count(),
            part.at_ms(),
            link,
        );
        self.parts.insert(key, columns).map_err(failed)?;
        Ok(())
    }
}

/// The receipt of the same part, if it was persisted before (clause P5).
fn find_receipt(
    parts: &impl ReadableTable<(&'static str, u64), PartColumns>,
    part: &Part,
) -> Result<Option<Receipt>> {
    let key = (part.world().as_str(), part.number().get());
    let Some(columns) = parts.get(key).map_err(failed)? else {
        return Ok(None);
    };
    let (epoch, digest, first, count, ..) = columns.value();
    if (epoch, digest) != (part.epoch().get(), part.digest().to_bytes()) {
        return Ok(None);
    }
    let first = Sequence::new(first).map_err(corrupt)?;
    Ok(Some(Receipt::repeated(first, count)))
}

fn tag(change: &Change) -> Result<u8> {
    match change {
        Change::Put { .. } => Ok(PUT),
        Change::Delete { .. } => Ok(DELETE),
        Change::Event { .. } => Ok(EVENT),
        _ => Err(Error::new(
            ErrorKind::Unsupported,
            "this version knows no such change",
        )),
    }
}
