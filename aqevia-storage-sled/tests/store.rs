//! Stores in folders of their own, and parts to persist to them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Claim, Collection, Epoch, Fingerprint, History, Key, Limit,
    Link, LogRange, LogRow, Owner, Part, Payload, Reads, Receipt, Result, SchemaPolicy, StateRange,
    StateRow, StorageBackend, WorldId, WorldRecord,
};
use aqevia_storage_sled::{Sled, SledConfig};
use tempfile::TempDir;

/// A folder that is gone when the test is.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where the store is, which may not be there yet.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("storage.sled")
    }

    /// Something in the store.
    pub(crate) fn of(&self, name: &str) -> PathBuf {
        self.store().join(name)
    }

    /// The defaults, but for a long wait for a store that is about to be let go of.
    pub(crate) fn config(&self) -> SledConfig {
        let mut config = SledConfig::new(self.store());
        config.pool.busy_timeout = Duration::from_secs(60);
        config
    }

    /// The same with a short wait, for a store that stays open.
    pub(crate) fn impatient(&self) -> SledConfig {
        let mut config = self.config();
        config.pool.busy_timeout = Duration::from_millis(200);
        config
    }

    /// The files and folders below the store, with the bytes of the files.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.store(), &mut files);
        files
    }

    /// sled's own way to a store that is closed.
    pub(crate) fn sled(&self) -> sled::Db {
        // A process that another test starts may have a copy of the locked file for a moment.
        let db = fs::File::open(self.of("sled/db")).unwrap();
        db.lock().unwrap();
        db.unlock().unwrap();
        let config = sled::Config::new().path(self.of("sled"));
        config.segment_size(2 << 20).open().unwrap()
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

/// A backend that is not initialised.
pub(crate) fn backend(config: SledConfig) -> Arc<Sled> {
    Arc::new(Sled::open(config).unwrap())
}

/// A backend that is.
pub(crate) async fn open(config: SledConfig) -> Arc<Sled> {
    let store = backend(config);
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    store
}

/// A closed store with one event in the log of `arda`.
pub(crate) async fn with_an_event(folder: &Folder) {
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let event = event(&arda(), json("1"));
    writer.persist(vec![event]).await.unwrap();
    store.close().await.unwrap();
}

pub(crate) fn arda() -> WorldId {
    WorldId::new("arda").unwrap()
}

pub(crate) fn numenor() -> WorldId {
    WorldId::new("numenor").unwrap()
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

pub(crate) fn delete(world: &WorldId, name: &str) -> WorldRecord {
    WorldRecord::delete(world, &fleets(), key(name), 7)
}

/// A writer that has claimed a world, and forms the parts that follow.
pub(crate) struct Writer {
    store: Arc<Sled>,
    world: WorldId,
    epoch: Epoch,
    number: BatchNumber,
    link: Link,
}

impl Writer {
    pub(crate) async fn claim(store: &Arc<Sled>, world: &WorldId) -> Self {
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

pub(crate) async fn claim(store: &Sled, world: &WorldId) -> Result<Claim> {
    let owner = Owner::new("test").unwrap();
    store.claim(world, &owner, Fingerprint([7; 32])).await
}

/// Persists a batch of one part.
pub(crate) async fn persist(store: &Sled, part: Part) -> Result<Receipt> {
    let mut results = store.persist_batch(Batch::from(part)).await;
    results.pop().unwrap()
}

/// The whole log of a world, in pages of the default size.
pub(crate) async fn log(store: &(impl Reads + ?Sized), world: &WorldId) -> Vec<LogRow> {
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
