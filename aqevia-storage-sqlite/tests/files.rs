//! The files of a store: who may use them, and how many are left.

use std::fs;

use aqevia_storage::{SchemaPolicy, StorageBackend};

use crate::store::{Folder, Writer, arda, backend, event, json, log, open};

#[tokio::test]
async fn a_clean_close_leaves_one_file_and_a_copy_of_it_opens() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    let snapshot = store.snapshot(&arda()).await.unwrap();
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    store.close().await.unwrap();
    store.close().await.unwrap();
    drop(snapshot);

    let copy = Folder::new();
    let files = folder.files();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["storage.sqlite"]);
    fs::write(copy.file(), &files["storage.sqlite"]).unwrap();
    let verdict: String = copy
        .sql()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let store = open(copy.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_store_that_was_dropped_can_be_opened_and_closed() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    drop((writer, store));

    let store = open(folder.config()).await;
    assert_eq!(log(&*store, &arda()).await.len(), 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn closing_while_init_runs_leaves_nothing_open() {
    let folder = Folder::new();
    let store = backend(folder.config());
    let (initialised, closed) = tokio::join!(store.init(SchemaPolicy::Upgrade), store.close());
    closed.unwrap();
    assert!(initialised.is_err());
    assert_eq!(folder.files().len(), 1);
}

#[tokio::test]
async fn an_empty_file_becomes_a_store() {
    let folder = Folder::new();
    fs::write(folder.file(), "").unwrap();
    open(folder.config()).await.close().await.unwrap();
    assert_eq!(folder.files().len(), 1);
}

#[tokio::test]
async fn a_name_full_of_signs_is_taken_as_it_is() {
    let folder = Folder::new();
    let name = "file:100% ö?mode=memory#.sqlite";
    let mut config = folder.config();
    config.location = aqevia_storage_sqlite::Location::File(folder.path().join(name));
    for _ in 0..2 {
        open(config.clone()).await.close().await.unwrap();
        assert_eq!(folder.files().keys().collect::<Vec<_>>(), [name]);
    }
}

#[tokio::test]
async fn a_store_that_a_crash_left_with_its_log_holds_what_was_acknowledged() {
    for suffixes in [&["", "-wal"][..], &["", "-wal", "-shm"]] {
        let (folder, crashed) = (Folder::new(), Folder::new());
        let store = open(folder.config()).await;
        let mut writer = Writer::claim(&store, &arda()).await;
        writer
            .persist(vec![event(&arda(), json("1"))])
            .await
            .unwrap();
        folder.copy_to(&crashed, suffixes);

        let store = open(crashed.config()).await;
        assert_eq!(log(&*store, &arda()).await.len(), 1);
        store.close().await.unwrap();
        assert_eq!(crashed.files().len(), 1);
    }
}

#[cfg(unix)]
mod unix {
    use std::fs::Permissions as Mode;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::Command;

    use aqevia_storage::ErrorKind;
    use aqevia_storage_sqlite::Permissions;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Mode::from_mode(mode)).unwrap();
    }

    async fn open_and_check_modes(folder: &Folder) {
        let store = open(folder.config()).await;
        let mut writer = Writer::claim(&store, &arda()).await;
        writer
            .persist(vec![event(&arda(), json("1"))])
            .await
            .unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let file = folder.path().join(format!("storage.sqlite{suffix}"));
            assert_eq!(mode(&file), 0o600, "{file:?}");
        }
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn files_are_their_owners_alone() {
        open_and_check_modes(&Folder::new()).await;
    }

    const WITHOUT_UMASK: &str = "AQEVIA_TEST_WITHOUT_UMASK";

    #[test]
    fn files_are_their_owners_alone_without_a_umask() {
        let output = Command::new("sh")
            .args(["-c", r#"umask 0 && exec "$0" --exact "$1""#])
            .arg(std::env::current_exe().unwrap())
            .arg("files::unix::child_without_umask")
            .env(WITHOUT_UMASK, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
    }

    /// The child of the test above; by itself it has nothing to show.
    #[tokio::test]
    async fn child_without_umask() {
        if std::env::var_os(WITHOUT_UMASK).is_some() {
            let folder = Folder::new();
            set_mode(&folder.path(), 0o700);
            open_and_check_modes(&folder).await;
        }
    }

    #[tokio::test]
    async fn what_others_can_write_to_is_refused_and_named() {
        for name in ["", "storage.sqlite", "storage.sqlite-wal"] {
            let folder = Folder::new();
            fs::write(folder.file(), "").unwrap();
            let path = folder.path().join(name);
            if !path.exists() {
                fs::write(&path, "").unwrap();
            }
            let open_to_all = mode(&path) | 0o002;
            set_mode(&path, open_to_all);
            let error = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            let path = path.canonicalize().unwrap();
            let says = format!("run `chmod o-w {}`", path.display());
            assert!(error.to_string().contains(&says), "{error}");
            assert!(
                error.to_string().contains("insecure_permissions=allow"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_sticky_folder_is_refused_without_advice_to_change_it() {
        let folder = Folder::new();
        set_mode(&folder.path(), 0o1777);
        let refused = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert!(
            refused.to_string().contains("choose a folder of your own"),
            "{refused}"
        );
        assert!(folder.files().is_empty());
    }

    #[tokio::test]
    async fn what_others_can_write_to_is_opened_if_that_is_allowed() {
        let folder = Folder::new();
        set_mode(&folder.path(), 0o777);
        let mut config = folder.config();
        config.insecure_permissions = Permissions::Allow;
        open(config).await.close().await.unwrap();
    }

    #[tokio::test]
    async fn what_a_group_can_write_to_is_opened() {
        let folder = Folder::new();
        set_mode(&folder.path(), 0o770);
        open(folder.config()).await.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_link_leads_to_the_store_and_its_folder_is_checked() {
        let (folder, elsewhere) = (Folder::new(), Folder::new());
        open(elsewhere.config()).await.close().await.unwrap();
        symlink(elsewhere.file(), folder.file()).unwrap();
        open(folder.config()).await.close().await.unwrap();
        set_mode(&elsewhere.path(), 0o777);
        let refused = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
