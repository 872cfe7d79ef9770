//! sled by hand: a transaction over all trees a batch, with prepared batches, then `flush`, then
//! `sync_data` on its file, without which nothing is durable.
//!
//! The promises are ours: log, state, the world's row with epoch and number, and a row a batch with
//! its digest.

use std::fs::File;
use std::path::Path;

use anyhow::{Result, anyhow, ensure};
use sled::transaction::TransactionError;
use sled::{Batch, Db, Transactional, Tree};

use super::{digest, last_of_keys};
use crate::side::Persist;
use crate::workload::{Kind, Row};

/// A folder.
pub(crate) struct HandSled {
    db: Db,
    file: File,
    worlds: Tree,
    batches: Tree,
    log: Tree,
    state: Tree,
}

/// What one transaction writes.
#[derive(Default)]
struct Changes {
    worlds: Batch,
    batches: Batch,
    log: Batch,
    state: Batch,
}

impl HandSled {
    /// A new folder.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let db = sled::Config::new()
            .path(path)
            .cache_capacity(64 << 20)
            .open()?;
        Ok(Self {
            file: File::open(path.join("db"))?,
            worlds: db.open_tree("worlds")?,
            batches: db.open_tree("batches")?,
            log: db.open_tree("log")?,
            state: db.open_tree("state")?,
            db,
        })
    }
}

impl Persist for HandSled {
    type Batch = Vec<Row>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(rows.to_vec())
    }

    async fn persist(&mut self, rows: Vec<Row>) -> Result<()> {
        let mut changes = Changes::default();
        for rows in rows.chunk_by(|row, next| row.world == next.world) {
            self.add(rows, &mut changes)?;
        }
        let trees = (&self.worlds, &self.batches, &self.log, &self.state);
        trees
            .transaction(|(worlds, batches, log, state)| {
                worlds.apply_batch(&changes.worlds)?;
                batches.apply_batch(&changes.batches)?;
                log.apply_batch(&changes.log)?;
                state.apply_batch(&changes.state)?;
                Ok(())
            })
            .map_err(|error: TransactionError<()>| anyhow!("{error:?}"))?;
        self.db.flush()?;
        self.file.sync_data()?;
        Ok(())
    }
}

impl HandSled {
    /// Adds what rows of one world change.
    fn add(&self, rows: &[Row], changes: &mut Changes) -> Result<()> {
        let at = rows.first().map_or(0, |row| row.world).to_be_bytes();
        let world = self.worlds.get(at)?;
        let [epoch, last, head] = world.map_or(Ok([1, 0, 0]), |world| numbers(&world))?;
        ensure!(epoch == 1, "fenced");
        let moves = last_of_keys(rows);
        for ((sequence, row), moves) in (head + 1..).zip(rows).zip(moves) {
            let value = [&row.timestamp.to_be_bytes(), row.payload.as_bytes()].concat();
            let key = row.key.as_deref().unwrap_or_default();
            if moves {
                let at = [&at, &[row.collection][..], key.as_bytes()].concat();
                let value = [&sequence.to_be_bytes(), value.as_slice()].concat();
                changes.state.insert(at, value);
            }
            if row.kind != Kind::Latest {
                let head = [row.collection, key.len() as u8];
                let value = [&head, key.as_bytes(), value.as_slice()].concat();
                let at = [&at[..], &sequence.to_be_bytes()].concat();
                changes.log.insert(at, value);
            }
        }
        let count = rows.len() as u64;
        let (number, digest) = (last + 1, digest(rows));
        let batch = [epoch, head + 1, count].map(u64::to_be_bytes).concat();
        let batch = [&batch, digest.as_bytes().as_slice()].concat();
        let world = [epoch, number, head + count].map(u64::to_be_bytes).concat();
        let batch_at = [&at[..], &number.to_be_bytes()].concat();
        changes.batches.insert(batch_at, batch);
        changes.worlds.insert(&at, world);
        Ok(())
    }
}

fn numbers(bytes: &[u8]) -> Result<[u64; 3]> {
    let mut numbers = [0; 3];
    for (number, bytes) in numbers.iter_mut().zip(bytes.chunks(8)) {
        *number = u64::from_be_bytes(bytes.try_into()?);
    }
    Ok(numbers)
}
