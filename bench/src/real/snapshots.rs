//! What users do who have no store: the whole world into a file, each turn.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufWriter, Write};

use anyhow::Result;
use aqevia::{Change, WorldId, WorldRecord};
use examples::replay::turns::Turn;
use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::time::Instant;

use super::Cost;
use crate::place::written_by;

/// The live entities of a world, by collection and key. Their payloads are JSON already.
type Entities = BTreeMap<String, BTreeMap<String, Box<RawValue>>>;

/// A file for each world.
pub(super) struct Snapshots {
    folder: TempDir,
    worlds: HashMap<WorldId, World>,
    /// What this thread had written to disk for them, as the system counts it.
    pub(super) written: u64,
}

struct World {
    file: String,
    entities: Entities,
}

impl Snapshots {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::tempdir()?,
            worlds: HashMap::new(),
            written: 0,
        })
    }

    /// Plays turns. What it costs to change the entities in memory is not counted.
    pub(super) fn play(&mut self, turns: &[Turn]) -> Result<Cost> {
        let begin = written();
        let mut cost = Cost::default();
        for turn in turns {
            let file = format!("{}.json", self.worlds.len());
            let world = self.worlds.entry(turn.world.clone());
            let world = world.or_insert_with(|| World {
                file,
                entities: Entities::new(),
            });
            for record in &turn.records {
                change(&mut world.entities, record)?;
            }
            let begin = Instant::now();
            cost.bytes += save(&self.folder, world)?;
            cost.time += begin.elapsed();
        }
        self.written += written() - begin;
        Ok(cost)
    }
}

fn written() -> u64 {
    written_by("/proc/thread-self/io").unwrap_or_default()
}

fn change(entities: &mut Entities, record: &WorldRecord) -> Result<()> {
    let collection = entities.entry(record.collection.to_string()).or_default();
    match &record.change {
        Change::Put { key, payload } => {
            let text = String::from_utf8(payload.as_bytes().to_vec())?;
            collection.insert(key.as_str().to_owned(), RawValue::from_string(text)?);
        }
        Change::Delete { key } => drop(collection.remove(key.as_str())),
        // The log is not in it.
        _ => {}
    }
    Ok(())
}

/// Replaces the file of a world, so that there is a whole one at any time; how large it is.
fn save(folder: &TempDir, world: &World) -> Result<u64> {
    let path = folder.path().join(&world.file);
    let fresh = path.with_extension("fresh");
    let mut file = BufWriter::new(File::create(&fresh)?);
    serde_json::to_writer(&mut file, &world.entities)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    let bytes = file.get_ref().metadata()?.len();
    fs::rename(&fresh, &path)?;
    File::open(folder.path())?.sync_all()?;
    Ok(bytes)
}
