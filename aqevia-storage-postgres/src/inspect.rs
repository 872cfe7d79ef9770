//! Looking at a schema: what it holds, and whether it is ours.

use aqevia_storage::{Error, ErrorKind, Result};
use sqlx::PgConnection;

use crate::error::settling;
use crate::layout::{APPLICATION, LAYOUT};

/// What a schema holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no such schema.
    NoSchema,
    /// No table: a store can be made in it.
    Nothing,
    /// A store of the present layout.
    Present,
    /// A store of ours of another layout, with its version.
    Other(i32),
}

/// Looks at a schema, and changes nothing (clauses B3, B6).
///
/// # Errors
/// `Incompatible` if what is there is not ours, `Corrupt` if it is ours and a part of it is missing.
pub(crate) async fn look(connection: &mut PgConnection, schema: &str) -> Result<Found> {
    let names = |sql| {
        sqlx::query_scalar::<_, String>(sql)
            .bind(schema)
            .persistent(false)
    };
    let count = sqlx::query_scalar(include_str!("sql/select_schema.sql")).bind(schema);
    let count: i64 = count.fetch_one(&mut *connection).await.map_err(settling)?;
    if count == 0 {
        return Ok(Found::NoSchema);
    }
    let tables = names(include_str!("sql/select_tables.sql"));
    let tables = tables.fetch_all(&mut *connection).await.map_err(settling)?;
    if tables.is_empty() {
        return Ok(Found::Nothing);
    }
    let columns = names(include_str!("sql/select_columns.sql"));
    let columns = columns
        .fetch_all(&mut *connection)
        .await
        .map_err(settling)?;
    if columns != ["application", "id", "version"] {
        return Err(foreign(schema, &tables));
    }
    let version = version(connection, schema, &tables).await?;
    if version != LAYOUT {
        return Ok(Found::Other(version));
    }
    let missing = TABLES
        .into_iter()
        .find(|name| !tables.iter().any(|table| table == name));
    match missing {
        Some(name) => Err(Error::corrupt(format!(
            "schema {schema:?} is a store of ours, but its table {name} is missing: restore it \
             from a copy"
        ))),
        None => Ok(Found::Present),
    }
}

const TABLES: [&str; 4] = ["worlds", "world_records", "world_state", "world_batches"];

/// The version that a store says it has.
async fn version(connection: &mut PgConnection, schema: &str, tables: &[String]) -> Result<i32> {
    let stamp = sqlx::query_as(include_str!("sql/select_version.sql")).persistent(false);
    let stamp: Option<(String, i32)> = stamp.fetch_optional(connection).await.map_err(settling)?;
    match stamp {
        Some((application, version)) if application == APPLICATION => Ok(version),
        Some(_) => Err(foreign(schema, tables)),
        None => Err(Error::corrupt(format!(
            "schema {schema:?} is a store of ours, but its schema_meta holds no version: restore it \
             from a copy"
        ))),
    }
}

fn foreign(schema: &str, tables: &[String]) -> Error {
    let shown: Vec<_> = tables
        .iter()
        .take(3)
        .map(|name| format!("{name:?}"))
        .collect();
    let more = if tables.len() > shown.len() {
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
