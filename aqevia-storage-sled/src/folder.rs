//! The folder of a store: where it lies, who may write to it, and what is in it.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqevia_storage::{Error, Result};

use crate::Permissions;
use crate::disk::{Disk, System};
use crate::error::fault;

/// The folder of a store, by a path that does not change with the working directory.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl Folder {
    pub(crate) fn at(path: &Path) -> Result<Self> {
        Self::on(Arc::new(System), path)
    }

    /// A folder that is synced by a disk.
    pub(crate) fn on(disk: Arc<dyn Disk>, path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|error| fault(path, error))?;
        Ok(Self { path, disk })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Where sled keeps its files.
    pub(crate) fn sled(&self) -> PathBuf {
        self.path.join(SLED)
    }

    /// The file whose bytes are the store's data, and which sled locks.
    pub(crate) fn data(&self) -> PathBuf {
        self.sled().join("db")
    }

    /// The file that is locked while a backend has the store open. It holds nothing.
    pub(crate) fn lock(&self) -> PathBuf {
        self.path.join(LOCK)
    }

    /// The file that says whose the folder is.
    pub(crate) fn stamp(&self) -> PathBuf {
        self.path.join(STAMP)
    }

    /// Checks that a store can lie here, and makes the folder if there is none.
    pub(crate) fn prepare(&self, permissions: Permissions) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(metadata) => check_writers(&self.path, &metadata, permissions),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make(),
            Err(error) => Err(fault(&self.path, error)),
        }
    }

    fn make(&self) -> Result<()> {
        let above = self.path.parent().unwrap_or(&self.path);
        if !above.is_dir() {
            return Err(Error::invalid(format!(
                "the folder {above:?} is not there: create it first"
            )));
        }
        make_folder(&self.path)
    }

    /// Makes the name of the folder durable, for this or another backend may have made it.
    pub(crate) fn sync_name(&self) -> Result<()> {
        let above = self.path.parent().unwrap_or(&self.path);
        match File::open(above) {
            // Who gave a folder that lies where its user may not look has its name in their care.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            _ => self.sync_folder(above),
        }
    }

    /// Makes the names in the folder, or in one below it, durable. Where a folder cannot be opened
    /// as a file they are so already.
    pub(crate) fn sync_folder(&self, path: &Path) -> Result<()> {
        if cfg!(not(unix)) {
            return Ok(());
        }
        let synced = File::open(path).and_then(|folder| self.disk.sync_all(&folder, path));
        synced.map_err(|error| fault(path, error))
    }

    /// Whether there is something in the folder that an interrupted creation does not leave before
    /// its stamp.
    pub(crate) fn holds_more(&self) -> Result<bool> {
        let failed = |error| fault(&self.path, error);
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            if ![LOCK, STAMP, STAMP_DRAFT].iter().any(|ours| name == **ours) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Replaces the stamp, so that it is the one or the other whenever the power goes.
    pub(crate) fn write_stamp(&self, text: &str) -> Result<()> {
        let draft = self.path.join(STAMP_DRAFT);
        let written = private().truncate(true).open(&draft).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            self.disk.sync_all(&file, &draft)
        });
        let renamed = written.and_then(|()| fs::rename(&draft, self.stamp()));
        renamed.map_err(|error| fault(&draft, error))?;
        self.sync_folder(&self.path)
    }

    /// Removes sled's files, if there are any.
    pub(crate) fn clear(&self) -> Result<()> {
        let sled = self.sled();
        match fs::remove_dir_all(&sled) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(&sled, error)),
            _ => self.sync_folder(&self.path),
        }
    }
}

const SLED: &str = "sled";
const LOCK: &str = "aqevia.lock";
const STAMP: &str = "aqevia.layout";
const STAMP_DRAFT: &str = "aqevia.layout.draft";

/// A file that is to be written, and belongs to its owner alone if it is made.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a folder that belongs to its owner alone.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another backend has made it meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(|error| fault(path, error)),
    }
}

/// Refuses what every user of the machine can write to, and warns of what a group can.
#[cfg(unix)]
fn check_writers(path: &Path, metadata: &Metadata, permissions: Permissions) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;

    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;

    let mode = metadata.permissions().mode();
    if mode & OTHERS_WRITE != 0 && permissions == Permissions::Refuse {
        return Err(Error::invalid(format!(
            "{path:?} can be written to by every user of this machine: choose a folder of your \
             own, run `chmod o-w {}`, or allow it with insecure_permissions=allow",
            path.display()
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
