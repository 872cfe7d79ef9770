//! The conformance suite's way to stores in SQLite, and to states that only SQL can make.

use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, StorageBackend};
use async_trait::async_trait;
use conformance::{FirstRow, Harness, Scene};
use rusqlite::{Connection, params};

use crate::store::{Folder, Writer, arda, backend, event, json, open};

pub(crate) struct SqliteHarness(Folder);

#[async_trait]
impl Harness for SqliteHarness {
    async fn new() -> Self {
        Self(Folder::new())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Power,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        backend(self.0.config())
    }

    async fn stage(&self, scene: Scene) {
        match scene {
            Scene::NewerLayout => newer_layout(&self.0).await,
            Scene::FirstLayout(rows) => first_layout(&self.0.sql(), &rows),
            Scene::Foreign => foreign(&self.0.sql()),
        }
    }

    /// The names and bytes of all files, so that one left behind shows as well.
    async fn dump(&self) -> Vec<u8> {
        let mut dump = Vec::new();
        for (name, bytes) in self.0.files() {
            dump.extend(name.into_bytes());
            dump.extend(bytes);
        }
        dump
    }
}

/// A store with an event, stamped with version 2.
pub(crate) async fn newer_layout(folder: &Folder) {
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    store.close().await.unwrap();
    folder
        .sql()
        .execute("UPDATE schema_meta SET version = 2", [])
        .unwrap();
}

/// The first published layout, as its program made it.
pub(crate) fn first_layout(sql: &Connection, rows: &[FirstRow]) {
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
    .unwrap();
    let insert = "INSERT INTO world_records (id, world_id, payload, timestamp)
                  VALUES (?1, ?2, ?3, ?4)";
    for row in rows {
        let values = params![row.id, row.world_id, row.payload, row.timestamp];
        sql.execute(insert, values).unwrap();
    }
}

/// Another program's database.
pub(crate) fn foreign(sql: &Connection) {
    sql.execute_batch(
        "CREATE TABLE birds (name TEXT);
         INSERT INTO birds VALUES ('crebain');",
    )
    .unwrap();
}
