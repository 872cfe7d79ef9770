//! A store in one file, a journal that any number of processes may read and write: the reference
//! backend, told what happened before.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqevia_storage::{
    Batch, Capabilities, Claim, Durability, Fingerprint, Limit, LogRange, LogRow, Owner, Page,
    Reads, Receipt, Result, SchemaPolicy, StateRange, StateRow, StorageBackend, StorageStats,
    StoreInfo, Usage, WorldId, WorldPage, WorldRange,
};
use async_trait::async_trait;
use conformance::{Harness, Scene};
use tempfile::TempDir;
use tokio::sync::Mutex;

use super::store::Store;

/// What is wrong with a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    None,
    /// Answers, and lets a thread write the entry.
    WritesLater,
    /// Keeps an entry in memory until the call after it.
    OneBehind,
    /// Writes a part as two entries, each of which counts.
    TwoHalves,
    /// Writes a part again under the next number.
    Forgetful,
    /// Takes the last part that it finds when it is opened for one that is still to be written.
    RecoversTwice,
    /// Writes behind an entry that a kill cut short.
    KeepsTail,
    /// Writes the part of a fenced writer as if its epoch were the present one.
    NotFencing,
    /// Looks for the file when it is opened, and makes it when it is initialised.
    MakesAgain,
    /// Takes an entry for written whatever the file system says.
    IgnoresFull,
    /// Says that the store is damaged if there is no room.
    FullIsCorrupt,
    /// Refuses a part that has no room, and shows it all the same.
    KeepsRefused,
    /// Says that it is open in one process at a time, and opens in all of them.
    LetsOthersIn,
    /// Announces no step of a part.
    TellsNoSteps,
}

/// A defect as a type, and whether several processes may have the store open.
pub(crate) trait Kind: Send + Sync + 'static {
    const DEFECT: Defect;
    const SHARED: bool = true;
}

/// A journal that is open.
struct Journal {
    store: Mutex<Store>,
    capabilities: Capabilities,
}

#[async_trait]
impl Reads for Journal {
    async fn log(
        &self,
        world: &WorldId,
        range: LogRange,
        limit: Limit,
    ) -> Result<Page<LogRow, LogRange>> {
        let mut store = self.store.lock().await;
        store.catch_up().await?.log(world, range, limit).await
    }

    async fn state(
        &self,
        world: &WorldId,
        range: StateRange,
        limit: Limit,
    ) -> Result<Page<StateRow, StateRange>> {
        let mut store = self.store.lock().await;
        store.catch_up().await?.state(world, range, limit).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl StorageBackend for Journal {
    async fn init(&self, _policy: SchemaPolicy) -> Result<StoreInfo> {
        self.store.lock().await.init().await?;
        Ok(StoreInfo::new(1, "journal", self.capabilities))
    }

    async fn claim(&self, world: &WorldId, owner: &Owner, schema: Fingerprint) -> Result<Claim> {
        self.store.lock().await.claim(world, owner, schema).await
    }

    async fn persist_batch(&self, batch: Batch) -> Vec<Result<Receipt>> {
        let mut store = self.store.lock().await;
        let mut answers = Vec::new();
        for part in batch.parts() {
            let answer = store.persist(part).await;
            answers.push(answer.map_err(|error| part.failed(error)));
        }
        answers
    }

    async fn snapshot(&self, world: &WorldId) -> Result<Box<dyn Reads>> {
        let mut store = self.store.lock().await;
        store.catch_up().await?.snapshot(world).await
    }

    async fn worlds(&self, range: WorldRange, limit: Limit) -> Result<WorldPage> {
        let mut store = self.store.lock().await;
        store.catch_up().await?.worlds(range, limit).await
    }

    async fn usage(&self, world: &WorldId) -> Result<Usage> {
        let mut store = self.store.lock().await;
        store.catch_up().await?.usage(world).await
    }

    fn stats(&self) -> StorageStats {
        StorageStats::default()
    }

    async fn close(&self) -> Result<()> {
        self.store.lock().await.close();
        Ok(())
    }
}

/// A journal in a folder of its own.
#[derive(Debug)]
pub(crate) struct JournalHarness<K> {
    file: PathBuf,
    /// The folder, of the harness whose store it is.
    _folder: Option<TempDir>,
    kind: PhantomData<K>,
}

impl<K> JournalHarness<K> {
    fn in_folder(folder: TempDir) -> Self {
        Self {
            file: folder.path().join("journal"),
            _folder: Some(folder),
            kind: PhantomData,
        }
    }
}

#[async_trait]
impl<K: Kind> Harness for JournalHarness<K> {
    async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"))
    }

    async fn new_in(folder: &Path) -> Option<Self> {
        let folder = tempfile::tempdir_in(folder);
        Some(Self::in_folder(folder.expect("a folder")))
    }

    async fn at(location: &str) -> Self {
        Self {
            file: PathBuf::from(location),
            _folder: None,
            kind: PhantomData,
        }
    }

    fn location(&self) -> String {
        self.file.to_str().expect("a path in UTF-8").to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Process,
            shared: K::SHARED,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Journal {
            store: Mutex::new(Store::new(&self.file, K::DEFECT, !K::SHARED)),
            capabilities: self.capabilities(),
        })
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        unreachable!("{scene:?}: only the checks between processes are run")
    }

    async fn dump(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("the journal")
    }
}
