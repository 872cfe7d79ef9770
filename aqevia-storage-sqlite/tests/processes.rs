//! Several processes on one database (clause B2, capability `shared`).
//!
//! The test starts its own binary again; what is then run is the same test, which finds the path of
//! the database in its environment.

use std::env;
use std::process::{Child, Command, Stdio};

use aqevia_storage::{Limit, StorageBackend, WorldId, WorldRange};
use aqevia_storage_sqlite::SqliteConfig;

use crate::store::{Folder, Writer, json, open, put};

const PATH: &str = "AQEVIA_TEST_SQLITE_PATH";
const PROCESSES: usize = 6;

#[tokio::test]
async fn processes_make_one_store_and_write_to_it_at_once() {
    if let Some(path) = env::var_os(PATH) {
        return write_own_world(SqliteConfig::new(path)).await;
    }
    let folder = Folder::new();
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([
        "--exact",
        "processes::processes_make_one_store_and_write_to_it_at_once",
    ]);
    command.env(PATH, folder.file()).stdout(Stdio::null());
    let children: Vec<Child> = (0..PROCESSES).map(|_| command.spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let store = open(folder.config()).await;
    let worlds = store
        .worlds(WorldRange::all(), Limit::default())
        .await
        .unwrap();
    let heads = worlds.items.iter().map(|world| world.head.get());
    assert_eq!(heads.collect::<Vec<_>>(), [20; PROCESSES]);
    store.close().await.unwrap();
    assert_eq!(folder.files().len(), 1);
}

async fn write_own_world(config: SqliteConfig) {
    let store = open(config).await;
    let world = WorldId::new(format!("of process {}", std::process::id())).unwrap();
    let mut writer = Writer::claim(&store, &world).await;
    for _ in 0..20 {
        let record = put(&world, "a", json("1"));
        writer.persist(vec![record]).await.unwrap();
    }
    store.close().await.unwrap();
}
