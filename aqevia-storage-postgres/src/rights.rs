//! Why a table is not found: to a role that may not use a schema, nothing in it is there.

use std::convert::identity;

use aqevia_storage::{Error, ErrorKind};
use sqlx::PgConnection;

use crate::connect::search_path;
use crate::error::{denied, found_again, is_missing, reading};
use crate::inspect::TABLES;
use crate::pool::Terms;
use crate::reply::reply;

/// What an error means that a statement failed with. One that says that something is missing is
/// damage only if it is, and that is looked up.
pub(crate) async fn explain(session: &mut PgConnection, terms: &Terms, error: Error) -> Error {
    if is_missing(&error) {
        look(session, terms, error).await
    } else {
        error
    }
}

/// The same in a transaction, which is over then.
pub(crate) async fn explain_in_transaction(
    session: &mut PgConnection,
    terms: &Terms,
    error: Error,
) -> Error {
    if !is_missing(&error) {
        return error;
    }
    // Order matters: a transaction that failed answers nothing else.
    let undo = sqlx::raw_sql("ROLLBACK").execute(&mut *session);
    match reply(terms.reply_max, undo, identity).await {
        Ok(_) => look(session, terms, error).await,
        Err(failed) => reading(failed),
    }
}

/// The error of a session that finds other tables than it was set up to find.
pub(crate) fn elsewhere(schema: &str) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "the session is no longer in schema {schema:?}, as behind a pooler that gives it to \
             others between transactions: connect directly, or let the pooler keep sessions"
        ),
    )
}

/// What the error of a statement means that did not find the tables, by a look at what is there.
pub(crate) async fn look(session: &mut PgConnection, terms: &Terms, error: Error) -> Error {
    let look = sqlx::query_as(include_str!("sql/select_rights.sql"))
        .bind(&*terms.schema)
        .bind(TABLES.as_slice())
        .bind(search_path(&terms.schema))
        .persistent(false);
    match reply(terms.reply_max, look.fetch_optional(session), identity).await {
        Ok(found) => {
            let found = found.map(|(usable, here, complete)| Found {
                usable,
                here,
                complete,
            });
            judge(error, &terms.schema, found)
        }
        // Nothing was written, and whether anything is missing is not known.
        Err(failed) => reading(failed),
    }
}

/// What a look at a schema finds. A row of `select_rights.sql`.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// The role may use the schema.
    usable: bool,
    /// The session is set to look in it.
    here: bool,
    /// All tables are in it.
    complete: bool,
}

/// What an error means after a look; nothing was found if there is no such schema.
fn judge(error: Error, schema: &str, found: Option<Found>) -> Error {
    match found {
        Some(Found { usable: false, .. }) => denied(ErrorKind::Unavailable, schema),
        Some(Found { here: false, .. }) => elsewhere(schema),
        Some(Found { complete: true, .. }) => found_again(&error),
        Some(_) | None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an error of a table that is missing means, by what a look finds.
    fn meaning(usable: bool, here: bool, complete: bool) -> Error {
        let found = Found {
            usable,
            here,
            complete,
        };
        let missing = Error::corrupt("restore it from a copy");
        judge(missing, "aqevia", Some(found))
    }

    #[test]
    fn only_what_is_not_there_is_damage() {
        assert_eq!(meaning(true, true, false).kind(), ErrorKind::Corrupt);
        let gone = judge(Error::corrupt("missing"), "aqevia", None);
        assert_eq!(gone.kind(), ErrorKind::Corrupt);
        for there in [meaning(true, true, true), meaning(false, true, false)] {
            assert_eq!(there.kind(), ErrorKind::Unavailable, "{there}");
            assert!(!format!("{there} {there:?}").contains("restore"), "{there}");
        }
    }

    #[test]
    fn a_session_of_another_store_is_told_from_one_without_rights() {
        let other = meaning(true, false, true);
        assert_eq!(other.kind(), ErrorKind::Incompatible, "{other}");
        let denied = meaning(false, false, true);
        assert_eq!(denied.kind(), ErrorKind::Unavailable, "{denied}");
    }
}
