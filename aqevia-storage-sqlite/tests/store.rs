//! Stores in folders of their own, and parts to persist to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Claim, Collection, Epoch, Fingerprint, History, Key, Limit,
    Link, LogRange, LogRow, Owner, Part, Payload, Reads, Receipt, Result, SchemaPolicy, StateRange,
    StateRow, StorageBackend, WorldId, WorldRecord,
};
use aqevia_storage_sqlite::{Sqlite, SqliteConfig};
use rusqlite::Connection;
use tempfile::TempDir;

/// A folder that is gone when the test is.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Where the store is, which may not be there yet.
    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("storage.sqlite")
    }

    pub(crate) fn config(&self) -> SqliteConfig {
        SqliteConfig::new(self.file())
    }

    /// A connection of an outsider.
    pub(crate) fn sql(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }

    /// The names of the files in the folder, and their bytes.
    ///
    /// Only while no store is open: closing a file ends the locks of this process on it.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.0.path()).unwrap().map(Result::unwrap);
        files
            .map(|file| {
                let name = file.file_name().into_string().unwrap();
                (name, fs::read(file.path()).unwrap())
            })
            .collect()
    }

    /// Copies the database and what is beside it, as a crash at this instant leaves them.
    ///
    /// Closing the files ends the locks on them, so nobody is to use the store of this folder.
    pub(crate) fn copy_to(&self, other: &Self, suffixes: &[&str]) {
        for suffix in suffixes {
            let name = format!("storage.sqlite{suffix}");
            fs::copy(self.path().join(&name), other.path().join(&name)).unwrap();
        }
    }
}

/// A backend that is not initialised.
pub(crate) fn backend(config: SqliteConfig) -> Arc<Sqlite> {
    Arc::new(Sqlite::open(config).unwrap())
}

/// A backend that is.
pub(crate) async fn open(config: SqliteConfig) -> Arc<Sqlite> {
    let store = backend(config);
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    store
}

pub(crate) fn arda() -> WorldId {
    WorldId::new("arda").unwrap()
}

pub(crate) fn fleets() -> Collection {
    Collection::new("fleets").unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::Json(text.to_owned())
}

pub(crate) fn event(world: &WorldId, payload: impl Into<Payload>) -> WorldRecord {
    WorldRecord::new(world.clone(), payload, 7)
}

pub(crate) fn put(world: &WorldId, name: &str, payload: impl Into<Payload>) -> WorldRecord {
    WorldRecord::put(world, &fleets(), key(name), payload, 7)
}

/// A writer that has claimed a world, and forms the parts that follow.
pub(crate) struct Writer {
    store: Arc<Sqlite>,
    world: WorldId,
    epoch: Epoch,
    number: BatchNumber,
    link: Link,
}

impl Writer {
    pub(crate) async fn claim(store: &Arc<Sqlite>, world: &WorldId) -> Self {
        let claim = claim(store, world).await.unwrap();
        Self {
            store: Arc::clone(store),
            world: world.clone(),
            epoch: claim.epoch,
            number: claim.last_number,
            link: claim.link,
        }
    }

    /// The part that follows, with the history `All` for each record.
    pub(crate) fn part(&self, records: Vec<WorldRecord>) -> Part {
        let records = records.into_iter();
        let records = records.map(|record| BatchRecord::new(record, History::All));
        let (world, number) = (self.world.clone(), self.number.advance(1).unwrap());
        Part::new(world, self.epoch, number, 0, self.link, records.collect()).unwrap()
    }

    pub(crate) async fn persist(&mut self, records: Vec<WorldRecord>) -> Result<Receipt> {
        let part = self.part(records);
        let (number, link) = (part.number(), part.link());
        let receipt = persist(&self.store, part).await?;
        (self.number, self.link) = (number, link);
        Ok(receipt)
    }
}

pub(crate) async fn claim(store: &Sqlite, world: &WorldId) -> Result<Claim> {
    let owner = Owner::new("test").unwrap();
    store.claim(world, &owner, Fingerprint([7; 32])).await
}

/// Persists a batch of one part.
pub(crate) async fn persist(store: &Sqlite, part: Part) -> Result<Receipt> {
    let mut results = store.persist_batch(Batch::from(part)).await;
    results.pop().unwrap()
}

/// The whole log of a world, in pages of the default size.
pub(crate) async fn log(store: &impl Reads, world: &WorldId) -> Vec<LogRow> {
    let mut rows = Vec::new();
    let mut next = Some(LogRange::ALL);
    while let Some(range) = next {
        let page = store.log(world, range, Limit::default()).await.unwrap();
        rows.extend(page.items);
        next = page.next;
    }
    rows
}

/// The state of a world, if it fits a page.
pub(crate) async fn state(store: &(impl Reads + ?Sized), world: &WorldId) -> Vec<StateRow> {
    let page = store
        .state(world, StateRange::all(), Limit::default())
        .await;
    page.unwrap().items
}
