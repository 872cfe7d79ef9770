//! Room on the disk: asked for before a write, because sled does not outlive a write without it.

use std::path::Path;

use aqevia_storage::{Error, ErrorKind, Result};

use crate::engine::SEGMENT_BYTES;

/// What is left free, so that sled can open its files again and clean them.
const KEPT_BYTES: u64 = 4 * SEGMENT_BYTES as u64;

/// How many bytes sled may write for one of a record: it writes whole pages, and some anew.
const WRITTEN_FOR_ONE: u64 = 8;

/// Refuses to write so many bytes of records where there may be no room for them.
///
/// It is an estimate. Where it is wrong, or another program takes the room, sled fails, and is
/// opened again.
pub(crate) fn check(folder: &Path, bytes: usize) -> Result<()> {
    let needed = KEPT_BYTES.saturating_add((bytes as u64).saturating_mul(WRITTEN_FOR_ONE));
    match free(folder) {
        Some(free) if free < needed => Err(Error::new(
            ErrorKind::Full,
            format!(
                "the disk of {folder:?} has {free} bytes free, and sled may need {needed}: make \
                 room"
            ),
        )),
        _ => Ok(()),
    }
}

/// The bytes that are free, if the operating system tells.
#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_no_disk_holds_is_refused_and_a_small_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path(), 0).unwrap();
        let error = check(folder.path(), usize::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().contains("make room"), "{error}");
    }
}
