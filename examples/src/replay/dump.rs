//! Writes the state of worlds as text.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
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

/// Checks, before anything is played, that a dump can be written to `path` and takes the place of
/// none of `others`.
///
/// # Errors
/// If it is a folder, lies in none, or is one of the others.
pub fn check(path: &Path, others: &[PathBuf]) -> anyhow::Result<()> {
    let doing = || format!("write {}", path.display());
    if path.is_dir() {
        bail!("{}: is a folder; give the path of a file", doing());
    }
    let place = place(path).with_context(|| format!("{}: its folder", doing()))?;
    for other in others {
        if self::place(other).is_ok_and(|other| other == place) {
            bail!("{}: the replay needs that file; give another path", doing());
        }
    }
    Ok(())
}

/// Where a path leads, also if there is no such file yet.
fn place(path: &Path) -> std::io::Result<PathBuf> {
    if path.exists() {
        return path.canonicalize();
    }
    let absolute = std::path::absolute(path)?;
    let folder = absolute.parent().unwrap_or(&absolute).canonicalize()?;
    Ok(folder.join(absolute.file_name().unwrap_or_default()))
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
