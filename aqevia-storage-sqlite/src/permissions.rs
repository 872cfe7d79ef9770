//! The file of a store: where it lies, who may write to it, and making it.

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aqevia_storage::{Error, ErrorKind, Result};

use crate::Permissions;

/// Checks that a store can lie at `path`, and makes the file, empty, if there is none.
///
/// The answer is the path that does not change with the working directory and in which SQLite
/// names the files beside it.
pub(crate) fn prepare(path: &Path, permissions: Permissions) -> Result<PathBuf> {
    let path = resolve(path)?;
    let folder = path.parent().unwrap_or(&path);
    let folder_metadata = metadata(folder)?.ok_or_else(|| {
        Error::invalid(format!(
            "the folder {folder:?} is not there: create it first"
        ))
    })?;
    if let Some(file) = metadata(&path)? {
        check_file(&path, &file)?;
    }
    check_writers(folder, &folder_metadata, permissions)?;
    let files = SUFFIXES.map(|suffix| beside(&path, suffix));
    for file in files.iter().chain([&path]) {
        if let Some(metadata) = metadata(file)? {
            check_writers(file, &metadata, permissions)?;
        }
    }
    make(&path)?;
    Ok(path)
}

/// The file that SQLite keeps beside a database, as `-wal`.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// What SQLite puts behind the name of a database to name the files beside it.
const SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

fn resolve(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).map_err(|error| fault(path, error))?;
    // SQLite names the files beside a database after the file itself, not after a link to it.
    if cfg!(unix) && absolute.exists() {
        return fs::canonicalize(&absolute).map_err(|error| fault(path, error));
    }
    Ok(absolute)
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(path, error)),
    }
}

fn check_file(path: &Path, file: &Metadata) -> Result<()> {
    if !file.is_file() {
        let what = if file.is_dir() { "a folder" } else { "no file" };
        return Err(Error::invalid(format!(
            "{path:?} is {what}: give the path of a file"
        )));
    }
    if file.permissions().readonly() {
        return Err(read_only(path));
    }
    Ok(())
}

/// The error of a file that cannot be written to.
pub(crate) fn read_only(path: &Path) -> Error {
    Error::invalid(format!(
        "{path:?} is read-only: make it writable, as with `chmod u+w {}`",
        path.display()
    ))
}

/// Refuses what every user of the machine can write to, and warns of what a group can.
#[cfg(unix)]
fn check_writers(path: &Path, metadata: &Metadata, permissions: Permissions) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    const STICKY: u32 = 0o1000;

    let mode = metadata.permissions().mode();
    if mode & OTHERS_WRITE != 0 && permissions == Permissions::Refuse {
        // A sticky folder, such as the one for temporary files, is meant to be so.
        let mend = match mode & STICKY {
            0 => format!("run `chmod o-w {}`", path.display()),
            _ => "choose a folder of your own".to_owned(),
        };
        return Err(Error::invalid(format!(
            "{path:?} can be written to by every user of this machine: {mend}, or allow it with \
             insecure_permissions=allow"
        )));
    }
    let (who, flag) = match mode {
        _ if mode & OTHERS_WRITE != 0 => ("every user of this machine", 'o'),
        _ if mode & GROUP_WRITES != 0 => ("its group", 'g'),
        _ => return Ok(()),
    };
    let path = path.display();
    tracing::warn!(
        target: "aqevia_storage::backend",
        "{path} can be written to by {who}; `chmod {flag}-w {path}` keeps it to its owner"
    );
    Ok(())
}

#[cfg(not(unix))]
fn check_writers(_: &Path, _: &Metadata, _: Permissions) -> Result<()> {
    Ok(())
}

/// Held while a file is made, and so while this crate has a database open other than by SQLite.
///
/// Closing a file ends all locks that the process has on it, SQLite's too. So nothing here opens a
/// database file but SQLite, and the file that is made is closed before SQLite can have it open.
static MAKING: Mutex<()> = Mutex::new(());

fn make(path: &Path) -> Result<()> {
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(fault(path, error)),
    }
}

/// What the operating system's refusal means to the caller.
pub(crate) fn fault(path: &Path, error: io::Error) -> Error {
    let (kind, matter) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::Invalid, "is not there"),
        io::ErrorKind::PermissionDenied => (ErrorKind::Invalid, "may not be used: grant access"),
        io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::Invalid, "is on a read-only disk"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (ErrorKind::Invalid, "is no path")
        }
        io::ErrorKind::NotADirectory => (ErrorKind::Invalid, "lies in something that is no folder"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ErrorKind::Full, "does not fit on the disk: make room")
        }
        _ => (ErrorKind::Unavailable, "cannot be reached"),
    };
    Error::new(kind, format!("{path:?} {matter}")).with_source(error)
}
