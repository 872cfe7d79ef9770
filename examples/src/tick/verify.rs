//! Compares what is stored with what the engine has in memory.

use aqevia::{Change, LogRow, StateRow, WorldId};

use super::engine::event;
use super::galaxy::Galaxy;
use crate::replay::halt::Halt;
use crate::replay::stored::Stored;
use crate::replay::verify::Differences;

/// What a comparison found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The entities that are stored.
    pub entities: u64,
    /// The events that are stored.
    pub events: u64,
    /// In what they differ.
    pub differences: Differences,
}

/// Compares every entity, and sees that each event is there once, in the order of acceptance.
///
/// # Errors
/// If the store cannot be read, or a signal comes.
pub fn compare(
    stored: Stored<'_>,
    world: &WorldId,
    galaxy: &Galaxy,
    events: u64,
) -> Result<Verdict, Halt> {
    let mut verdict = Verdict::default();
    let mut found = vec![false; galaxy.keys().len()];
    for row in stored.state(world) {
        verdict.add_entity(&row?, galaxy, &mut found)?;
    }
    let state = galaxy.lock();
    for (number, found) in found.into_iter().enumerate() {
        if !found && state.ship(number).is_some_and(|ship| ship.has_changed()) {
            let at = format!("ship {number}");
            verdict.differences.add(at, "is not in the store");
        }
    }
    for row in stored.log(world) {
        verdict.add_event(&row?, events)?;
    }
    if verdict.events < events {
        let (stored, at) = (verdict.events, "events");
        let matter = format!("{events} were accepted, and {stored} are in the store");
        verdict.differences.add(at, &matter);
    }
    Ok(verdict)
}

impl Verdict {
    fn add_entity(
        &mut self,
        row: &StateRow,
        galaxy: &Galaxy,
        found: &mut [bool],
    ) -> Result<(), Halt> {
        self.entities += 1;
        let at = format!("{} {:?}", row.collection, row.key);
        let known = galaxy
            .number(&row.key)
            .filter(|_| row.collection == *galaxy.collection());
        let Some(number) = known else {
            self.differences
                .add(at, "is in the store, and nobody put it");
            return Ok(());
        };
        found
            .iter_mut()
            .skip(number)
            .take(1)
            .for_each(|it| *it = true);
        let expected = galaxy.lock().ship(number).map(|ship| ship.encode());
        if expected.transpose()?.as_ref() != Some(&row.payload) {
            self.differences.add(at, "is not stored in its last state");
        }
        Ok(())
    }

    fn add_event(&mut self, row: &LogRow, events: u64) -> Result<(), Halt> {
        let number = self.events;
        self.events += 1;
        let Change::Event { payload, .. } = &row.record.change else {
            self.differences.add(row.sequence, "is not an event");
            return Ok(());
        };
        if number >= events || *payload != event(number)? {
            let matter = format!("is not event {number}, which comes next, of {events}");
            self.differences.add(row.sequence, &matter);
        }
        Ok(())
    }
}
