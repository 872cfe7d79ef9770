//! The layout on disk, as another program sees it.

use std::sync::{Arc, Barrier};
use std::thread;

use aqevia_storage::{SchemaPolicy, StorageBackend};
use rusqlite::Connection;

use crate::store::{Folder, Writer, arda, backend, event, json, log, open, put};
use conformance::engines::sqlite::newer_layout;

fn columns(sql: &Connection, table: &str) -> Vec<String> {
    let mut select = sql
        .prepare("SELECT name || ' ' || type FROM pragma_table_info(?1) ORDER BY cid")
        .unwrap();
    let columns = select.query_map([table], |row| row.get(0)).unwrap();
    columns.map(Result::unwrap).collect()
}

fn pragma(sql: &Connection, name: &str) -> i64 {
    sql.pragma_query_value(None, name, |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_new_store_has_the_tables_that_operators_know() {
    let folder = Folder::new();
    open(folder.config()).await.close().await.unwrap();
    let sql = folder.sql();
    assert_eq!(
        columns(&sql, "schema_meta"),
        ["id INTEGER", "version INTEGER"]
    );
    assert_eq!(
        columns(&sql, "worlds"),
        [
            "number INTEGER",
            "world_id TEXT",
            "epoch INTEGER",
            "owner TEXT",
            "head INTEGER",
            "last_number INTEGER",
            "last_at_ms INTEGER",
            "link BLOB",
            "schema BLOB",
        ]
    );
    assert_eq!(
        columns(&sql, "world_records"),
        [
            "id INTEGER",
            "world_id TEXT",
            "timestamp INTEGER",
            "collection TEXT",
            "change INTEGER",
            "key TEXT",
            "form INTEGER",
            "payload ANY",
        ]
    );
    assert_eq!(
        columns(&sql, "world_state"),
        [
            "world INTEGER",
            "collection TEXT",
            "key TEXT",
            "sequence INTEGER",
            "first_timestamp INTEGER",
            "last_timestamp INTEGER",
            "form INTEGER",
            "payload ANY",
        ]
    );
    assert_eq!(
        columns(&sql, "world_batches"),
        [
            "world INTEGER",
            "number INTEGER",
            "epoch INTEGER",
            "first INTEGER",
            "count INTEGER",
            "at_ms INTEGER",
            "digest BLOB",
            "link BLOB",
            "thinned INTEGER",
        ]
    );
}

#[tokio::test]
async fn a_new_store_says_whose_it_is_and_can_shrink() {
    let folder = Folder::new();
    open(folder.config()).await.close().await.unwrap();
    let sql = folder.sql();
    assert_eq!(pragma(&sql, "application_id"), 0x4151_4556);
    assert_eq!(pragma(&sql, "auto_vacuum"), 2);
    let version = sql.query_row("SELECT version FROM schema_meta", [], |row| row.get(0));
    assert_eq!(version, Ok(1));
    let mode: String = sql
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn records_are_readable_with_plain_sql() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = vec![
        event(&arda(), json(r#"{"n":1}"#)),
        put(&arda(), "a", vec![0, 255]),
        aqevia_storage::WorldRecord::delete(
            &arda(),
            &crate::store::fleets(),
            crate::store::key("b"),
            9,
        ),
    ];
    writer.persist(records).await.unwrap();
    store.close().await.unwrap();

    let sql = folder.sql();
    let mut select = sql
        .prepare(
            "SELECT (id - (1 << 40)) || ' ' || world_id || ' ' || collection || ' ' || change || ' '
                 || coalesce(key, '-') || ' ' || typeof(payload) || ' ' || form || ' ' || timestamp
             FROM world_records ORDER BY id",
        )
        .unwrap();
    let rows = select.query_map([], |row| row.get(0)).unwrap();
    assert_eq!(
        rows.map(Result::unwrap).collect::<Vec<String>>(),
        [
            "1 arda records 3 - text 1 7",
            "2 arda fleets 1 a blob 2 7",
            "3 arda fleets 2 b null 0 9",
        ]
    );
    let n = sql.query_row(
        "SELECT payload ->> 'n' FROM world_records LIMIT 1",
        [],
        |row| row.get(0),
    );
    assert_eq!(n, Ok(1));
}

#[tokio::test]
async fn a_store_that_cannot_shrink_is_rewritten() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    store.close().await.unwrap();
    let sql = folder.sql();
    sql.execute_batch("PRAGMA journal_mode=DELETE; PRAGMA auto_vacuum=NONE; VACUUM")
        .unwrap();
    assert_eq!(pragma(&sql, "auto_vacuum"), 0);
    drop(sql);

    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    store.close().await.unwrap();
    assert_eq!(pragma(&folder.sql(), "auto_vacuum"), 2);
}

#[test]
fn threads_that_initialise_one_path_at_once_make_one_store() {
    for _ in 0..20 {
        let folder = Folder::new();
        let start = Arc::new(Barrier::new(8));
        let threads = [(); 8].map(|()| {
            let (config, start) = (folder.config(), Arc::clone(&start));
            thread::spawn(move || initialise_together(config, &start))
        });
        for thread in threads {
            thread.join().unwrap();
        }
        let sql = folder.sql();
        assert_eq!(pragma(&sql, "application_id"), 0x4151_4556);
        assert_eq!(
            sql.query_row("SELECT count(*) FROM worlds", [], |row| row.get(0)),
            Ok(1)
        );
        let epoch = sql.query_row("SELECT epoch FROM worlds", [], |row| row.get(0));
        assert_eq!(epoch, Ok(8));
    }
}

/// Each thread has a runtime of its own, as processes have.
fn initialise_together(config: aqevia_storage_sqlite::SqliteConfig, start: &Barrier) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    start.wait();
    runtime.block_on(async {
        let store = open(config).await;
        Writer::claim(&store, &arda()).await;
        store.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_reset_leaves_the_present_layout() {
    let folder = Folder::new();
    newer_layout(&folder.file()).await;
    let store = backend(folder.config());
    store.init(SchemaPolicy::ResetInDevelopment).await.unwrap();
    store.close().await.unwrap();
    let sql = folder.sql();
    assert_eq!(
        sql.query_row("SELECT version FROM schema_meta", [], |row| row.get(0)),
        Ok(1)
    );
    assert_eq!(pragma(&sql, "application_id"), 0x4151_4556);
    assert_eq!(pragma(&sql, "auto_vacuum"), 2);
}
