//! What the answers of sled and of the operating system mean to the caller.

use std::io;
use std::path::Path;

use aqevia_storage::{Error, ErrorKind};

/// An error while reading.
pub(crate) fn reading(error: sled::Error) -> Error {
    translate(error, Step::Read)
}

/// An error while sled opens its files.
pub(crate) fn opening(error: sled::Error) -> Error {
    translate(error, Step::Open)
}

/// An error of a transaction, or of making it durable.
pub(crate) fn committing(error: sled::Error) -> Error {
    translate(error, Step::Commit)
}

/// The error of a call into sled that panicked, as it does on damaged files.
pub(crate) fn panicked() -> Error {
    Error::corrupt(
        "sled panicked, which it does on damaged files: restore the folder from a copy, or have \
         it examined",
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Open,
    Read,
    Commit,
}

fn translate(error: sled::Error, step: Step) -> Error {
    let matter = matter_of(&error, step);
    Error::new(kind_of(&error, step), matter).with_source(error)
}

/// The kind of an error of sled.
///
/// Whether a transaction that failed is there after a restart is open in any case: parts of it may
/// have been written before the one that could not be.
fn kind_of(error: &sled::Error, step: Step) -> ErrorKind {
    if step == Step::Commit {
        return ErrorKind::Ambiguous;
    }
    match error {
        sled::Error::Io(error) => kind_of_io(error.kind()),
        sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => ErrorKind::Corrupt,
        // Settings are made here, so what does not fit them is what the folder holds.
        sled::Error::Unsupported(_) => ErrorKind::Incompatible,
        sled::Error::ReportableBug(_) => ErrorKind::Unavailable,
    }
}

fn kind_of_io(kind: io::ErrorKind) -> ErrorKind {
    match kind {
        kind if is_full(kind) => ErrorKind::Full,
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
        _ => ErrorKind::Unavailable,
    }
}

/// Whether there was no room.
const fn is_full(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether sled failed for want of room.
pub(crate) fn for_want_of_room(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if is_full(error.kind()))
}

fn matter_of(error: &sled::Error, step: Step) -> &'static str {
    match error {
        sled::Error::Io(error) if is_full(error.kind()) => "the disk is full: make room",
        sled::Error::Io(_) if step == Step::Open => "the operating system refused a file of sled's",
        sled::Error::Io(_) => "the operating system failed to read or write the files",
        sled::Error::Corruption { .. } | sled::Error::CollectionNotFound(_) => {
            "the files are damaged: restore the folder from a copy"
        }
        sled::Error::Unsupported(_) => {
            "its files were made with other settings or by another sled than 0.34"
        }
        sled::Error::ReportableBug(_) => "sled failed: start the program again",
    }
}

/// What the operating system's refusal of a path means to the caller.
pub(crate) fn fault(path: &Path, error: io::Error) -> Error {
    let (kind, matter) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorKind::Invalid, "is not there"),
        io::ErrorKind::PermissionDenied => (ErrorKind::Invalid, "may not be used: grant access"),
        io::ErrorKind::ReadOnlyFilesystem => (ErrorKind::Invalid, "is on a read-only disk"),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename => {
            (ErrorKind::Invalid, "is no path")
        }
        io::ErrorKind::NotADirectory => (ErrorKind::Invalid, "is no folder: give that of a folder"),
        kind if is_full(kind) => (ErrorKind::Full, "does not fit on the disk: make room"),
        _ => (ErrorKind::Unavailable, "cannot be reached"),
    };
    Error::new(kind, format!("{path:?} {matter}")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Ambiguous, Corrupt, Full, Incompatible, Unavailable};

    fn io(kind: io::ErrorKind) -> sled::Error {
        sled::Error::Io(kind.into())
    }

    /// An error, and its kind while opening, while reading, and at a commit.
    fn kinds() -> [(sled::Error, [ErrorKind; 3]); 11] {
        use io::ErrorKind as Io;

        let corruption = sled::Error::Corruption { at: None, bt: () };
        [
            (io(Io::StorageFull), [Full, Full, Ambiguous]),
            (io(Io::QuotaExceeded), [Full, Full, Ambiguous]),
            (io(Io::FileTooLarge), [Full, Full, Ambiguous]),
            (io(Io::InvalidData), [Corrupt, Corrupt, Ambiguous]),
            (io(Io::UnexpectedEof), [Corrupt, Corrupt, Ambiguous]),
            (
                io(Io::PermissionDenied),
                [Unavailable, Unavailable, Ambiguous],
            ),
            (io(Io::Other), [Unavailable, Unavailable, Ambiguous]),
            (corruption, [Corrupt, Corrupt, Ambiguous]),
            (
                sled::Error::CollectionNotFound("log".into()),
                [Corrupt, Corrupt, Ambiguous],
            ),
            (
                sled::Error::Unsupported(String::new()),
                [Incompatible, Incompatible, Ambiguous],
            ),
            (
                sled::Error::ReportableBug(String::new()),
                [Unavailable, Unavailable, Ambiguous],
            ),
        ]
    }

    #[test]
    fn each_error_has_its_kind_by_step() {
        for (error, kinds) in kinds() {
            let found = [
                opening(error.clone()).kind(),
                reading(error.clone()).kind(),
                committing(error.clone()).kind(),
            ];
            assert_eq!(found, kinds, "{error:?}");
            assert_eq!(for_want_of_room(&error), kinds[0] == Full, "{error:?}");
        }
    }

    #[test]
    fn the_message_says_what_to_do_and_the_source_has_the_cause() {
        let error = reading(sled::Error::Corruption { at: None, bt: () });
        assert_eq!(
            error.to_string(),
            "the files are damaged: restore the folder from a copy"
        );
        assert!(
            format!("{error:?}").contains("Read corrupted data"),
            "{error:?}"
        );
    }

    #[test]
    fn a_refused_path_is_named_with_what_to_do() {
        for (kind, expected, says) in [
            (io::ErrorKind::NotFound, ErrorKind::Invalid, "is not there"),
            (
                io::ErrorKind::PermissionDenied,
                ErrorKind::Invalid,
                "grant access",
            ),
            (io::ErrorKind::StorageFull, Full, "make room"),
            (io::ErrorKind::TimedOut, Unavailable, "cannot be reached"),
        ] {
            let error = fault(Path::new("a"), kind.into());
            assert_eq!(error.kind(), expected);
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
