//! One backend at a time has a store open (clause B8).

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use aqevia_storage::{Error, ErrorKind, Result};

use crate::SledConfig;
use crate::error::fault;
use crate::folder::{Folder, private};

/// A store that is this backend's until this is dropped.
///
/// sled has a lock of its own, but takes it in the same call that reads its files. What must be
/// done before that, and with nobody else there, is done under this one.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock; `None` if another has it, or has sled's.
    pub(crate) fn take(folder: &Folder) -> Result<Option<Self>> {
        let path = folder.lock();
        let opened = private().open(&path);
        let file = opened.map_err(|error| fault(&path, error))?;
        if !try_lock(&file, &path)? || !is_free(&folder.data())? {
            return Ok(None);
        }
        Ok(Some(Self(file)))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that is being started holds a copy of it for a
        // moment. If it fails, closing it does in the end.
        let _ = self.0.unlock();
    }
}

/// Whether nobody has sled's files open: another program, or a thread of sled's that is about to
/// end. sled takes this lock for itself when it opens them.
pub(crate) fn is_free(data: &Path) -> Result<bool> {
    match File::open(data) {
        Ok(file) => {
            let free = try_lock(&file, data)?;
            // As when a lock is dropped: sled is about to take it.
            file.unlock().map_err(|error| fault(data, error))?;
            Ok(free)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(fault(data, error)),
    }
}

fn try_lock(file: &File, path: &Path) -> Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(fault(path, error)),
    }
}

/// The error of a store that another has not let go of in time.
pub(crate) fn taken(config: &SledConfig) -> Error {
    let (folder, waited) = (&config.folder, config.pool.busy_timeout.as_millis());
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "another backend, in this process or another, has {folder:?} open and did not close \
             it within {waited} ms: close it first, raise busy_timeout_ms, or choose a store that \
             processes can share"
        ),
    )
}
