//! What Postgres' answers mean to the caller.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use aqevia_storage::{Error, ErrorKind};
use sqlx::postgres::{PgDatabaseError, PgSeverity};

/// An error while connecting for `init`.
pub(crate) fn opening(error: sqlx::Error) -> Error {
    translate(&error, Step::Open)
}

/// An error while the layout is looked at or made, up to its commit.
pub(crate) fn settling(error: sqlx::Error) -> Error {
    translate(&error, Step::Settle)
}

/// An error while connecting for any other call. Nothing has been sent yet.
pub(crate) fn connecting(error: sqlx::Error) -> Error {
    translate(&error, Step::Connect)
}

/// An error while reading, or while writing in a transaction that was not committed yet.
pub(crate) fn reading(error: sqlx::Error) -> Error {
    translate(&error, Step::Read)
}

/// An error of `COMMIT`, or of a statement that commits by itself.
pub(crate) fn committing(error: sqlx::Error) -> Error {
    translate(&error, Step::Commit)
}

/// The error of a role that may not use a schema.
pub(crate) fn denied(kind: ErrorKind, schema: &str) -> Error {
    let cause = Cause {
        message: format!("USAGE on schema {schema:?} is missing"),
        ..Cause::default()
    };
    Error::new(kind, DENIED).with_source(cause)
}

/// What an error means that says that tables are missing, when they are there.
pub(crate) fn found_again(missing: &Error) -> Error {
    let error = Error::new(ErrorKind::Unavailable, FOUND_AGAIN);
    match cause(missing) {
        Some(cause) => error.with_source(cause.clone()),
        None => error,
    }
}

/// The doubt about what was committed with a warning. The session goes on, but its end is harmless.
pub(crate) fn warned(warning: &str) -> Error {
    let cause = Cause {
        message: format!("warning: {warning}"),
        ..Cause::default()
    };
    Error::new(ErrorKind::Ambiguous, WARNED).with_source(cause)
}

/// Whether an error says that the session is gone, so that others may be gone with it.
pub(crate) fn is_lost(error: &Error) -> bool {
    cause(error).is_some_and(|cause| cause.lost)
}

/// Whether an error says that a table or the schema is not there.
pub(crate) fn is_missing(error: &Error) -> bool {
    cause(error).is_some_and(|cause| matches!(&*cause.code, "3F000" | "42P01"))
}

/// Whether an error of a statement for several worlds may be the fault of one of them.
pub(crate) fn is_of_one(error: &Error) -> bool {
    let class = cause(error).and_then(|cause| cause.code.get(..2));
    let of_tables = matches!(class, Some("3F" | "42"));
    matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) && !of_tables
}

fn cause(error: &Error) -> Option<&Cause> {
    error.source().and_then(|source| source.downcast_ref())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Opening the session of `init`, and setting it up.
    Open,
    Settle,
    /// Opening another session, and setting it up.
    Connect,
    Read,
    Commit,
}

/// What is kept of a driver's error: no more than its message, for the details of an answer may
/// hold a whole row.
#[derive(Clone, Debug, Default)]
struct Cause {
    message: String,
    lost: bool,
    /// The SQLSTATE of an answer.
    code: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {}

fn translate(error: &sqlx::Error, step: Step) -> Error {
    let answer = error.as_database_error();
    let answer = answer.and_then(|answer| answer.try_downcast_ref::<PgDatabaseError>());
    let Some(answer) = answer else {
        let (kind, matter) = of_driver(error, step);
        let lost = !matches!(kind, ErrorKind::Corrupt | ErrorKind::Invalid);
        let message = error.to_string();
        let cause = Cause {
            message,
            lost,
            code: String::new(),
        };
        return Error::new(kind, matter).with_source(cause);
    };
    let (code, fatal) = (answer.code(), is_fatal(answer.severity()));
    let cause = Cause {
        message: format!("SQLSTATE {code}: {}", answer.message()),
        lost: fatal,
        code: code.to_owned(),
    };
    Error::new(kind_of(code, fatal, step), matter_of(code, step)).with_source(cause)
}

/// Whether the session ends with the answer.
const fn is_fatal(severity: PgSeverity) -> bool {
    matches!(severity, PgSeverity::Fatal | PgSeverity::Panic)
}

/// The kind of an answer.
///
/// An answer to a statement that commits by itself says that the transaction was undone, unless it
/// also ends the session: then it may have come after the commit.
fn kind_of(code: &str, fatal: bool, step: Step) -> ErrorKind {
    if step == Step::Commit && (fatal || is_doubtful(code)) {
        return ErrorKind::Ambiguous;
    }
    match code {
        // What a caller cannot mend by waiting, before there is a store to wait for.
        "28000" | "28P01" | "3D000" | "42501" if matches!(step, Step::Open | Step::Settle) => {
            ErrorKind::Invalid
        }
        "28000" | "28P01" | "3D000" | "42501" => ErrorKind::Unavailable,
        "53100" | "53400" | "22003" => ErrorKind::Full,
        "22021" | "22P05" => ErrorKind::Invalid,
        "22023" if step != Step::Connect => ErrorKind::Invalid,
        // A plan or a statement that the session has lost, as behind some poolers.
        "0A000" | "26000" | "42P05" => ErrorKind::Unavailable,
        "2BP01" => ErrorKind::Incompatible,
        "58P01" | "58P02" => ErrorKind::Corrupt,
        _ => kind_of_class(code, step),
    }
}

/// The kind of a class of answers: the first two characters of a code.
fn kind_of_class(code: &str, step: Step) -> ErrorKind {
    match code.get(..2) {
        // Connection, transaction state, rollback, resources, object state, operator, system.
        Some("08" | "25" | "40" | "53" | "55" | "57" | "58" | "72") => ErrorKind::Unavailable,
        Some("21" | "22" | "23" | "3F" | "42") => match step {
            Step::Open => ErrorKind::Invalid,
            // What is asked for next is not to blame.
            Step::Connect => ErrorKind::Unavailable,
            // Statements and rows are made here, so what does not fit them is what is stored: a
            // table that is missing, a row that is there already.
            Step::Settle | Step::Read | Step::Commit => ErrorKind::Corrupt,
        },
        Some("54") => ErrorKind::Invalid,
        _ if matches!(code, "XX001" | "XX002") => ErrorKind::Corrupt,
        _ => unknown(step),
    }
}

/// Whether an answer leaves it open what became of a commit.
fn is_doubtful(code: &str) -> bool {
    code == "40003" || code.starts_with("08")
}

const fn unknown(step: Step) -> ErrorKind {
    match step {
        Step::Open | Step::Settle | Step::Connect | Step::Read => ErrorKind::Unavailable,
        Step::Commit => ErrorKind::Ambiguous,
    }
}

fn matter_of(code: &str, step: Step) -> &'static str {
    match code {
        "28000" | "28P01" => {
            "the server refuses the login: correct user and password in the URL, or pg_hba.conf"
        }
        "3D000" => "the database is not there: create it, or correct the URL",
        "42501" => DENIED,
        "25006" => {
            "the server or database is read-only: connect to the primary, or make it writable"
        }
        "53100" => "the disk of the server is full: make room",
        "53300" => "the server has no connection left: lower pool_size, or raise max_connections",
        "55P03" => "another session has locked what is needed; try again, or raise lock_timeout_ms",
        "57014" => {
            "the server ended the statement: raise statement_timeout_ms, or ask less at once"
        }
        "57P01" | "57P02" => "the server ended the session",
        "57P03" => "the server is starting or stopping",
        "0A000" | "26000" | "42P05" => {
            "the session lost a prepared statement: connect directly, or let the pooler keep \
             sessions"
        }
        "2BP01" => "something that is not ours depends on a table: drop it, or use another schema",
        "XX001" | "XX002" => "the database is damaged: restore it from a copy",
        "22023" => "the server refuses a value: correct the setting that it names",
        _ if !matches!(code.get(..2), Some("21" | "22" | "23" | "3F" | "42")) => {
            "the server failed"
        }
        _ if matches!(step, Step::Open | Step::Connect) => {
            "the server refuses to set up a session: correct the setting that it names, or connect \
             directly"
        }
        _ => "the tables are not as this program made them: restore them from a copy",
    }
}

/// The kind of an error that the driver found, and what is the matter.
fn of_driver(error: &sqlx::Error, step: Step) -> (ErrorKind, &'static str) {
    use sqlx::Error as Driver;
    match error {
        // A certificate that is refused comes as data that is not valid.
        Driver::Io(io) if step == Step::Open && io.kind() == io::ErrorKind::InvalidData => {
            (ErrorKind::Invalid, NOT_ENCRYPTED)
        }
        Driver::Tls(_) if step == Step::Open => (ErrorKind::Invalid, NOT_ENCRYPTED),
        Driver::Io(_) if matches!(step, Step::Open | Step::Connect) => {
            (ErrorKind::Unavailable, NOT_REACHED)
        }
        Driver::Io(io) if io.kind() == io::ErrorKind::TimedOut => (unknown(step), SILENT),
        Driver::Configuration(_) if step == Step::Open => (
            ErrorKind::Invalid,
            "the settings of the connection are wrong",
        ),
        Driver::Encode(_) | Driver::InvalidArgument(_) => {
            (ErrorKind::Invalid, "a value cannot be sent to the server")
        }
        Driver::ColumnDecode { .. }
        | Driver::Decode(_)
        | Driver::ColumnNotFound(_)
        | Driver::ColumnIndexOutOfBounds { .. }
        | Driver::RowNotFound
            if step != Step::Commit =>
        {
            (ErrorKind::Corrupt, "the row cannot be read")
        }
        _ => (unknown(step), "the connection to the server broke"),
    }
}

const DENIED: &str = "the role may not do this: grant it the rights that the README lists";

const FOUND_AGAIN: &str = "the tables were not found and are there: the role's rights changed at \
                           that moment, or a pooler gives the session to others: try again, or let \
                           the pooler keep sessions";

const NOT_REACHED: &str = "the server cannot be reached: see that it runs and that host and port \
                           are right";

const SILENT: &str = "the server did not answer in time: see whether it is reachable and what holds it \
                      up, or raise reply_timeout_ms";

const WARNED: &str = "another session cancelled the wait for a standby, or the server warned of \
                      something else, so that what it committed may be lost with it: try again, \
                      and end sessions with pg_terminate_backend alone";

const NOT_ENCRYPTED: &str = "the connection cannot be encrypted: correct sslmode, sslrootcert, \
                             sslcert and sslkey, or the server";

#[cfg(test)]
mod tests;
