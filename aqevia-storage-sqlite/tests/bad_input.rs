//! What cannot be a store is refused with a message that says what to do, and stays as it is.

use std::fs;

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};
use aqevia_storage_sqlite::SqliteConfig;
use rusqlite::Connection;

use crate::store::{Folder, backend};
use conformance::engines::sqlite::{foreign, newer_layout};

const POLICIES: [SchemaPolicy; 2] = [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment];

/// Asserts that `init` refuses the store in the folder, and that no file changes or appears.
async fn refused(folder: &Folder, policy: SchemaPolicy, kind: ErrorKind, says: &[&str]) {
    let before = folder.files();
    let store = backend(folder.config());
    let error = store.init(policy).await.unwrap_err();
    store.close().await.unwrap();
    assert_eq!(error.kind(), kind, "{error}");
    let begin = format!("open sqlite database {:?}: ", folder.file());
    assert!(error.to_string().starts_with(&begin), "{error}");
    for words in says {
        assert!(
            error.to_string().contains(words),
            "{words:?} is missing: {error}"
        );
    }
    assert!(folder.files() == before, "a file changed or appeared");
    assert_eq!(store.stats().errors.of(kind), 1);
}

async fn incompatible(folder: &Folder, says: &[&str]) {
    for policy in POLICIES {
        refused(folder, policy, ErrorKind::Incompatible, says).await;
    }
}

#[tokio::test]
async fn a_missing_folder_is_to_be_created() {
    let folder = Folder::new();
    let config = SqliteConfig::new(folder.path().join("missing/storage.sqlite"));
    let error = backend(config)
        .init(SchemaPolicy::Upgrade)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error
            .to_string()
            .contains("missing\" is not there: create it"),
        "{error}"
    );
    assert!(folder.files().is_empty());
}

#[tokio::test]
async fn a_folder_is_no_file() {
    let folder = Folder::new();
    let config = SqliteConfig::new(folder.path());
    let error = backend(config)
        .init(SchemaPolicy::Upgrade)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(
        error
            .to_string()
            .contains("is a folder: give the path of a file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_in_a_file_is_no_path() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    let config = SqliteConfig::new(folder.file().join("storage.sqlite"));
    let error = backend(config)
        .init(SchemaPolicy::Upgrade)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[tokio::test]
async fn a_read_only_file_is_to_be_made_writable() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    let mut permissions = fs::metadata(folder.file()).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.file(), permissions).unwrap();
    let says = ["is read-only: make it writable", "chmod u+w"];
    refused(&folder, SchemaPolicy::Upgrade, ErrorKind::Invalid, &says).await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    for content in [&b"{}"[..], &[0; 4096], &[b'x'; 10_000]] {
        let folder = Folder::new();
        fs::write(folder.file(), content).unwrap();
        incompatible(&folder, &["is no SQLite database: choose another path"]).await;
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_by_its_tables() {
    let folder = Folder::new();
    foreign(&folder.sql());
    incompatible(
        &folder,
        &["another program's", "\"birds\"", "choose another path"],
    )
    .await;
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_by_its_application_id() {
    let folder = Folder::new();
    folder
        .sql()
        .pragma_update(None, "application_id", 5)
        .unwrap();
    incompatible(&folder, &["another program's", "application id 5"]).await;
}

#[tokio::test]
async fn a_foreign_database_in_wal_mode_gets_no_files_beside_it() {
    let folder = Folder::new();
    let sql = folder.sql();
    sql.pragma_update(None, "journal_mode", "WAL").unwrap();
    foreign(&sql);
    sql.close().unwrap();
    assert_eq!(folder.files().len(), 1);
    incompatible(&folder, &["\"birds\""]).await;
}

#[tokio::test]
async fn a_foreign_log_that_was_never_moved_stays_where_it_is() {
    let folder = Folder::new();
    leave_log(&folder, foreign);
    assert_eq!(folder.files().len(), 2);
    incompatible(&folder, &["\"birds\""]).await;
}

/// Leaves a database of which everything is in the write-ahead log, as a copy of a running one is.
fn leave_log(folder: &Folder, make: impl FnOnce(&Connection)) {
    let elsewhere = Folder::new();
    let sql = elsewhere.sql();
    sql.pragma_update(None, "journal_mode", "WAL").unwrap();
    make(&sql);
    elsewhere.copy_to(folder, &["", "-wal"]);
}

#[tokio::test]
async fn a_table_beside_those_of_the_first_layout_makes_it_another_programs() {
    let folder = Folder::new();
    conformance::engines::sqlite::first_layout(&folder.sql(), &[]);
    foreign(&folder.sql());
    incompatible(&folder, &["another program's"]).await;
}

#[tokio::test]
async fn a_newer_layout_names_both_versions() {
    let folder = Folder::new();
    newer_layout(&folder.file()).await;
    let says = [
        "version 2",
        "knows version 1",
        "use the aqevia-storage that wrote it",
    ];
    refused(
        &folder,
        SchemaPolicy::Upgrade,
        ErrorKind::Incompatible,
        &says,
    )
    .await;
}

#[tokio::test]
async fn a_store_of_ours_without_a_version_is_damaged() {
    let folder = Folder::new();
    newer_layout(&folder.file()).await;
    folder.sql().execute("DELETE FROM schema_meta", []).unwrap();
    let says = ["holds no version", "restore it from a copy"];
    refused(&folder, SchemaPolicy::Upgrade, ErrorKind::Corrupt, &says).await;
}
