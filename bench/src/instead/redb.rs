//! `redb` with a table a collection and one for the log, each batch a durable transaction.

use std::path::Path;

use anyhow::Result;
use async_trait::async_trait;
use redb::{Database, Durability, TableDefinition, WriteTransaction};

use crate::side::Side;
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
    prepared: Vec<Vec<Row>>,
}

impl Redb {
    /// A new file in which the rows are.
    pub(super) fn open(path: &Path, fill: &[Vec<Row>]) -> Result<Self> {
        let mut redb = Self {
            database: Database::create(path)?,
            head: 0,
            prepared: Vec::new(),
        };
        for rows in fill {
            redb.persist(rows)?;
        }
        Ok(redb)
    }

    fn persist(&mut self, rows: &[Row]) -> Result<()> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        let head = log(&transaction, self.head, rows)?;
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

#[async_trait]
impl Side for Redb {
    fn prepare(&mut self, batches: &[Vec<Row>]) -> Result<()> {
        self.prepared = batches.to_vec();
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        for rows in std::mem::take(&mut self.prepared) {
            self.persist(&rows)?;
        }
        Ok(())
    }
}
