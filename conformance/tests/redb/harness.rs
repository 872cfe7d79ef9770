//! The suite's way to stores in redb, and to states that redb's own calls can make.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqevia_storage::{
    BatchRecord, Capabilities, History, Owner, Part, Schema, SchemaPolicy, StorageBackend, WorldId,
    WorldRecord,
};
use async_trait::async_trait;
use conformance::{Harness, Scene};
use redb::{
    Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value,
};
use tempfile::TempDir;

use crate::backend::{CAPABILITIES, Redb};
use crate::layout::{LAYOUT, LOG, META, PARTS, STAMP, STATE, WORLDS, stamp_of};
use crate::look::look;

/// A file in a folder of its own.
pub(crate) struct RedbHarness {
    pub(crate) file: PathBuf,
    /// The folder, of the harness whose store it is.
    _folder: Option<TempDir>,
}

impl RedbHarness {
    fn in_folder(folder: TempDir) -> Self {
        Self {
            file: folder.path().join("storage.redb"),
            _folder: Some(folder),
        }
    }

    /// The names of all files beside the store, and it.
    fn files(&self) -> Vec<PathBuf> {
        let folder = self.file.parent().unwrap();
        let files = fs::read_dir(folder).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    }
}

#[async_trait]
impl Harness for RedbHarness {
    async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    async fn new_in(folder: &Path) -> Option<Self> {
        Some(Self::in_folder(tempfile::tempdir_in(folder).unwrap()))
    }

    async fn at(location: &str) -> Self {
        Self {
            file: PathBuf::from(location),
            _folder: None,
        }
    }

    fn location(&self) -> String {
        self.file.to_str().unwrap().to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        Arc::new(Redb::new(self.file.clone()))
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        match scene {
            Scene::NewerLayout => newer_layout(&self.file).await,
            Scene::Foreign => drop(foreign(&self.file)),
            Scene::FirstLayout(_) => unreachable!("`first_layout` says that there is none"),
        }
    }

    /// The names of all files, and the rows of a store that is ours and of this layout: redb
    /// writes its pages anew whenever it closes. Of everything else the bytes.
    async fn dump(&self) -> Vec<u8> {
        let files = self.files().into_iter();
        let contents = files.map(|file| {
            let bytes = rows(&file).map_or_else(|| fs::read(&file).unwrap(), String::into_bytes);
            (file.into_os_string().into_encoded_bytes(), bytes)
        });
        let sorted: BTreeMap<_, _> = contents.collect();
        sorted
            .into_iter()
            .flat_map(|(name, bytes)| [name, bytes].concat())
            .collect()
    }
}

/// Every row of a store of this layout, which stays as it is.
fn rows(file: &Path) -> Option<String> {
    let database = look(file).ok()?;
    stamp_of(&database)
        .ok()
        .filter(|layout| *layout == LAYOUT)?;
    let transaction = database.begin_read().unwrap();
    let mut rows = String::new();
    table(&mut rows, &transaction, META);
    table(&mut rows, &transaction, WORLDS);
    table(&mut rows, &transaction, LOG);
    table(&mut rows, &transaction, STATE);
    table(&mut rows, &transaction, PARTS);
    Some(rows)
}

fn table<K: Key, V: Value>(
    rows: &mut String,
    transaction: &ReadTransaction,
    definition: TableDefinition<'static, K, V>,
) {
    let table = transaction.open_table(definition).unwrap();
    for row in table.iter().unwrap() {
        let (key, value) = row.unwrap();
        writeln!(rows, "{definition} {:?} {:?}", key.value(), value.value()).unwrap();
    }
}

/// A store with an event, stamped with layout 2.
pub(crate) async fn newer_layout(file: &Path) {
    let store = Redb::new(file.to_owned());
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    let world = WorldId::new("arda").unwrap();
    let (owner, schema) = (Owner::process(1), Schema::new().fingerprint());
    let claim = store.claim(&world, &owner, schema).await.unwrap();
    let event = WorldRecord::new(world.clone(), b"1".to_vec(), 0);
    let records = vec![BatchRecord::new(event, History::Latest)];
    let next = claim.last_number.advance(1).unwrap();
    let part = Part::new(world, claim.epoch, next, 0, claim.link, records).unwrap();
    store.persist_batch(part.into()).await.remove(0).unwrap();
    store.close().await.unwrap();

    let database = Database::open(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(META)
        .unwrap()
        .insert(STAMP, LAYOUT + 1)
        .unwrap();
    transaction.commit().unwrap();
}

/// Another program's database, open.
pub(crate) fn foreign(file: &Path) -> Database {
    const BIRDS: TableDefinition<'_, &str, &str> = TableDefinition::new("birds");
    let database = Database::create(file).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(BIRDS)
        .unwrap()
        .insert("crebain", "dunland")
        .unwrap();
    transaction.commit().unwrap();
    database
}
