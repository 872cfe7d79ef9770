//! The files of a store: who may use them.
#![cfg(unix)]

use std::fs::{self, Permissions as Mode};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use aqevia_storage::{ErrorKind, SchemaPolicy, StorageBackend};
use aqevia_storage_sled::Permissions;

use crate::store::{Folder, backend, with_an_event};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Mode::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn a_folder_that_is_made_is_its_owners_alone() {
    let folder = Folder::new();
    with_an_event(&folder).await;
    assert_eq!(mode(&folder.store()), 0o700);
    assert_eq!(mode(&folder.of("sled")), 0o700);
    assert_eq!(mode(&folder.of("aqevia.layout")), 0o600);
    assert_eq!(mode(&folder.of("aqevia.lock")), 0o600);
}

#[tokio::test]
async fn what_lies_in_a_folder_that_others_may_read_is_its_owners_alone() {
    let folder = Folder::new();
    fs::create_dir(folder.store()).unwrap();
    set_mode(&folder.store(), 0o755);
    with_an_event(&folder).await;
    assert_eq!(mode(&folder.store()), 0o755);
    assert_eq!(mode(&folder.of("sled")), 0o700);
}

#[tokio::test]
async fn a_folder_that_everyone_can_write_to_is_refused_unless_that_is_allowed() {
    let folder = Folder::new();
    fs::create_dir(folder.store()).unwrap();
    set_mode(&folder.store(), 0o777);
    let refused = backend(folder.config()).init(SchemaPolicy::Upgrade).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let says = format!("run `chmod o-w {}`", folder.store().display());
    assert!(refused.to_string().contains(&says), "{refused}");
    assert!(folder.files().is_empty());

    let mut config = folder.config();
    config.insecure_permissions = Permissions::Allow;
    let store = backend(config);
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_a_group_can_write_to_is_opened() {
    let folder = Folder::new();
    fs::create_dir(folder.store()).unwrap();
    set_mode(&folder.store(), 0o770);
    with_an_event(&folder).await;
}
