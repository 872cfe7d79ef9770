//! The suite's way to stores in SQLite, and to states that only SQL can make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, SchemaPolicy, StorageBackend};
use aqevia_storage_sqlite::{Sqlite, SqliteConfig};
use async_trait::async_trait;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::sample::{event, world};
use crate::writer::Writer;
use crate::{FirstRow, Harness, Scene};

/// A database in a folder of its own.
#[derive(Debug)]
pub struct SqliteHarness {
    file: PathBuf,
    /// The folder, of the harness whose store it is.
    _folder: Option<TempDir>,
}

impl SqliteHarness {
    fn in_folder(folder: TempDir) -> Self {
        Self {
            file: folder.path().join("storage.sqlite"),
            _folder: Some(folder),
        }
    }

    fn sql(&self) -> Connection {
        Connection::open(&self.file).expect("the database opens")
    }
}

#[async_trait]
impl Harness for SqliteHarness {
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
        }
    }

    fn location(&self) -> String {
        self.file.to_str().expect("a path in UTF-8").to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Power,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        let store = Sqlite::open(SqliteConfig::new(&self.file));
        Arc::new(store.expect("the default settings"))
    }

    fn first_layout(&self) -> bool {
        true
    }

    async fn stage(&self, scene: Scene) {
        match scene {
            Scene::NewerLayout => newer_layout(&self.file).await,
            Scene::FirstLayout(rows) => first_layout(&self.sql(), &rows),
            Scene::Foreign => foreign(&self.sql()),
        }
    }

    /// The names and bytes of all files, so that one left behind shows as well.
    async fn dump(&self) -> Vec<u8> {
        let folder = self.file.parent().expect("a file in a folder");
        let files = fs::read_dir(folder).expect("the folder");
        let files = files.map(|file| file.expect("a file").path());
        let named: BTreeMap<_, _> = files
            .map(|path| (path.clone(), fs::read(path).expect("a file")))
            .collect();
        let mut dump = Vec::new();
        for (path, bytes) in named {
            dump.extend(path.into_os_string().into_encoded_bytes());
            dump.extend(bytes);
        }
        dump
    }
}

/// A store with an event, stamped with version 2.
pub async fn newer_layout(file: &Path) {
    let store = Sqlite::open(SqliteConfig::new(file)).expect("the default settings");
    let store: Arc<dyn StorageBackend> = Arc::new(store);
    store.init(SchemaPolicy::Upgrade).await.expect("`init`");
    let mut writer = Writer::claim(&store, &world("arda")).await;
    writer.persist(vec![event(&world("arda"), "1")]).await;
    store.close().await.expect("`close`");
    let sql = Connection::open(file).expect("the database opens");
    sql.execute("UPDATE schema_meta SET version = 2", [])
        .expect("the stamp");
}

/// The first published layout, as its program made it.
pub fn first_layout(sql: &Connection, rows: &[FirstRow]) {
    sql.execute_batch(
        "CREATE TABLE schema_meta (id INTEGER PRIMARY KEY, version INTEGER NOT NULL);
         INSERT INTO schema_meta (id, version) VALUES (1, 1);
         CREATE TABLE world_records (
             id INTEGER PRIMARY KEY AUTOINCREMENT,
             world_id TEXT,
             payload TEXT,
             timestamp INTEGER
         );",
    )
    .expect("the first layout");
    let insert = "INSERT INTO world_records (id, world_id, payload, timestamp)
                  VALUES (?1, ?2, ?3, ?4)";
    for row in rows {
        let values = params![row.id, row.world_id, row.payload, row.timestamp];
        sql.execute(insert, values).expect("a row");
    }
}

/// Another program's database.
pub fn foreign(sql: &Connection) {
    sql.execute_batch(
        "CREATE TABLE birds (name TEXT);
         INSERT INTO birds VALUES ('crebain');",
    )
    .expect("another program's table");
}
