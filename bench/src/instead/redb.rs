//! `redb` with a table a collection and one for the log, each batch a durable transaction.

use std::path::Path;

use anyhow::Result;
use redb::{Database, Durability, TableDefinition, WriteTransaction};

use crate::side::Persist;
use crate::workload::{COLLECTIONS, Kind, Row};

/// Of each record its collection, its key, its timestamp and its payload.
pub(super) const LOG: TableDefinition<'_, u64, (u8, Option<&str>, i64, &str)> =
    TableDefinition::new("log");

/// Of each key its timestamp and its payload.
pub(super) const fn collection(
    name: &str,
) -> TableDefinition<'_, &'static str, (i64, &'static str)> {
    TableDefinition::new(name)
}

/// A file.
pub(super) struct Redb {
    database: Database,
    /// How many records are in the log.
    head: u64,
}

impl Redb {
    /// A new file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            database: Database::create(path)?,
            head: 0,
        })
    }
}

impl Persist for Redb {
    type Batch = Vec<Row>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(rows.to_vec())
    }

    async fn persist(&mut self, rows: Vec<Row>) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let head = log(&transaction, self.head, &rows)?;
        for (collection, name) in (0..).zip(COLLECTIONS) {
            let of_it = rows.iter().filter(|row| row.collection == collection);
            put(&transaction, name, of_it)?;
        }
        transaction.commit()?;
        self.head = head;
        Ok(())
    }
}

/// Appends what has a history, and says how many records there are then.
fn log(transaction: &WriteTransaction, mut head: u64, rows: &[Row]) -> Result<u64> {
    let mut table = transaction.open_table(LOG)?;
    for row in rows.iter().filter(|row| row.kind != Kind::Latest) {
        head += 1;
        let key = row.key.as_deref();
        let payload = row.payload.as_str();
        table.insert(head, (row.collection, key, row.timestamp, payload))?;
    }
    Ok(head)
}

/// Puts the entities of a collection.
fn put<'a>(
    transaction: &WriteTransaction,
    name: &str,
    rows: impl Iterator<Item = &'a Row>,
) -> Result<()> {
    let mut keyed = rows.filter_map(|row| Some((row.key.as_deref()?, row)));
    let Some(first) = keyed.next() else {
        return Ok(());
    };
    let mut table = transaction.open_table(collection(name))?;
    for (key, row) in std::iter::once(first).chain(keyed) {
        table.insert(key, (row.timestamp, row.payload.as_str()))?;
    }
    Ok(())
}
