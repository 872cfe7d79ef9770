//! The write-ahead log stays bounded.

use std::sync::Arc;

use aqevia_storage::StorageBackend;
use aqevia_storage_sqlite::Sqlite;

use crate::store::{Folder, Writer, arda, event, open};

const MIB: u64 = 1 << 20;

/// The bound at which the writer waits for readers, and the part that passes it.
const LOG_BYTES_MAX: u64 = 66 * MIB;

async fn write(writer: &mut Writer, parts: usize) {
    for _ in 0..parts {
        let records = vec![event(&arda(), vec![7; MIB as usize])];
        writer.persist(records).await.unwrap();
    }
}

fn log_bytes(folder: &Folder) -> u64 {
    folder
        .path()
        .join("storage.sqlite-wal")
        .metadata()
        .unwrap()
        .len()
}

async fn store(folder: &Folder) -> (Arc<Sqlite>, Writer) {
    let store = open(folder.config()).await;
    let writer = Writer::claim(&store, &arda()).await;
    (store, writer)
}

#[tokio::test]
async fn many_writes_leave_the_log_within_its_bound() {
    let folder = Folder::new();
    let (store, mut writer) = store(&folder).await;
    for _ in 0..150 {
        write(&mut writer, 1).await;
        assert!(
            log_bytes(&folder) <= LOG_BYTES_MAX,
            "{} bytes",
            log_bytes(&folder)
        );
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn beside_a_writer_that_never_pauses_the_log_begins_anew() {
    let folder = Folder::new();
    let (store, mut writer) = store(&folder).await;
    write(&mut writer, 300).await;
    // It would end at its bound, at which the writer waits.
    let bytes = log_bytes(&folder);
    assert!(bytes <= LOG_BYTES_MAX / 2, "{bytes} bytes");
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_log_shrinks_once_a_reader_lets_go_of_it() {
    let folder = Folder::new();
    let (store, mut writer) = store(&folder).await;
    let snapshot = store.snapshot(&arda()).await.unwrap();
    write(&mut writer, 80).await;
    assert!(log_bytes(&folder) > 80 * MIB);
    drop(snapshot);
    write(&mut writer, 10).await;
    assert!(
        log_bytes(&folder) <= LOG_BYTES_MAX,
        "{} bytes",
        log_bytes(&folder)
    );
    store.close().await.unwrap();
}
