//! The upgrade from the first published layout.

use aqevia_storage::{Change, ErrorKind, Payload, SchemaPolicy, StorageBackend, WorldId};
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::store::{Folder, Writer, arda, backend, event, json, log, open};
use conformance::engines::sqlite::first_layout;

const OLD_INSERT: &str =
    "INSERT INTO world_records (world_id, payload, timestamp) VALUES (?1, ?2, ?3)";

fn old_insert(sql: &Connection, world: &str) -> rusqlite::Result<usize> {
    sql.execute(OLD_INSERT, params![world, "1", 5])
}

#[tokio::test]
async fn rows_become_events_and_the_store_shrinks_and_goes_on() {
    let folder = Folder::new();
    let sql = folder.sql();
    first_layout(&sql, &[]);
    for world in ["arda", "numenor", "arda"] {
        old_insert(&sql, world).unwrap();
    }
    sql.execute(OLD_INSERT, params!["arda", [1_u8, 2], -1])
        .unwrap();
    drop(sql);

    let store = open(folder.config()).await;
    let rows = log(&*store, &arda()).await;
    let payloads: Vec<_> = rows
        .iter()
        .map(|row| row.record.payload().unwrap().clone())
        .collect();
    assert_eq!(payloads, [json("1"), json("1"), Payload::Bytes(vec![1, 2])]);
    assert_eq!(rows[2].record.timestamp, -1);
    assert!(matches!(
        rows[0].record.change,
        Change::Event { key: None, .. }
    ));
    assert_eq!(
        log(&*store, &WorldId::new("numenor").unwrap()).await.len(),
        1
    );

    let mut writer = Writer::claim(&store, &arda()).await;
    let receipt = writer
        .persist(vec![event(&arda(), json("2"))])
        .await
        .unwrap();
    assert_eq!(receipt.first.get(), 4);
    store.close().await.unwrap();
    let vacuum = folder
        .sql()
        .pragma_query_value(None, "auto_vacuum", |row| row.get(0));
    assert_eq!(vacuum, Ok(2));
    assert_eq!(folder.files().len(), 1);
}

#[tokio::test]
async fn a_world_of_many_rows_becomes_several_parts() {
    let folder = Folder::new();
    let mut sql = folder.sql();
    first_layout(&sql, &[]);
    let transaction = sql.transaction().unwrap();
    for _ in 0..10_001 {
        old_insert(&transaction, "arda").unwrap();
    }
    transaction.commit().unwrap();
    drop(sql);
    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 10_001);
    store.close().await.unwrap();
    let parts = "SELECT group_concat(number || ' ' || first || ' ' || count, ', ')
                 FROM world_batches";
    let parts: String = folder.sql().query_row(parts, [], |row| row.get(0)).unwrap();
    assert_eq!(parts, "1 1 10000, 2 10001 1");
}

#[tokio::test]
async fn the_program_of_the_first_layout_fails_harmlessly_afterwards() {
    let folder = Folder::new();
    first_layout(&folder.sql(), &[]);
    old_insert(&folder.sql(), "arda").unwrap();
    open(folder.config()).await.close().await.unwrap();

    assert!(old_insert(&folder.sql(), "arda").is_err());
    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_row_that_cannot_be_kept_is_named_and_the_old_program_goes_on() {
    let text = |text: &str| Value::Text(text.to_owned());
    let rows = [
        (
            Value::Null,
            text("1"),
            Value::Integer(0),
            "its world_id is no text",
        ),
        (
            text("_ours"),
            text("1"),
            Value::Integer(0),
            "names that begin with `_` are reserved",
        ),
        (
            text("arda"),
            Value::Null,
            Value::Integer(0),
            "neither text nor bytes",
        ),
        (
            text("arda"),
            text("1"),
            text("noon"),
            "its timestamp is no integer",
        ),
        (
            text("arda"),
            text("1"),
            Value::Null,
            "its timestamp is no integer",
        ),
        (
            text("arda"),
            Value::Blob(vec![0; (16 << 20) + 1]),
            Value::Integer(0),
            "at most 16777216",
        ),
    ];
    for (world, payload, timestamp, says) in rows {
        let folder = Folder::new();
        let sql = folder.sql();
        first_layout(&sql, &[]);
        old_insert(&sql, "arda").unwrap();
        sql.execute(OLD_INSERT, params![world, payload, timestamp])
            .unwrap();
        drop(sql);
        let before = folder.files();
        let error = backend(folder.config())
            .init(SchemaPolicy::Upgrade)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(
            error.to_string().contains("row 2 of world_records"),
            "{error}"
        );
        assert!(error.to_string().contains(says), "{error}");
        assert!(folder.files() == before, "a failed upgrade changes a byte");
        old_insert(&folder.sql(), "arda").unwrap();
    }
}

#[tokio::test]
async fn a_store_of_the_first_layout_is_not_reset() {
    let folder = Folder::new();
    first_layout(&folder.sql(), &[]);
    old_insert(&folder.sql(), "arda").unwrap();
    let store = backend(folder.config());
    store.init(SchemaPolicy::ResetInDevelopment).await.unwrap();
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_store_of_the_first_layout_in_wal_mode_is_upgraded() {
    let folder = Folder::new();
    let sql = folder.sql();
    sql.pragma_update(None, "journal_mode", "WAL").unwrap();
    first_layout(&sql, &[]);
    old_insert(&sql, "arda").unwrap();
    drop(sql);
    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    store.close().await.unwrap();
    let vacuum = folder
        .sql()
        .pragma_query_value(None, "auto_vacuum", |row| row.get(0));
    assert_eq!(vacuum, Ok(2));
}

#[tokio::test]
async fn a_transaction_that_a_crash_cut_short_is_rolled_back_before_the_upgrade() {
    let (folder, crashed) = (Folder::new(), Folder::new());
    let sql = folder.sql();
    first_layout(&sql, &[]);
    old_insert(&sql, "arda").unwrap();
    // With a cache of one page the database is written to before the transaction ends.
    let bytes = || folder.file().metadata().unwrap().len();
    let before = bytes();
    sql.execute_batch("PRAGMA cache_size = 1; BEGIN").unwrap();
    for _ in 0..1000 {
        old_insert(&sql, "arda").unwrap();
    }
    assert!(bytes() > before);
    folder.copy_to(&crashed, &["", "-journal"]);
    let store = open(crashed.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    store.close().await.unwrap();
    assert_eq!(crashed.files().len(), 1);
}
