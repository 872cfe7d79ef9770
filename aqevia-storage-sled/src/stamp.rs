//! The stamp of a store: whose a folder is, and of which layout. It is read before sled opens it.

use std::fs;
use std::io;

use aqevia_storage::{Error, ErrorKind, Result};

use crate::error::fault;
use crate::folder::Folder;

/// The version of the layout that this crate makes and knows.
pub(crate) const LAYOUT: u32 = 1;

/// What a stamp begins with, in every layout.
const MAGIC: &str = "aqevia-storage-sled layout ";
/// What stands behind the layout while a store is being made.
const UNFINISHED: &str = " unfinished";

/// What a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing, or not there.
    Nothing,
    /// A store of the present layout that was never finished, and so holds nothing.
    Unfinished,
    /// A store of the present layout.
    Present,
    /// A store of ours of another layout; `None` if its stamp does not say which.
    Other(Option<u32>),
}

/// Looks at a folder and changes nothing.
///
/// # Errors
/// `Incompatible` if it is not ours (clause B6).
pub(crate) fn inspect(folder: &Folder) -> Result<Found> {
    // Order matters: a store that is made meanwhile gets its stamp before it gets anything else.
    let holds_more = folder.holds_more()?;
    let path = folder.stamp();
    match fs::read(&path) {
        Ok(stamp) => read(&stamp).ok_or_else(strange),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault(&path, error)),
        Err(_) if holds_more => Err(strange()),
        Err(_) => Ok(Found::Nothing),
    }
}

fn read(stamp: &[u8]) -> Option<Found> {
    let text = std::str::from_utf8(stamp.strip_prefix(MAGIC.as_bytes())?);
    let text = text.unwrap_or_default().trim_end();
    let (layout, unfinished) = match text.strip_suffix(UNFINISHED) {
        Some(layout) => (layout, true),
        None => (text, false),
    };
    Some(match (layout.parse(), unfinished) {
        (Ok(LAYOUT), true) => Found::Unfinished,
        (Ok(LAYOUT), false) => Found::Present,
        (other, _) => Found::Other(other.ok()),
    })
}

/// Says that the folder is ours and nothing in it counts yet.
pub(crate) fn begin(folder: &Folder) -> Result<()> {
    folder.write_stamp(&format!("{MAGIC}{LAYOUT}{UNFINISHED}\n"))
}

/// Says that the store is made.
pub(crate) fn finish(folder: &Folder) -> Result<()> {
    folder.write_stamp(&format!("{MAGIC}{LAYOUT}\n"))
}

fn strange() -> Error {
    Error::new(
        ErrorKind::Incompatible,
        "the folder holds something that is no store of ours: choose another, or an empty one",
    )
}

/// The error of a store of ours whose layout is another.
pub(crate) fn other(layout: Option<u32>) -> Error {
    let Some(layout) = layout else {
        return Error::corrupt(
            "it is a store of ours, but its aqevia.layout names no layout: restore it from a copy",
        );
    };
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "its layout is version {layout}, and this program knows version {LAYOUT}: use the \
             aqevia-storage that wrote it, or another path"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_says_whose_and_of_which_layout() {
        for (stamp, found) in [
            ("aqevia-storage-sled layout 1\n", Some(Found::Present)),
            ("aqevia-storage-sled layout 1", Some(Found::Present)),
            (
                "aqevia-storage-sled layout 1 unfinished\n",
                Some(Found::Unfinished),
            ),
            (
                "aqevia-storage-sled layout 2\n",
                Some(Found::Other(Some(2))),
            ),
            (
                "aqevia-storage-sled layout 2 unfinished\n",
                Some(Found::Other(Some(2))),
            ),
            (
                "aqevia-storage-sled layout 1 and more\n",
                Some(Found::Other(None)),
            ),
            ("aqevia-storage-sled layout \n", Some(Found::Other(None))),
            ("aqevia", None),
            ("", None),
        ] {
            assert_eq!(read(stamp.as_bytes()), found, "{stamp:?}");
        }
    }
}
