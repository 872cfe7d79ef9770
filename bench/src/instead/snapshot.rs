//! All entities into a file with `serde_json`, each time that some of them changed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::side::Side;
use crate::workload::{COLLECTIONS, Row};

const BUFFER_BYTES: usize = 1 << 20;

/// A change of an entity: its collection, its key, and what it becomes.
type Change = (&'static str, String, Entity);

/// An entity as an engine has it. Each save encodes all of them; ours is handed the payloads of
/// those that changed.
#[derive(Debug, Serialize, Deserialize)]
struct Entity {
    #[serde(default)]
    timestamp: i64,
    state: String,
}

/// A world in memory, and its folder.
pub(super) struct Snapshot {
    folder: PathBuf,
    world: HashMap<&'static str, HashMap<String, Entity>>,
    prepared: Vec<Vec<Change>>,
}

impl Snapshot {
    /// A new folder with a world in which the rows are.
    pub(super) fn open(path: &Path, fill: &[Vec<Row>]) -> Result<Self> {
        fs::create_dir(path)?;
        let mut snapshot = Self {
            folder: path.to_path_buf(),
            world: HashMap::new(),
            prepared: Vec::new(),
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

#[async_trait]
impl Side for Snapshot {
    fn prepare(&mut self, batches: &[Vec<Row>]) -> Result<()> {
        self.prepared = batches
            .iter()
            .map(|rows| changes(rows))
            .collect::<Result<_>>()?;
        Ok(())
    }

    async fn write(&mut self) -> Result<()> {
        for changes in std::mem::take(&mut self.prepared) {
            self.apply(changes);
            self.save()?;
        }
        Ok(())
    }
}
