//! The row of a world: where it stands, and where its records lie.

use aqevia_storage::{
    BatchNumber, Claim, Epoch, Error, ErrorKind, Fingerprint, Limit, Link, Owner, Result, Sequence,
    WorldHead, WorldId, WorldPage, WorldRange,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{reading, writing};

/// Where a world stands.
#[derive(Debug)]
pub(crate) struct World {
    /// What stands for the world in the keys of the other tables.
    pub(crate) number: i64,
    pub(crate) epoch: Epoch,
    pub(crate) owner: Owner,
    pub(crate) head: Sequence,
    pub(crate) last_number: BatchNumber,
    pub(crate) last_at_ms: i64,
    pub(crate) link: Link,
    pub(crate) schema: Option<Fingerprint>,
}

impl World {
    /// How many bits of `world_records.id` are the sequence; those before are the world's number.
    const SEQUENCE_BITS: u32 = 40;
    const NUMBER_MAX: i64 = i64::MAX >> Self::SEQUENCE_BITS;

    /// The world of a name, if it is in the store.
    pub(crate) fn find(connection: &Connection, id: &WorldId) -> Result<Option<Self>> {
        let mut select = connection
            .prepare_cached(include_str!("sql/select_world.sql"))
            .map_err(reading)?;
        let columns = select.query_row([id.as_str()], Columns::of).optional();
        let Some(columns) = columns.map_err(reading)? else {
            return Ok(None);
        };
        let world = columns
            .check()
            .map_err(|error| damaged(id.as_str(), &error))?;
        Ok(Some(world))
    }

    /// Adds a world that holds nothing.
    ///
    /// # Errors
    /// `Full` if no number is left.
    pub(crate) fn add(
        connection: &Connection,
        id: &WorldId,
        epoch: Epoch,
        owner: &Owner,
    ) -> Result<Self> {
        let origin = Link::ORIGIN.0;
        let values = params![id.as_str(), i64::from(epoch), owner.as_str(), origin];
        connection
            .execute(include_str!("sql/insert_world.sql"), values)
            .map_err(writing)?;
        let number = connection.last_insert_rowid();
        if number > Self::NUMBER_MAX {
            let max = Self::NUMBER_MAX;
            let matter = format!("the store holds {max} worlds, and no more fit");
            return Err(Error::new(ErrorKind::Full, matter));
        }
        let first = Claim::first();
        Ok(Self {
            number,
            epoch,
            owner: owner.clone(),
            head: first.head,
            last_number: first.last_number,
            last_at_ms: first.last_at_ms,
            link: first.link,
            schema: first.schema,
        })
    }

    /// The id in `world_records` of a sequence of this world.
    pub(crate) fn log_id(&self, sequence: Sequence) -> i64 {
        self.number << Self::SEQUENCE_BITS | i64::from(sequence)
    }

    /// The sequence of an id in `world_records` that is of this world.
    pub(crate) fn sequence(&self, log_id: i64) -> Result<Sequence> {
        Sequence::try_from(log_id - self.log_id(Sequence::ZERO))
    }
}

/// The columns of `select_world.sql` and `select_worlds.sql`, as stored.
struct Columns {
    number: i64,
    epoch: i64,
    owner: String,
    head: i64,
    last_number: i64,
    last_at_ms: i64,
    link: [u8; 32],
    schema: Option<[u8; 32]>,
}

impl Columns {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            number: row.get("number")?,
            epoch: row.get("epoch")?,
            owner: row.get("owner")?,
            head: row.get("head")?,
            last_number: row.get("last_number")?,
            last_at_ms: row.get("last_at_ms")?,
            link: row.get("link")?,
            schema: row.get("schema")?,
        })
    }

    fn check(self) -> Result<World> {
        Ok(World {
            number: self.number,
            epoch: Epoch::try_from(self.epoch)?,
            owner: Owner::new(self.owner)?,
            head: Sequence::try_from(self.head)?,
            last_number: BatchNumber::try_from(self.last_number)?,
            last_at_ms: self.last_at_ms,
            link: Link(self.link),
            schema: self.schema.map(Fingerprint),
        })
    }
}

/// A page of the worlds of a store, in byte order of their names.
pub(crate) fn worlds(
    connection: &Connection,
    range: &WorldRange,
    limit: Limit,
) -> Result<WorldPage> {
    let mut select = connection
        .prepare_cached(include_str!("sql/select_worlds.sql"))
        .map_err(reading)?;
    let after = range.after.as_ref().map_or("", WorldId::as_str);
    let mut rows = select.query([after]).map_err(reading)?;
    let mut meter = limit.meter();
    let mut items: Vec<WorldHead> = Vec::new();
    while let Some(row) = rows.next().map_err(reading)? {
        let name: String = row.get("world_id").map_err(reading)?;
        if !meter.admit(name.len()) {
            let next = items
                .last()
                .map(|last| WorldRange::after(last.world.clone()));
            return Ok(WorldPage::new(items, next));
        }
        items.push(head(&name, row)?);
    }
    Ok(WorldPage::new(items, None))
}

fn head(name: &str, row: &Row<'_>) -> Result<WorldHead> {
    let columns = Columns::of(row).map_err(reading)?;
    let world = WorldId::new(name).and_then(|id| Ok((id, columns.check()?)));
    let (id, world) = world.map_err(|error| damaged(name, &error))?;
    Ok(WorldHead {
        world: id,
        head: world.head,
        epoch: world.epoch,
        owner: world.owner,
        last_number: world.last_number,
        last_at_ms: world.last_at_ms,
    })
}

fn damaged(name: &str, matter: &Error) -> Error {
    Error::corrupt(format!(
        "the row of world {name:?} in worlds cannot be right: {matter}"
    ))
}
