//! The suite's way to stores in sled, and to states that only files can make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{Capabilities, Durability, SchemaPolicy, StorageBackend};
use aqevia_storage_sled::{Sled, SledConfig};
use async_trait::async_trait;
use tempfile::TempDir;

use crate::sample::{event, world};
use crate::writer::Writer;
use crate::{Harness, Scene};

/// A store in a folder of its own, within another.
#[derive(Debug)]
pub struct SledHarness {
    store: PathBuf,
    /// The folder around it, of the harness whose store it is.
    _folder: Option<TempDir>,
}

/// What the stamp of the present layout says.
const STAMP: &str = "aqevia-storage-sled layout 1\n";

impl SledHarness {
    fn in_folder(folder: TempDir) -> Self {
        Self {
            store: folder.path().join("storage.sled"),
            _folder: Some(folder),
        }
    }

    /// The default settings, but for a shorter wait for a store that another backend keeps open. It
    /// is long for one that is about to be let go of, on a machine that does much else.
    fn config(&self) -> SledConfig {
        let mut config = SledConfig::new(&self.store);
        config.pool.busy_timeout = Duration::from_secs(3);
        config
    }

    fn stamp(&self) -> PathBuf {
        self.store.join("aqevia.layout")
    }
}

#[async_trait]
impl Harness for SledHarness {
    async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"))
    }

    async fn new_in(folder: &Path) -> Option<Self> {
        let folder = tempfile::tempdir_in(folder);
        Some(Self::in_folder(folder.expect("a folder")))
    }

    async fn at(location: &str) -> Self {
        Self {
            store: PathBuf::from(location),
            _folder: None,
        }
    }

    fn location(&self) -> String {
        self.store.to_str().expect("a path in UTF-8").to_owned()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Power,
            shared: false,
            snapshot: false,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        let store = Sled::open(self.config());
        Arc::new(store.expect("the default settings"))
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        match scene {
            Scene::NewerLayout => {
                let store = self.open().await;
                store.init(SchemaPolicy::Upgrade).await.expect("`init`");
                let mut writer = Writer::claim(&store, &world("arda")).await;
                writer.persist(vec![event(&world("arda"), "1")]).await;
                store.close().await.expect("`close`");
                let stamp = STAMP.replace('1', "2");
                fs::write(self.stamp(), stamp).expect("the stamp");
            }
            Scene::FirstLayout(_) => unreachable!("sled never had the first published layout"),
            Scene::Foreign => foreign(&self.store),
        }
    }

    /// The names and bytes of all files, so that one left behind shows as well.
    ///
    /// Of a store of ours they are the stamp, and the trees with their keys and values: opening
    /// sled's files rewrites some of them, and moves no row.
    async fn dump(&self) -> Vec<u8> {
        let mut files = BTreeMap::new();
        collect(&self.store, &mut files);
        let stamp = files.get(&self.stamp());
        let ours = stamp.is_some_and(|stamp| stamp == STAMP.as_bytes());
        let mut dump = Vec::new();
        if ours {
            trees(&self.store.join("sled"), &mut dump);
            files.retain(|path, _| path.parent() == Some(&self.store));
        }
        for (path, bytes) in files {
            dump.extend(path.into_os_string().into_encoded_bytes());
            dump.extend(bytes);
        }
        dump
    }
}

/// Another program's store in sled.
pub fn foreign(folder: &Path) {
    let db = sled::open(folder).expect("a store");
    let birds = db.open_tree("birds").expect("a tree");
    birds.insert("crebain", "dunland").expect("a row");
    db.flush().expect("`flush`");
}

/// The files below a folder, with their bytes.
fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => collect(&path, files),
            false => drop(files.insert(path.clone(), fs::read(&path).expect("a file"))),
        }
    }
}

/// The rows of all trees, read from a copy: reading them in place would change a byte.
fn trees(folder: &Path, dump: &mut Vec<u8>) {
    let copy = tempfile::tempdir().expect("a folder");
    let mut files = BTreeMap::new();
    collect(folder, &mut files);
    for (path, bytes) in files {
        let path = copy.path().join(path.strip_prefix(folder).expect("a path"));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
    let config = sled::Config::new().path(copy.path()).segment_size(2 << 20);
    let db = config.open().expect("the copy opens");
    let mut names = db.tree_names();
    names.sort();
    for name in names {
        dump.extend(&*name);
        for row in &db.open_tree(&name).expect("a tree") {
            let (key, value) = row.expect("a row");
            dump.extend(&*key);
            dump.extend(&*value);
        }
    }
}
