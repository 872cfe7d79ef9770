//! sled's trees, and what makes them durable.

use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use aqevia_storage::{Error, ErrorKind, Result, step};
use sled::transaction::{ConflictableTransactionError, TransactionError, TransactionalTree};
use sled::{Db, Transactional, Tree};

use crate::error::{committing, fault, for_want_of_room, opening, panicked, reading};
use crate::folder::{Folder, make_folder};
use crate::shared::Stop;

/// The trees of a store that is open. Dropping it closes sled.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) worlds: Tree,
    pub(crate) log: Tree,
    pub(crate) state: Tree,
    pub(crate) chunks: Tree,
    pub(crate) batches: Tree,
    db: Db,
    /// A handle of our own on the file that sled writes.
    data: File,
    folder: Folder,
}

/// What one transaction writes, whatever is there. What it makes of the state depends on that.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) worlds: sled::Batch,
    pub(crate) log: sled::Batch,
    pub(crate) chunks: sled::Batch,
    pub(crate) batches: sled::Batch,
}

/// The trees of the state within a transaction.
pub(crate) struct StateTrees<'a> {
    pub(crate) state: &'a TransactionalTree,
    pub(crate) chunks: &'a TransactionalTree,
}

/// What comes of changing the state; `Abort` undoes the transaction.
pub(crate) type Edited = Result<(), ConflictableTransactionError<Error>>;

/// A transaction that was not finished, or not made durable. sled takes no other after it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// `Ambiguous`, `Corrupt` if sled panicked, or with what a folder was refused.
    pub(crate) error: Error,
    /// Whether it failed for want of room, and so may go on when there is some.
    pub(crate) for_want_of_room: bool,
}

impl Failure {
    fn of(error: sled::Error) -> Self {
        Self {
            for_want_of_room: for_want_of_room(&error),
            error: committing(error),
        }
    }

    /// A sync that failed. What it has failed for once is not asked for by the next, which then
    /// succeeds: nothing goes on after it.
    fn of_sync(error: Error) -> Self {
        Self {
            error,
            for_want_of_room: false,
        }
    }

    /// The error of what may be there or not.
    pub(crate) fn in_doubt(&self) -> Error {
        Error::new(ErrorKind::Ambiguous, self.error.to_string())
    }
}

/// The trees, whose names are the layout.
const TREES: [&str; 5] = ["worlds", "log", "state", "chunks", "batches"];

/// The size of the pieces in which sled's file grows.
///
/// sled puts a page that is larger than a quarter of it into a file of its own below `blobs`, which
/// it never syncs, and replaces whole. With this size there is no such page: the largest have some
/// 300 keys of 1,217 bytes, or 20 keys with [`VALUE_BYTES_MAX`] each.
pub(crate) const SEGMENT_BYTES: usize = 2 << 20;

/// The largest value that the trees are given, but for some fields before a payload.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 10;

impl Engine {
    /// Makes sled's files. The store is unfinished, so that whatever is left of them goes away.
    pub(crate) fn create(folder: &Folder, cache_mib: usize) -> Result<Self> {
        let sled = folder.sled();
        make_folder(&sled)?;
        step("store: folder made");
        let engine = Self::start(folder, cache_mib, |_| Ok(()))?;
        step("store: trees made");
        engine.sync().map_err(|failure| failure.error)?;
        // sled writes it in two pieces and syncs nothing, and opens no store without it.
        sync_file(folder, &sled.join("conf"))?;
        for path in [&sled.join("blobs"), &sled, folder.path()] {
            folder.sync_folder(path)?;
        }
        step("store: synced");
        Ok(engine)
    }

    /// Opens sled's files, which are there. The caller has the lock, and syncs what is recovered
    /// by [`Engine::sync_recovered`] before anyone relies on it.
    pub(crate) fn open(folder: &Folder, cache_mib: usize) -> Result<Self> {
        clear_leftovers(&folder.sled())?;
        step("store: leftovers cleared");
        if !folder.data().is_file() {
            return Err(lost());
        }
        let engine = Self::start(folder, cache_mib, check_trees)?;
        step("store: recovered");
        Ok(engine)
    }

    /// Makes durable what a process wrote that was killed before it synced: parts, names of sled's
    /// files, and the stamp that says that the store is made.
    pub(crate) fn sync_recovered(&self) -> Result<(), Failure> {
        self.sync()?;
        for path in [&self.folder.sled(), self.folder.path()] {
            let synced = self.folder.sync_folder(path);
            synced.map_err(Failure::of_sync)?;
        }
        Ok(())
    }

    fn start(
        folder: &Folder,
        cache_mib: usize,
        check: impl FnOnce(&Db) -> Result<()>,
    ) -> Result<Self> {
        let config = sled::Config::new()
            .path(folder.sled())
            .cache_capacity((cache_mib as u64) << 20)
            .segment_size(SEGMENT_BYTES);
        let started = catch_unwind(AssertUnwindSafe(|| {
            let db = config.open().map_err(opening)?;
            check(&db)?;
            let tree = |name| db.open_tree(name).map_err(opening);
            let path = folder.data();
            Ok(Self {
                worlds: tree("worlds")?,
                log: tree("log")?,
                state: tree("state")?,
                chunks: tree("chunks")?,
                batches: tree("batches")?,
                data: handle(&path)?,
                folder: folder.clone(),
                db,
            })
        }));
        started.unwrap_or_else(|_| Err(panicked()))
    }

    /// Writes all changes or none, in memory: what follows it in time is [`Engine::sync`]. `edit`
    /// changes the state. A key that it reads there is found once, and not again to be written.
    pub(crate) fn commit(
        &self,
        changes: &Changes,
        edit: impl Fn(StateTrees<'_>) -> Edited,
    ) -> Result<(), Stop> {
        let trees = (
            &self.worlds,
            &self.log,
            &self.state,
            &self.chunks,
            &self.batches,
        );
        let committed = caught(|| {
            trees.transaction(|(worlds, log, state, chunks, batches)| {
                worlds.apply_batch(&changes.worlds)?;
                log.apply_batch(&changes.log)?;
                edit(StateTrees { state, chunks })?;
                chunks.apply_batch(&changes.chunks)?;
                batches.apply_batch(&changes.batches)?;
                Ok(())
            })
        });
        committed
            .map_err(Stop::Failed)?
            .map_err(|error| match error {
                TransactionError::Storage(error) => Stop::Failed(Failure::of(error)),
                TransactionError::Abort(error) => Stop::Refused(error),
            })
    }

    /// Makes durable what was written before.
    pub(crate) fn sync(&self) -> Result<(), Failure> {
        let flushed = caught(|| self.db.flush())?;
        flushed.map_err(Failure::of)?;
        step("store: flushed");
        // sled hands its pages to the disk without its metadata, and leaves them in its cache.
        let disk = self.folder.disk();
        let synced = disk.sync_data(&self.data, &self.folder.data());
        synced.map_err(|error| Failure::of_sync(committing(sled::Error::Io(error))))
    }

    /// The bytes of the store on its disk.
    pub(crate) fn bytes(&self) -> Result<u64> {
        self.db.size_on_disk().map_err(reading)
    }
}

/// A handle that can sync a file, which some systems allow only to who may write.
fn handle(path: &Path) -> Result<File> {
    let file = File::options().read(true).write(true).open(path);
    file.map_err(|error| fault(path, error))
}

/// Does what may panic, as sled does.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_| Failure {
        error: panicked(),
        for_want_of_room: false,
    })
}

/// Removes what a kill while sled opened its files may have left, and sled takes for its newest.
fn clear_leftovers(sled: &Path) -> Result<()> {
    let failed = |error| fault(sled, error);
    for entry in fs::read_dir(sled).map_err(|_| lost())? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// sled makes a store anew from files that are cut short, and says nothing.
fn check_trees(db: &Db) -> Result<()> {
    let names = db.tree_names();
    let is_there = |tree: &&str| names.iter().any(|name| name == tree.as_bytes());
    match TREES.iter().all(is_there) {
        true => Ok(()),
        false => Err(lost()),
    }
}

fn lost() -> Error {
    Error::corrupt("its files have lost what was in them: restore the folder from a copy")
}

fn sync_file(folder: &Folder, path: &Path) -> Result<()> {
    let synced = folder.disk().sync_all(&handle(path)?, path);
    synced.map_err(|error| fault(path, error))
}
