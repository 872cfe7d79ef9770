//! Looking at a schema: what it holds, and whether it is ours.

use aqevia_storage::{Error, ErrorKind, Result};
use sqlx::PgConnection;

use crate::error::{denied, found_again, is_missing, settling};
use crate::layout::{APPLICATION, LAYOUT};

/// What a schema holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no such schema.
    NoSchema,
    /// No object: a store can be made in it.
    Nothing,
    /// A store of the present layout.
    Present,
    /// A store of ours of another layout, with its version.
    Other(i32),
}

/// Looks at a schema, and changes nothing (clauses B3, B6).
///
/// # Errors
/// `Incompatible` if what is there is not ours, `Invalid` if the role may not use it, `Corrupt` if it
/// is ours and a part of it is missing.
pub(crate) async fn look(connection: &mut PgConnection, schema: &str) -> Result<Found> {
    let names = |sql| {
        sqlx::query_scalar::<_, String>(sql)
            .bind(schema)
            .persistent(false)
    };
    let usable = sqlx::query_scalar::<_, bool>(include_str!("sql/select_schema.sql")).bind(schema);
    let usable = usable.persistent(false).fetch_optional(&mut *connection);
    let Some(usable) = usable.await.map_err(settling)? else {
        return Ok(Found::NoSchema);
    };
    let objects = names(include_str!("sql/select_objects.sql"));
    let objects = objects
        .fetch_all(&mut *connection)
        .await
        .map_err(settling)?;
    let columns = names(include_str!("sql/select_columns.sql"));
    let columns = columns
        .fetch_all(&mut *connection)
        .await
        .map_err(settling)?;
    if !objects.is_empty() && columns != META_COLUMNS {
        return Err(foreign(schema, &objects));
    }
    // Order matters: without this right nothing in the schema is found, and what is made for it is
    // made among the temporary tables.
    if !usable {
        return Err(denied(ErrorKind::Invalid, schema));
    }
    if objects.is_empty() {
        return Ok(Found::Nothing);
    }
    let version = version(connection, schema, &objects).await?;
    if version != LAYOUT {
        return Ok(Found::Other(version));
    }
    let missing = TABLES
        .into_iter()
        .find(|name| !objects.iter().any(|object| object == name));
    match missing {
        Some(name) => Err(Error::corrupt(format!(
            "schema {schema:?} is a store of ours, but its table {name} is missing: restore it \
             from a copy"
        ))),
        None => Ok(Found::Present),
    }
}

/// The tables of a store.
pub(crate) const TABLES: [&str; 5] = [
    "schema_meta",
    "worlds",
    "world_records",
    "world_state",
    "world_batches",
];

/// The columns of `schema_meta`, by which a store of ours is known.
const META_COLUMNS: [&str; 3] = ["application text", "id integer", "version integer"];

/// The version that a store says it has.
async fn version(connection: &mut PgConnection, schema: &str, objects: &[String]) -> Result<i32> {
    let stamp = sqlx::query_as(include_str!("sql/select_version.sql")).persistent(false);
    let stamp = stamp.fetch_optional(connection).await.map_err(|error| {
        // The catalog has just shown the table.
        let error = settling(error);
        if is_missing(&error) {
            found_again(&error)
        } else {
            error
        }
    });
    let stamp: Option<(String, i32)> = stamp?;
    match stamp {
        Some((application, version)) if application == APPLICATION => Ok(version),
        Some(_) => Err(foreign(schema, objects)),
        None => Err(Error::corrupt(format!(
            "schema {schema:?} is a store of ours, but its schema_meta holds no version: restore it \
             from a copy"
        ))),
    }
}

fn foreign(schema: &str, objects: &[String]) -> Error {
    let shown: Vec<_> = objects
        .iter()
        .take(3)
        .map(|name| format!("{name:?}"))
        .collect();
    let more = if objects.len() > shown.len() {
        ", …"
    } else {
        ""
    };
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "schema {schema:?} is another program's (it holds {}{more}): choose another schema",
            shown.join(", ")
        ),
    )
}
