//! Writes the state of worlds as text.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, anyhow};
use aqevia::{Payload, StateRow, WorldId};

use super::halt::Halt;
use super::stored::Stored;

/// Writes one line of JSON an entity, in the order of `worlds`, then of collection and key:
/// `{"world":…,"collection":…,"key":…,"payload":…}`, the payload with the bytes that are stored.
///
/// # Errors
/// If the store cannot be read, the file cannot be written, or a signal comes.
pub fn dump(stored: Stored<'_>, worlds: &[WorldId], path: &Path) -> Result<(), Halt> {
    let doing = || format!("write {}", path.display());
    let failed = |error: anyhow::Error| Halt::Store(error.context(doing()));
    let file = File::create(path).map_err(|error| failed(error.into()))?;
    let mut out = BufWriter::new(file);
    for world in worlds {
        for row in stored.state(world) {
            write_row(&mut out, world, &row?).map_err(failed)?;
        }
    }
    out.flush().map_err(|error| failed(error.into()))
}

fn write_row(out: &mut impl Write, world: &WorldId, row: &StateRow) -> anyhow::Result<()> {
    let Payload::Json(payload) = &row.payload else {
        let (collection, key) = (&row.collection, &row.key);
        return Err(anyhow!(
            "{collection} {key:?} of world {world:?} is not JSON"
        ));
    };
    let world = serde_json::to_string(world.as_str()).context("encode a world id")?;
    let key = serde_json::to_string(row.key.as_str()).context("encode a key")?;
    let collection = &row.collection;
    writeln!(
        out,
        r#"{{"world":{world},"collection":"{collection}","key":{key},"payload":{payload}}}"#
    )?;
    Ok(())
}
