//! Comparing a store with what it has to hold, and naming the clause that a difference breaks.

use std::collections::BTreeMap;

use aqevia_storage::{
    Limit, LogRange, LogRow, Part, Reads, Sequence, StateRange, StateRow, StorageBackend,
    WorldHead, WorldId, WorldRange,
};

use super::Verdict;
use crate::model::World;

/// The worlds of a store.
pub(crate) async fn heads(backend: &dyn StorageBackend) -> Verdict<Vec<WorldHead>> {
    let mut heads = Vec::new();
    let mut next = Some(WorldRange::all());
    while let Some(range) = next {
        let page = backend.worlds(range, Limit::default()).await;
        let page = page.map_err(|error| format!("R1: `worlds` fails: {error:?}"))?;
        heads.extend(page.items);
        next = page.next;
    }
    Ok(heads)
}

/// Compares what a store holds of a world with what it has to hold.
pub(crate) async fn compare_world(
    backend: &dyn StorageBackend,
    id: &WorldId,
    expected: &World,
) -> Verdict {
    let in_world = |found: String| format!("{found} (world {id:?})");
    let (log, head) = log(backend, id).await?;
    compare_log(&log, expected).map_err(in_world)?;
    let ends = expected.head();
    if head != ends {
        let half = format!("P1: the head is {head}, and the last part ends at {ends}");
        return Err(in_world(half));
    }
    let state = state(backend, id).await?;
    compare_state(&state, &expected.state()).map_err(in_world)?;
    let usage = backend.usage(id).await;
    let usage = usage.map_err(|error| format!("R1: `usage` fails: {error:?}"))?;
    let parts = expected.parts().len() as u64;
    if usage.parts != parts {
        let counted = usage.parts;
        return Err(in_world(format!(
            "S2: {counted} parts are counted, and {parts} were persisted"
        )));
    }
    Ok(())
}

/// The log of a world, and the head that came with it.
pub(crate) async fn log(reads: &dyn Reads, id: &WorldId) -> Verdict<(Vec<LogRow>, Sequence)> {
    let (mut rows, mut head) = (Vec::new(), Sequence::ZERO);
    let mut next = Some(LogRange::ALL);
    while let Some(range) = next {
        let page = reads.log(id, range, Limit::default()).await;
        let page = page.map_err(|error| format!("R1: `log` fails: {error:?}"))?;
        rows.extend(page.items);
        (next, head) = (page.next, page.head);
    }
    Ok((rows, head))
}

/// The state of a world.
pub(crate) async fn state(reads: &dyn Reads, id: &WorldId) -> Verdict<Vec<StateRow>> {
    let mut rows = Vec::new();
    let mut next = Some(StateRange::all());
    while let Some(range) = next {
        let page = reads.state(id, range, Limit::default()).await;
        let page = page.map_err(|error| format!("R1: `state` fails: {error:?}"))?;
        rows.extend(page.items);
        next = page.next;
    }
    Ok(rows)
}

fn compare_log(found: &[LogRow], expected: &World) -> Verdict {
    let rows = expected.log();
    if found == rows {
        return Ok(());
    }
    let mut there: BTreeMap<_, _> = found.iter().map(|row| (row.sequence, row)).collect();
    if there.len() < found.len() {
        return Err("P5: a sequence of the log is there twice".to_owned());
    }
    for row in &rows {
        match there.remove(&row.sequence) {
            None => return Err(missing(row.sequence, found, expected)),
            Some(found) if found != row => {
                let (at, form) = (row.sequence, &row.record);
                return Err(format!(
                    "P4: {at} holds {:?}, and {form:?} was written",
                    found.record
                ));
            }
            Some(_) => {}
        }
    }
    match there.into_keys().next() {
        Some(extra) => Err(format!(
            "P1: {extra} is in the log, and belongs to no part that is in the store"
        )),
        None => Err("P3: the log is not in the order of its sequences".to_owned()),
    }
}

/// Says of a row of the log that is not there whether all of its part is missing.
fn missing(sequence: Sequence, found: &[LogRow], expected: &World) -> String {
    let mut first = 1;
    for part in expected.parts() {
        let end = first + u64::from(part.count());
        if (first..end).contains(&sequence.get()) {
            return missing_of(part, first, sequence, found);
        }
        first = end;
    }
    format!("P3: {sequence} is missing")
}

fn missing_of(part: &Part, first: u64, sequence: Sequence, found: &[LogRow]) -> String {
    let end = first + u64::from(part.count());
    let of_part = |row: &&LogRow| (first..end).contains(&row.sequence.get());
    let there = found.iter().filter(of_part).count();
    let (number, count) = (part.number(), part.count());
    match there {
        0 => {
            format!("P2: nothing is in the log of part {number}, which was acknowledged or is last")
        }
        _ => format!(
            "P1: part {number}, of {count} records, is in the log only in part: {sequence} is \
             missing"
        ),
    }
}

fn compare_state(found: &[StateRow], expected: &[StateRow]) -> Verdict {
    if found == expected {
        return Ok(());
    }
    let differs = found.iter().zip(expected).find(|(found, row)| found != row);
    Err(match differs {
        Some((found, row)) => {
            format!("R3: the state holds {found:?}, and the records fold to {row:?}")
        }
        None => {
            let (found, expected) = (found.len(), expected.len());
            format!("R3: the state holds {found} keys, and the records fold to {expected}")
        }
    })
}
