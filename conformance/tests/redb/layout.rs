//! The layout: five tables, each in the order in which it is read, and the stamp.
//!
//! redb orders keys by their types: text by its bytes, numbers by their value, tuples by their
//! parts. A store without types has to encode numbers big-endian and end texts with a zero.

use aqevia_storage::{
    BatchNumber, Claim, Epoch, Error, ErrorKind, Fingerprint, Link, Owner, Part, Result,
    SchemaPolicy, Sequence, WriterCheck,
};
use redb::{Database, ReadableDatabase, TableDefinition, TableError};

use crate::error::{committing, corrupt, failed};
use crate::look::not_ours;

/// The version of the layout that this backend reads and writes.
pub(crate) const LAYOUT: u64 = 1;

/// The stamp: that a file is ours, and of which layout it is.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("aqevia_meta");
pub(crate) const STAMP: &str = "layout";

/// World → where it stands.
pub(crate) const WORLDS: TableDefinition<'_, &str, WorldColumns<'_>> =
    TableDefinition::new("worlds");
/// Epoch, owner, head, number, `at_ms` and link of the last part, schema.
pub(crate) type WorldColumns<'a> = (u64, &'a str, u64, u64, i64, [u8; 32], Option<[u8; 32]>);

/// World, sequence → a record that is logged.
pub(crate) const LOG: TableDefinition<'_, (&str, u64), LogColumns<'_>> =
    TableDefinition::new("log");
/// Change, collection, key (empty for none), timestamp, form (0 for none), payload.
pub(crate) type LogColumns<'a> = (u8, &'a str, &'a str, i64, u8, &'a [u8]);

/// World, collection, key → its state.
pub(crate) const STATE: TableDefinition<'_, (&str, &str, &str), StateColumns<'_>> =
    TableDefinition::new("state");
/// Sequence, first timestamp, last timestamp, form, payload.
pub(crate) type StateColumns<'a> = (u64, i64, i64, u8, &'a [u8]);

/// World, number → a part that was persisted.
pub(crate) const PARTS: TableDefinition<'_, (&str, u64), PartColumns> =
    TableDefinition::new("parts");
/// Epoch, digest, first sequence, count, `at_ms`, link.
pub(crate) type PartColumns = (u64, [u8; 64], u64, u32, i64, [u8; 32]);

/// The layout that a file is stamped with.
///
/// # Errors
/// `Incompatible` if it bears no stamp of ours.
pub(crate) fn stamp_of(database: &Database) -> Result<u64> {
    let transaction = database.begin_read().map_err(failed)?;
    let stamp = match transaction.open_table(META) {
        Ok(meta) => meta.get_owned(STAMP).map_err(failed)?,
        Err(TableError::Storage(error)) => return Err(failed(error)),
        Err(_) => None,
    };
    let stamp = stamp.ok_or_else(|| not_ours("it bears no stamp of ours"))?;
    Ok(stamp.value())
}

/// Whether a store of a layout may be opened for writing.
///
/// # Errors
/// `Incompatible` if it is of another layout and not to be reset.
pub(crate) fn check(layout: u64, policy: SchemaPolicy) -> Result<()> {
    if layout == LAYOUT || policy == SchemaPolicy::ResetInDevelopment {
        return Ok(());
    }
    let matter = format!("it is of layout {layout}, this version has {LAYOUT}; use its version");
    Err(Error::new(ErrorKind::Incompatible, matter))
}

/// Drops all tables, if there are any, and makes those of an empty store, in one transaction.
pub(crate) fn make(database: &Database) -> Result<()> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_quick_repair(true);
    let tables: Vec<_> = transaction.list_tables().map_err(failed)?.collect();
    for table in tables {
        transaction.delete_table(table).map_err(failed)?;
    }
    transaction.open_table(WORLDS).map_err(failed)?;
    transaction.open_table(LOG).map_err(failed)?;
    transaction.open_table(STATE).map_err(failed)?;
    transaction.open_table(PARTS).map_err(failed)?;
    let mut meta = transaction.open_table(META).map_err(failed)?;
    meta.insert(STAMP, LAYOUT).map_err(failed)?;
    drop(meta);
    transaction.commit().map_err(committing)
}

/// Where a world stands: a row of [`WORLDS`].
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) owner: Owner,
    /// As the next claimant gets it, but for the epoch, which is raised then.
    pub(crate) claim: Claim,
}

impl World {
    /// Whether a part that was not persisted before may be written (clauses P6, P7, P9), and fits.
    pub(crate) fn check(&self, part: &Part) -> Result<()> {
        let writer = WriterCheck {
            epoch: self.claim.epoch,
            last_number: self.claim.last_number,
            owner: Some(&self.owner),
        };
        writer.check(part)?;
        self.claim.head.advance(u64::from(part.count())).map(drop)
    }

    pub(crate) fn columns(&self) -> WorldColumns<'_> {
        let claim = &self.claim;
        (
            claim.epoch.get(),
            self.owner.as_str(),
            claim.head.get(),
            claim.last_number.get(),
            claim.last_at_ms,
            claim.link.0,
            claim.schema.map(|schema| schema.0),
        )
    }

    /// # Errors
    /// `Corrupt` if a column holds what no column may.
    pub(crate) fn of(columns: WorldColumns<'_>) -> Result<Self> {
        let (epoch, owner, head, number, last_at_ms, link, schema) = columns;
        let world = || -> Result<Self> {
            let claim = Claim {
                epoch: Epoch::new(epoch)?,
                head: Sequence::new(head)?,
                last_number: BatchNumber::new(number)?,
                last_at_ms,
                link: Link(link),
                schema: schema.map(Fingerprint),
            };
            let owner = Owner::new(owner)?;
            Ok(Self { owner, claim })
        };
        world().map_err(corrupt)
    }
}
