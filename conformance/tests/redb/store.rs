//! The file: how it is made, opened, opened again and closed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use aqevia_storage::{Error, ErrorKind, Phase, Result, SchemaPolicy, step};
use redb::{Database, TransactionError};

use crate::error::{failed, system};
use crate::layout::{LAYOUT, check, make, stamp_of};
use crate::look::look;

/// A store in a file of redb's. Its calls block.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    pub(crate) phase: Phase,
    file: RwLock<Handle>,
}

#[derive(Debug)]
enum Handle {
    /// Before `open`, and after `close`.
    Closed,
    Open(Database),
    /// redb gave up after the operating system failed it; the file is to be opened again.
    GivenUp,
}

impl Store {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            phase: Phase::default(),
            file: RwLock::new(Handle::Closed),
        }
    }

    /// Opens the file, or makes it; once it is open, does nothing.
    pub(crate) fn open(&self, policy: SchemaPolicy) -> Result<()> {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        self.phase.check_open()?;
        if matches!(*file, Handle::Closed) {
            *file = Handle::Open(open(&self.path, policy)?);
        }
        // If it was closed meanwhile, `close` waits for this lock, and finds the file.
        self.phase.init()
    }

    /// Does work on the open file. While it is at work, the file is not closed.
    ///
    /// Where redb gives up, the file is opened again after the work, or, if that fails, before the
    /// next: no room on a disk is not to outlast the making of room.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        self.phase.check()?;
        self.reopen()?;
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        let database = match &*file {
            Handle::Open(database) => database,
            Handle::Closed => return Err(Error::closed("the store is closed")),
            Handle::GivenUp => return Err(given_up()),
        };
        let result = work(database);
        if result.is_ok() || !has_given_up(database) {
            return result;
        }
        drop(file);
        self.give_up();
        // Its error is not this call's: the next call meets it again.
        let _ = self.reopen();
        result
    }

    fn give_up(&self) {
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        // Another call may have been here first.
        if matches!(&*file, Handle::Open(database) if has_given_up(database)) {
            *file = Handle::GivenUp;
        }
    }

    fn reopen(&self) -> Result<()> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*file, Handle::GivenUp) {
            return Ok(());
        }
        drop(file);
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*file, Handle::GivenUp) {
            *file = Handle::Open(open_present(&self.path, SchemaPolicy::Upgrade)?);
        }
        Ok(())
    }

    /// Closes the file, after all work on it. Closing again does nothing.
    pub(crate) fn close(&self) -> Result<()> {
        self.phase.close();
        let mut file = self.file.write().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *file, Handle::Closed) {
            Handle::Open(database) => database.close().map_err(failed),
            Handle::Closed | Handle::GivenUp => Ok(()),
        }
    }

    /// The length of the file, free room included.
    pub(crate) fn bytes(&self) -> Result<u64> {
        Ok(fs::metadata(&self.path).map_err(system)?.len())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn given_up() -> Error {
    let matter = "the file failed, and is to be opened again; try again";
    Error::new(ErrorKind::Unavailable, matter)
}

/// Whether redb refuses everything until the file is opened again.
fn has_given_up(database: &Database) -> bool {
    let begun = database.try_begin_write();
    matches!(begun, Err(TransactionError::Storage(_)))
}

fn open(path: &Path, policy: SchemaPolicy) -> Result<Database> {
    if path.try_exists().map_err(system)? {
        return open_present(path, policy);
    }
    let folder = lock(folder_of(path))?;
    if path.try_exists().map_err(system)? {
        // Another made it while this one came for the lock.
        return open_present(path, policy);
    }
    create(path, &folder)
}

fn open_present(path: &Path, policy: SchemaPolicy) -> Result<Database> {
    check(stamp_of(&look(path)?)?, policy)?;
    let database = Database::open(path).map_err(failed)?;
    // It is asked again, since it may have become another store after the look.
    let layout = stamp_of(&database)?;
    check(layout, policy)?;
    if layout != LAYOUT {
        step("store: to be reset");
        make(&database)?;
        step("store: reset");
    }
    // Whoever made the file may have been killed before its name was durable.
    let folder = File::open(folder_of(path)).map_err(system)?;
    folder.sync_all().map_err(system)?;
    Ok(database)
}

/// Makes a store under another name, and names it when it is whole: a file that redb had begun
/// to make when it was killed can never be opened.
fn create(path: &Path, folder: &File) -> Result<Database> {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    let unfinished = PathBuf::from(name);
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system(error)),
        _ => step("store: room made"),
    }
    let database = Database::create(&unfinished).map_err(failed)?;
    step("store: file made");
    make(&database)?;
    step("store: layout made");
    fs::rename(&unfinished, path).map_err(system)?;
    step("store: named");
    folder.sync_all().map_err(system)?;
    step("store: name durable");
    Ok(database)
}

/// Locks the folder, so that one at a time makes a store in it. The lock ends with the handle.
fn lock(folder: &Path) -> Result<File> {
    let folder = File::open(folder).map_err(system)?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::Error(error)) => Err(system(error)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Unavailable,
            "another backend is making a store in this folder; try again",
        )),
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}
