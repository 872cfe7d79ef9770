//! Gives names to what is missing in a store, by reading the stream again.

use std::collections::BTreeMap;

use aqevia::{Change, LogRow, WorldId, WorldRecord};

use super::halt::Halt;
use super::stored::Stored;
use super::turns::Turn;
use super::verify::{At, Differences, Missing, take_missing};

type Rows<'a> = Box<dyn Iterator<Item = Result<LogRow, Halt>> + 'a>;

/// Adds each entity that is missing, and of each log that differs the first difference.
///
/// `turns` are those of the stream from its beginning; an error among them ends the search.
///
/// # Errors
/// If the store cannot be read, or a signal comes.
pub fn locate(
    stored: Stored<'_>,
    turns: impl Iterator<Item = anyhow::Result<Turn>>,
    mut missing: Missing,
    differences: &mut Differences,
) -> Result<(), Halt> {
    let logs = std::mem::take(&mut missing.logs).into_iter();
    let mut logs: BTreeMap<WorldId, Rows<'_>> = logs
        .map(|world| (world.clone(), Box::new(stored.log(&world)) as Rows<'_>))
        .collect();
    for turn in turns.map_while(Result::ok) {
        for (sequence, record) in turn.sequenced() {
            match record.change {
                Change::Event { .. } => compare_event(&mut logs, sequence, record, differences)?,
                _ if take_missing(&mut missing.entities, sequence, record) => {
                    add_missing(sequence, record, differences);
                }
                _ => {}
            }
        }
    }
    for (world, mut rows) in logs {
        match rows.next().transpose()? {
            Some(row) => {
                let at = format!("world {world:?}, log at sequence {}", row.sequence);
                differences.add(at, "is in the store and not in the stream");
            }
            None => differences.add(format!("world {world:?}, log"), CHANGED),
        }
    }
    for _ in missing.entities {
        differences.add("an entity", CHANGED);
    }
    Ok(())
}

/// What was found by the fingerprint is not found by name. It counts all the same.
const CHANGED: &str = "differs, and its name is not found: store or stream changed meanwhile";

fn add_missing(sequence: u64, record: &WorldRecord, differences: &mut Differences) {
    let key = record.key().map_or("", |key| key.as_str());
    let at = At(&record.world, &record.collection, key);
    let matter = format!("is not in the store; the stream puts it at sequence {sequence}");
    differences.add(at, &matter);
}

/// Compares an event with the next row of its world's log, if that log is searched.
fn compare_event(
    logs: &mut BTreeMap<WorldId, Rows<'_>>,
    sequence: u64,
    event: &WorldRecord,
    differences: &mut Differences,
) -> Result<(), Halt> {
    let Some(rows) = logs.get_mut(&event.world) else {
        return Ok(());
    };
    let row = rows.next().transpose()?;
    if let Some(row) = &row
        && row.sequence.get() == sequence
        && row.record == *event
    {
        return Ok(());
    }
    let found = match row {
        Some(row) => format!(
            "is not the next in the store, which is at sequence {}",
            row.sequence
        ),
        None => "is not in the store, whose log ends before it".to_owned(),
    };
    let key = event.key().map_or("", |key| key.as_str());
    let at = At(&event.world, &event.collection, key);
    differences.add(format!("{at} at sequence {sequence}"), &found);
    logs.remove(&event.world);
    Ok(())
}
