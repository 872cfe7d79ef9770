//! Sees to it that a replay from the first turn begins with empty worlds.

use std::collections::HashMap;

use anyhow::Result;
use aqevia::WorldId;

use super::halt::Halt;
use super::play::has_records;
use super::turns::Turn;
use super::wait::Waiter;

/// Refuses a stream of which a world is among `heads`, before anything is written.
///
/// Only a stream whose worlds are read to the end tells, so this reads `turns` unless the store is
/// empty. A line that is wrong ends the search: no turn after it is played.
///
/// # Errors
/// `Halt::Store`, naming the world and what to do, or `Halt::Signal`.
pub fn refuse_stored(
    turns: impl Iterator<Item = Result<Turn>>,
    heads: &HashMap<WorldId, u64>,
    waiter: &Waiter,
) -> Result<(), Halt> {
    if heads.is_empty() {
        return Ok(());
    }
    for turn in turns.map_while(Result::ok) {
        waiter.check()?;
        if let Some(head) = heads.get(&turn.world) {
            return Err(Halt::Store(has_records(&turn.world, *head)));
        }
    }
    Ok(())
}
