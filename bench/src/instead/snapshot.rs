//! All entities into a file with `serde_json`, each time that some of them changed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::side::Persist;
use crate::workload::{COLLECTIONS, Row};

const BUFFER_BYTES: usize = 1 << 20;

/// A change of an entity: its collection, its key, and what it becomes.
pub(super) type Change = (&'static str, String, Entity);

/// An entity as an engine has it. Each save encodes all of them; ours is handed the payloads of
/// those that changed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entity {
    #[serde(default)]
    timestamp: i64,
    state: String,
}

/// A world in memory, and its folder.
pub(super) struct Snapshot {
    folder: PathBuf,
    world: HashMap<&'static str, HashMap<String, Entity>>,
}

impl Snapshot {
    /// A new folder with a world in which the rows are.
    pub(super) fn open(path: &Path, fill: &[Vec<Row>]) -> Result<Self> {
        fs::create_dir(path)?;
        let mut snapshot = Self {
            folder: path.to_path_buf(),
            world: HashMap::new(),
        };
        for rows in fill {
            snapshot.apply(changes(rows)?);
        }
        snapshot.save()?;
        Ok(snapshot)
    }

    fn apply(&mut self, changes: Vec<Change>) {
        for (collection, key, entity) in changes {
            let entities = self.world.entry(collection).or_default();
            entities.insert(key, entity);
        }
    }

    /// Puts a new file in the place of the old one, so that a crash leaves one of the two.
    fn save(&self) -> Result<()> {
        let unfinished = self.folder.join("world.json.new");
        let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(&unfinished)?);
        serde_json::to_writer(&mut file, &self.world)?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&unfinished, self.folder.join("world.json"))?;
        Ok(File::open(&self.folder)?.sync_all()?)
    }
}

impl Persist for Snapshot {
    type Batch = Vec<Change>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        changes(rows)
    }

    async fn persist(&mut self, changes: Vec<Change>) -> Result<()> {
        self.apply(changes);
        self.save()
    }
}

fn changes(rows: &[Row]) -> Result<Vec<Change>> {
    let change = |row: &Row| {
        let collection = COLLECTIONS.get(usize::from(row.collection));
        let mut entity: Entity = serde_json::from_str(&row.payload)?;
        entity.timestamp = row.timestamp;
        let key = row.key.clone().context("an event has no key")?;
        Ok((*collection.context("no such collection")?, key, entity))
    };
    rows.iter().map(change).collect()
}
