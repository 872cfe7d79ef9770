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
    let Some((world, state)) = count_state(shared, id)? else {
        return Ok(Usage::default());
    };
    let log = Rows {
        tree: |engine| &engine.log,
        bytes: log_payload_bytes,
        low: world_prefix(id),
        high: after(log_key(id, world.head)),
    };
    let batches = Rows {
        tree: |engine| &engine.batches,
        bytes: |_| Ok(0),
        low: world_prefix(id),
        high: after(batch_key(id, world.last_number)),
    };
    let log = log.count(shared)?;
    Ok(Usage {
        log_records: log.rows,
        log_bytes: log.bytes,
        state_keys: state.rows,
        state_bytes: state.bytes,
        parts: batches.count(shared)?.rows,
        store_bytes: shared.read(Engine::bytes)?,
    })
}

/// How often a state is counted beside the commits before they have to wait.
const ATTEMPTS: usize = 3;

fn count_state(shared: &Shared, id: &WorldId) -> Result<Option<(World, Count)>> {
    let find = |engine: &Engine| World::find(engine, id);
    let rows = Rows {
        tree: |engine| &engine.state,
        bytes: |value| StateHead::of(value).map(|row| u64::from(row.payload.length)),
        low: world_prefix(id),
        high: end_of(&world_prefix(id)),
    };
    for _ in 0..ATTEMPTS {
        let Some(world) = shared.read(find)? else {
            return Ok(None);
        };
        let count = rows.count(shared)?;
        if shared.read(find)?.as_ref() == Some(&world) {
            return Ok(Some((world, count)));
        }
    }
    shared.read(|engine| {
        let world = find(engine)?;
        let count = rows.slice(engine, &rows.low, usize::MAX)?.0;
        Ok(world.map(|world| (world, count)))
    })
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

#[derive(Clone, Copy, Default)]
struct Count {
    rows: u64,
    bytes: u64,
}

impl Rows {
    /// How many rows are read before commits can come in between.
    const SLICE: usize = 1000;

    fn count(&self, shared: &Shared) -> Result<Count> {
        let mut total = Count::default();
        let mut low = self.low.clone();
        loop {
            let (count, last) = shared.read(|engine| self.slice(engine, &low, Self::SLICE))?;
            total.rows += count.rows;
            total.bytes += count.bytes;
            match last {
                Some(last) => low = after(last.to_vec()),
                None => return Ok(total),
            }
        }
    }

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
