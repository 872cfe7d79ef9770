//! Bootstrap: making a store, and finding one that is there.

use aqevia_storage::{Error, Result, SchemaPolicy, step};

use crate::SledConfig;
use crate::engine::Engine;
use crate::folder::Folder;
use crate::stamp::{self, Found};

/// Looks whether a store can be at a folder, and makes the folder if it is not there.
///
/// What is refused is not touched (clauses B3, B6).
pub(crate) fn prepare(config: &SledConfig, policy: SchemaPolicy) -> Result<Folder> {
    let folder = Folder::at(&config.folder)?;
    admit(stamp::inspect(&folder)?, policy)?;
    folder.prepare(config.insecure_permissions)?;
    Ok(folder)
}

fn admit(found: Found, policy: SchemaPolicy) -> Result<()> {
    match found {
        Found::Other(layout) if policy != SchemaPolicy::ResetInDevelopment => {
            Err(stamp::other(layout))
        }
        _ => Ok(()),
    }
}

/// Makes or finds the store (clauses B1 to B6). The caller has the lock.
pub(crate) fn open(folder: &Folder, cache_mib: usize, policy: SchemaPolicy) -> Result<Engine> {
    let found = stamp::inspect(folder)?;
    admit(found, policy)?;
    let engine = match found {
        Found::Present => recover(folder, cache_mib),
        _ => create(folder, cache_mib),
    };
    engine.map_err(unwritten)
}

fn recover(folder: &Folder, cache_mib: usize) -> Result<Engine> {
    let engine = Engine::open(folder, cache_mib)?;
    let synced = engine.sync_recovered();
    synced.map(|()| engine).map_err(|failure| failure.error)
}

/// Makes a store where nothing counts: in an empty folder, over one that was never finished, or,
/// if that is the policy, over one of another layout (clause B5).
///
/// Order matters: from the first stamp to the last the store is unfinished, and whoever opens it
/// next begins again; before and after it is whole.
fn create(folder: &Folder, cache_mib: usize) -> Result<Engine> {
    step("store: begun");
    stamp::begin(folder)?;
    step("store: stamped unfinished");
    folder.sync_name()?;
    folder.clear()?;
    let engine = Engine::create(folder, cache_mib)?;
    stamp::finish(folder)?;
    step("store: finished");
    Ok(engine)
}

/// Making a store and finding one write no part, so that nothing is in doubt.
fn unwritten(error: Error) -> Error {
    use aqevia_storage::ErrorKind::{Ambiguous, Unavailable};

    match error.kind() {
        Ambiguous => Error::new(Unavailable, error.to_string()).with_source(error),
        _ => error,
    }
}
