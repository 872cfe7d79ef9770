//! What redb's answers mean to the caller.

use std::io;

use aqevia_storage::{Error, ErrorKind};

/// An error while reading, or in a transaction that is thrown away because of it.
pub(crate) fn failed(error: impl Into<redb::Error>) -> Error {
    let error = error.into();
    let (kind, matter) = kind_of(&error);
    Error::new(kind, matter).with_source(error)
}

/// An error of the commit itself: redb says that it may have become durable all the same.
pub(crate) fn committing(error: redb::CommitError) -> Error {
    let poisoned = matches!(error, redb::CommitError::TransactionPoisoned);
    let error = failed(error);
    match poisoned {
        true => error,
        false => Error::new(ErrorKind::Ambiguous, "the commit failed").with_source(error),
    }
}

/// An error of the operating system.
pub(crate) fn system(error: io::Error) -> Error {
    failed(redb::Error::Io(error))
}

/// Something in the store that was written by nobody who keeps to the layout.
pub(crate) fn corrupt(matter: Error) -> Error {
    Error::corrupt("a row cannot be right; restore the store from a copy").with_source(matter)
}

fn kind_of(error: &redb::Error) -> (ErrorKind, &'static str) {
    use redb::Error as Redb;
    match error {
        Redb::Io(error) => kind_of_io(error.kind()),
        Redb::DatabaseAlreadyOpen | Redb::LockProtocolMismatch => (
            ErrorKind::Unavailable,
            "another backend has the file open; close it first",
        ),
        Redb::UpgradeRequired(_) => (
            ErrorKind::Incompatible,
            "the file is of another version of redb",
        ),
        Redb::Corrupted(_)
        | Redb::TableTypeMismatch { .. }
        | Redb::TableIsMultimap(_)
        | Redb::TableIsNotMultimap(_)
        | Redb::TypeDefinitionChanged { .. }
        | Redb::TableDoesNotExist(_) => (
            ErrorKind::Corrupt,
            "the file is damaged; restore it from a copy",
        ),
        Redb::ValueTooLarge(_) => (ErrorKind::Invalid, "a value is larger than redb stores"),
        _ => (ErrorKind::Unavailable, "redb failed; try again"),
    }
}

const fn kind_of_io(kind: io::ErrorKind) -> (ErrorKind, &'static str) {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            (ErrorKind::Full, "the disk is full; make room")
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => (
            ErrorKind::Invalid,
            "there is no such file or folder; name a file in a folder that exists",
        ),
        _ => (
            ErrorKind::Unavailable,
            "the operating system failed to read or write the file",
        ),
    }
}
