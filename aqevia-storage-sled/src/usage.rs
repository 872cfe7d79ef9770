//! What a world holds, counted beside the commits (clause S2).

use aqevia_storage::{Result, Usage, WorldId};
use sled::{IVec, Tree};

use crate::codec::{batch_key, end_of, log_key, world_prefix};
use crate::engine::Engine;
use crate::error::reading;
use crate::row::{StateHead, log_payload_bytes};
use crate::shared::Shared;
use crate::world::World;

/// Counts a world as it is at one moment.
///
/// Its state is counted some rows at a time, and again if a part came in between; after some
/// attempts, while commits wait. Log and batches only grow, so what they held at that moment is
/// counted afterwards.
pub(crate) fn usage(shared: &Shared, id: &WorldId) -> Result<Usage> {
    let counting = Counting::begin(shared, id);
    match counting.state()? {
        Some((world, state)) => counting.rest(&world, state),
        None => Ok(Usage::default()),
    }
}

/// A world that is being counted, until the store fails: it may then lose what was counted.
struct Counting<'a> {
    shared: &'a Shared,
    id: &'a WorldId,
    /// How often the store had failed before.
    failures: u64,
}

/// How often a state is counted beside the commits before they have to wait.
const ATTEMPTS: usize = 3;

impl<'a> Counting<'a> {
    fn begin(shared: &'a Shared, id: &'a WorldId) -> Self {
        let failures = shared.failures();
        Self {
            shared,
            id,
            failures,
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Engine) -> Result<T>) -> Result<T> {
        self.shared.read_since(self.failures, read)
    }

    /// The world as it is at one moment, if there is one, and its state.
    fn state(&self) -> Result<Option<(World, Count)>> {
        let find = |engine: &Engine| World::find(engine, self.id);
        let rows = Rows {
            tree: |engine| &engine.state,
            bytes: |value| StateHead::of(value).map(|row| u64::from(row.payload.length)),
            low: world_prefix(self.id),
            high: end_of(&world_prefix(self.id)),
        };
        for _ in 0..ATTEMPTS {
            let Some(world) = self.read(find)? else {
                return Ok(None);
            };
            let count = self.rows(&rows)?;
            if self.read(find)?.as_ref() == Some(&world) {
                return Ok(Some((world, count)));
            }
        }
        self.read(|engine| {
            let world = find(engine)?;
            let count = rows.slice(engine, &rows.low, usize::MAX)?.0;
            Ok(world.map(|world| (world, count)))
        })
    }

    /// What the world held beside its state at that moment.
    fn rest(&self, world: &World, state: Count) -> Result<Usage> {
        let log = Rows {
            tree: |engine| &engine.log,
            bytes: log_payload_bytes,
            low: world_prefix(self.id),
            high: after(log_key(self.id, world.head)),
        };
        let batches = Rows {
            tree: |engine| &engine.batches,
            bytes: |_| Ok(0),
            low: world_prefix(self.id),
            high: after(batch_key(self.id, world.last_number)),
        };
        let log = self.rows(&log)?;
        Ok(Usage {
            log_records: log.rows,
            log_bytes: log.bytes,
            state_keys: state.rows,
            state_bytes: state.bytes,
            parts: self.rows(&batches)?.rows,
            store_bytes: self.read(Engine::bytes)?,
        })
    }

    /// Counts rows, some at a time.
    fn rows(&self, rows: &Rows) -> Result<Count> {
        let mut total = Count::default();
        let mut low = rows.low.clone();
        loop {
            let (count, last) = self.read(|engine| rows.slice(engine, &low, Rows::SLICE))?;
            total.rows += count.rows;
            total.bytes += count.bytes;
            match last {
                Some(last) => low = after(last.to_vec()),
                None => return Ok(total),
            }
        }
    }
}

/// The first key that comes after one.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

/// Rows to count: those of a tree from one key to another.
struct Rows {
    tree: fn(&Engine) -> &Tree,
    /// The bytes of the payload of a value.
    bytes: fn(&[u8]) -> Result<u64>,
    low: Vec<u8>,
    /// Excluded.
    high: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    rows: u64,
    bytes: u64,
}

impl Rows {
    /// How many rows are read before commits can come in between.
    const SLICE: usize = 1000;

    /// Counts some rows; the last one, if there may be more.
    fn slice(&self, engine: &Engine, low: &[u8], most: usize) -> Result<(Count, Option<IVec>)> {
        let mut count = Count::default();
        let mut last = None;
        for row in (self.tree)(engine).range(low..&self.high).take(most) {
            let (key, value) = row.map_err(reading)?;
            count.rows += 1;
            count.bytes += (self.bytes)(&value)?;
            last = Some(key);
        }
        Ok((count, last.filter(|_| count.rows == most as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aqevia_storage::ErrorKind;

    use crate::shared::tests::{arda, fail_for_want_of_room, shared};

    #[test]
    fn a_count_ends_with_the_failure_of_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let (shared, world) = (shared(&folder), arda());
        let counting = Counting::begin(&shared, &world);
        let (found, state) = counting.state().unwrap().unwrap();
        counting.rest(&found, state).unwrap();
        fail_for_want_of_room(&shared);
        shared.mend().unwrap();
        for error in [
            counting.state().unwrap_err(),
            counting.rest(&found, state).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("begin another"), "{error}");
        }
        usage(&shared, &world).unwrap();
    }
}
