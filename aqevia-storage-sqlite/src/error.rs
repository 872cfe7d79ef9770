//! What SQLite's answers mean to the caller.

use std::ffi::c_int;

use aqevia_storage::{Error, ErrorKind};
use rusqlite::ffi;

/// An error while reading.
pub(crate) fn reading(error: rusqlite::Error) -> Error {
    translate(error, Step::Read)
}

/// An error while writing in a transaction that is rolled back because of it.
pub(crate) fn writing(error: rusqlite::Error) -> Error {
    translate(error, Step::Write)
}

/// An error of `COMMIT` itself.
pub(crate) fn committing(error: rusqlite::Error) -> Error {
    translate(error, Step::Commit)
}

/// The extended result code of an error, if it came from SQLite and not from its binding.
pub(crate) fn code(error: &rusqlite::Error) -> Option<c_int> {
    match error {
        rusqlite::Error::SqlInputError { error, .. } => Some(error.extended_code),
        _ => error.sqlite_error().map(|error| error.extended_code),
    }
}

/// The primary result code that an extended one belongs to.
pub(crate) const fn primary(code: c_int) -> c_int {
    code & 0xff
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Read,
    Write,
    Commit,
}

fn translate(error: rusqlite::Error, step: Step) -> Error {
    let (kind, matter) = match code(&error) {
        Some(code) => (kind_of(code, step), matter_of(code).to_owned()),
        None => (
            kind_of_binding(&error, step),
            "the row cannot be read".to_owned(),
        ),
    };
    Error::new(kind, matter).with_source(error)
}

/// The kind of a result code.
///
/// A failing `COMMIT` leaves it open whether the frames in the write-ahead log count after a
/// restart. Two codes say that they do not: `BUSY`, which comes before the first frame, and `FULL`,
/// which means that the last frame, the one that commits, could not be written.
fn kind_of(code: c_int, step: Step) -> ErrorKind {
    let primary = primary(code);
    if step == Step::Commit && !matches!(primary, ffi::SQLITE_BUSY | ffi::SQLITE_FULL) {
        return ErrorKind::Ambiguous;
    }
    match code {
        // The file of shared memory grows by writing, and fails where the disk is full.
        ffi::SQLITE_IOERR_SHMSIZE => return ErrorKind::Full,
        ffi::SQLITE_IOERR_CORRUPTFS | ffi::SQLITE_IOERR_DATA => return ErrorKind::Corrupt,
        _ => {}
    }
    match primary {
        ffi::SQLITE_FULL => ErrorKind::Full,
        ffi::SQLITE_BUSY
        | ffi::SQLITE_LOCKED
        | ffi::SQLITE_PROTOCOL
        | ffi::SQLITE_INTERRUPT
        | ffi::SQLITE_CANTOPEN
        | ffi::SQLITE_READONLY
        | ffi::SQLITE_PERM
        | ffi::SQLITE_NOMEM
        | ffi::SQLITE_SCHEMA
        | ffi::SQLITE_IOERR => ErrorKind::Unavailable,
        // Statements and rows are made here, so what does not fit them is the stored data: a table
        // that is missing, a row that is there already.
        ffi::SQLITE_CORRUPT
        | ffi::SQLITE_NOTADB
        | ffi::SQLITE_FORMAT
        | ffi::SQLITE_ERROR
        | ffi::SQLITE_CONSTRAINT
        | ffi::SQLITE_MISMATCH => ErrorKind::Corrupt,
        ffi::SQLITE_TOOBIG | ffi::SQLITE_RANGE | ffi::SQLITE_MISUSE => ErrorKind::Invalid,
        _ => unknown(step),
    }
}

/// The kind of an error that the binding found in an answer or in an argument.
fn kind_of_binding(error: &rusqlite::Error, step: Step) -> ErrorKind {
    use rusqlite::Error as Binding;
    match error {
        Binding::FromSqlConversionFailure(..)
        | Binding::IntegralValueOutOfRange(..)
        | Binding::InvalidColumnType(..)
        | Binding::Utf8Error(..)
        | Binding::QueryReturnedNoRows
        | Binding::QueryReturnedMoreThanOneRow => ErrorKind::Corrupt,
        Binding::NulError(_) | Binding::InvalidPath(_) => ErrorKind::Invalid,
        Binding::SqliteSingleThreadedMode => ErrorKind::Unsupported,
        _ => unknown(step),
    }
}

const fn unknown(step: Step) -> ErrorKind {
    match step {
        Step::Read => ErrorKind::Unavailable,
        Step::Write | Step::Commit => ErrorKind::Ambiguous,
    }
}

fn matter_of(code: c_int) -> &'static str {
    match primary(code) {
        ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
            "another connection has locked the database; try again, or raise busy_timeout_ms"
        }
        ffi::SQLITE_CANTOPEN => "the file, or one beside it, cannot be opened",
        ffi::SQLITE_READONLY | ffi::SQLITE_PERM => "the database is read-only; make it writable",
        ffi::SQLITE_FULL => "the disk is full; make room",
        ffi::SQLITE_CORRUPT | ffi::SQLITE_ERROR | ffi::SQLITE_CONSTRAINT => {
            "the database is damaged; restore it from a copy"
        }
        ffi::SQLITE_NOTADB => "the file is no SQLite database",
        ffi::SQLITE_NOMEM => "there is no memory left",
        ffi::SQLITE_IOERR => "the operating system failed to read or write the file",
        ffi::SQLITE_TOOBIG => "a value is larger than SQLite stores",
        _ => "SQLite failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorKind::{Ambiguous, Corrupt, Full, Invalid, Unavailable};

    /// A result code, and its kind while reading, while writing, and at `COMMIT`.
    const KINDS: [(c_int, [ErrorKind; 3]); 27] = [
        (ffi::SQLITE_BUSY, [Unavailable; 3]),
        (ffi::SQLITE_BUSY_SNAPSHOT, [Unavailable; 3]),
        (ffi::SQLITE_BUSY_RECOVERY, [Unavailable; 3]),
        (ffi::SQLITE_LOCKED, [Unavailable, Unavailable, Ambiguous]),
        (ffi::SQLITE_PROTOCOL, [Unavailable, Unavailable, Ambiguous]),
        (ffi::SQLITE_INTERRUPT, [Unavailable, Unavailable, Ambiguous]),
        (ffi::SQLITE_CANTOPEN, [Unavailable, Unavailable, Ambiguous]),
        (
            ffi::SQLITE_CANTOPEN_DIRTYWAL,
            [Unavailable, Unavailable, Ambiguous],
        ),
        (ffi::SQLITE_READONLY, [Unavailable, Unavailable, Ambiguous]),
        (ffi::SQLITE_NOMEM, [Unavailable, Unavailable, Ambiguous]),
        (ffi::SQLITE_FULL, [Full; 3]),
        (ffi::SQLITE_IOERR_SHMSIZE, [Full, Full, Ambiguous]),
        (
            ffi::SQLITE_IOERR_READ,
            [Unavailable, Unavailable, Ambiguous],
        ),
        (
            ffi::SQLITE_IOERR_WRITE,
            [Unavailable, Unavailable, Ambiguous],
        ),
        (
            ffi::SQLITE_IOERR_FSYNC,
            [Unavailable, Unavailable, Ambiguous],
        ),
        (ffi::SQLITE_IOERR_CORRUPTFS, [Corrupt, Corrupt, Ambiguous]),
        (ffi::SQLITE_CORRUPT, [Corrupt, Corrupt, Ambiguous]),
        (ffi::SQLITE_CORRUPT_INDEX, [Corrupt, Corrupt, Ambiguous]),
        (ffi::SQLITE_NOTADB, [Corrupt, Corrupt, Ambiguous]),
        (ffi::SQLITE_ERROR, [Corrupt, Corrupt, Ambiguous]),
        (
            ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
            [Corrupt, Corrupt, Ambiguous],
        ),
        (ffi::SQLITE_MISMATCH, [Corrupt, Corrupt, Ambiguous]),
        (ffi::SQLITE_TOOBIG, [Invalid, Invalid, Ambiguous]),
        (ffi::SQLITE_RANGE, [Invalid, Invalid, Ambiguous]),
        (ffi::SQLITE_MISUSE, [Invalid, Invalid, Ambiguous]),
        (ffi::SQLITE_INTERNAL, [Unavailable, Ambiguous, Ambiguous]),
        (ffi::SQLITE_NOLFS, [Unavailable, Ambiguous, Ambiguous]),
    ];

    #[test]
    fn each_code_has_its_kind_by_step() {
        for (code, kinds) in KINDS {
            let failure = || rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let found = [
                reading(failure()).kind(),
                writing(failure()).kind(),
                committing(failure()).kind(),
            ];
            assert_eq!(found, kinds, "code {code}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_corrupt_in_every_step_but_the_commit() {
        let error = || rusqlite::Error::IntegralValueOutOfRange(0, -1);
        assert_eq!(reading(error()).kind(), Corrupt);
        assert_eq!(writing(error()).kind(), Corrupt);
    }

    #[test]
    fn the_message_says_what_to_do_and_the_source_has_the_code() {
        let busy = ffi::Error::new(ffi::SQLITE_BUSY_RECOVERY);
        let error = writing(rusqlite::Error::SqliteFailure(busy, None));
        assert_eq!(
            error.to_string(),
            "another connection has locked the database; try again, or raise busy_timeout_ms"
        );
        assert!(format!("{error:?}").contains("261"), "{error:?}");
    }
}
