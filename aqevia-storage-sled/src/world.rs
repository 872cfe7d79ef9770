//! The row of a world: where it stands.

use std::ops::Bound;

use aqevia_storage::{
    BatchNumber, Claim, Epoch, Fingerprint, Limit, Link, Owner, Result, Sequence, WorldHead,
    WorldId, WorldPage, WorldRange,
};

use crate::codec::{Fields, Reader};
use crate::engine::Engine;
use crate::error::reading;
use crate::row::damaged;

/// Where a world stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) epoch: Epoch,
    pub(crate) owner: Owner,
    pub(crate) head: Sequence,
    pub(crate) last_number: BatchNumber,
    pub(crate) last_at_ms: i64,
    pub(crate) link: Link,
    pub(crate) schema: Option<Fingerprint>,
}

impl World {
    /// A world that holds nothing and that nobody has claimed.
    pub(crate) fn unclaimed(owner: Owner) -> Self {
        let first = Claim::first();
        Self {
            epoch: Epoch::ZERO,
            owner,
            head: first.head,
            last_number: first.last_number,
            last_at_ms: first.last_at_ms,
            link: first.link,
            schema: first.schema,
        }
    }

    /// The world of a name, if it is in the store.
    pub(crate) fn find(engine: &Engine, id: &WorldId) -> Result<Option<Self>> {
        let value = engine.worlds.get(id.as_str()).map_err(reading)?;
        let world = value.map(|value| Self::of(id.as_str(), &value));
        world.transpose()
    }

    fn of(name: &str, value: &[u8]) -> Result<Self> {
        let decode = || {
            let mut fields = Reader::new(value);
            let world = Self {
                epoch: Epoch::new(fields.u64()?)?,
                owner: Owner::new(fields.text()?)?,
                head: Sequence::new(fields.u64()?)?,
                last_number: BatchNumber::new(fields.u64()?)?,
                last_at_ms: fields.i64()?,
                link: Link(fields.array()?),
                schema: match fields.u8()? {
                    0 => None,
                    _ => Some(Fingerprint(fields.array()?)),
                },
            };
            fields.finish().map(|()| world)
        };
        decode().map_err(|matter| damaged(&format!("the row of world {name:?}"), &matter))
    }

    /// The value of the row.
    pub(crate) fn value(&self) -> Vec<u8> {
        let fields = Fields::default()
            .u64(self.epoch.get())
            .text(self.owner.as_str())
            .u64(self.head.get())
            .u64(self.last_number.get())
            .i64(self.last_at_ms)
            .bytes(&self.link.0);
        match &self.schema {
            None => fields.u8(0),
            Some(schema) => fields.u8(1).bytes(&schema.0),
        }
        .finish()
    }
}

/// A page of the worlds of a store, in byte order of their names.
pub(crate) fn worlds(engine: &Engine, range: &WorldRange, limit: Limit) -> Result<WorldPage> {
    let after = range.after.as_ref().map_or("", WorldId::as_str);
    let rest = (Bound::Excluded(after.as_bytes()), Bound::Unbounded);
    let mut meter = limit.meter();
    let mut items: Vec<WorldHead> = Vec::new();
    for row in engine.worlds.range::<&[u8], _>(rest) {
        let (name, value) = row.map_err(reading)?;
        if !meter.admit(name.len()) {
            let last = items.last();
            let next = last.map(|last| WorldRange::after(last.world.clone()));
            return Ok(WorldPage::new(items, next));
        }
        items.push(head(&name, &value)?);
    }
    Ok(WorldPage::new(items, None))
}

fn head(name: &[u8], value: &[u8]) -> Result<WorldHead> {
    let name = String::from_utf8_lossy(name);
    let world = World::of(&name, value)?;
    let id = WorldId::new(&name);
    Ok(WorldHead {
        world: id.map_err(|matter| damaged(&format!("the row of world {name:?}"), &matter))?,
        head: world.head,
        epoch: world.epoch,
        owner: world.owner,
        last_number: world.last_number,
        last_at_ms: world.last_at_ms,
    })
}
