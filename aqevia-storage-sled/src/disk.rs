//! Making durable what the operating system keeps in its memory.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

/// What syncs the files and folders of a store. Nothing of a store is synced by another way, so
/// that tests can count what is, and refuse it.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Makes durable what is in a file, and what it takes to find that.
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()>;

    /// Makes a file or folder durable with all that is known of it.
    fn sync_all(&self, file: &File, path: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct System;

impl Disk for System {
    fn sync_data(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync_all(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_all()
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
