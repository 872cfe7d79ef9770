//! Bootstrap: making a store, and finding one that is there.

use std::convert::identity;

use aqevia_storage::{Error, ErrorKind, Result, SchemaPolicy, step};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::PostgresConfig;
use crate::error::{committing, settling};
use crate::inspect::{Found, look};
use crate::reply::reply;

/// The version of the layout that this crate makes and knows.
pub(crate) const LAYOUT: i32 = 1;

/// What `schema_meta.application` says of a store of ours.
pub(crate) const APPLICATION: &str = "aqevia-storage";

/// Makes or finds a store (clauses B1 to B6). The schema has been checked to be an identifier.
pub(crate) async fn open(
    connection: &mut PgConnection,
    config: &PostgresConfig,
    policy: SchemaPolicy,
) -> Result<()> {
    let schema = &*config.schema;
    match reply(config.reply_timeout, look(connection, schema), settling).await? {
        Found::Present => Ok(()),
        Found::Other(version) if policy != SchemaPolicy::ResetInDevelopment => {
            Err(other(schema, version))
        }
        _ => settle(connection, config, policy).await,
    }
}

/// The error of a store of ours whose layout is another.
fn other(schema: &str, version: i32) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "the layout in schema {schema:?} is version {version}, and this program knows version \
             {LAYOUT}: use the aqevia-storage that wrote it, or another schema"
        ),
    )
}

/// Makes the layout in one transaction, unless another process has done so meanwhile.
async fn settle(
    connection: &mut PgConnection,
    config: &PostgresConfig,
    policy: SchemaPolicy,
) -> Result<()> {
    let within = config.reply_timeout;
    let begun = reply(within, connection.begin(), identity).await;
    let mut transaction = begun.map_err(settling)?;
    let made = make(&mut transaction, &config.schema, policy);
    if !reply(within, made, settling).await? {
        // Order matters: a transaction that is dropped keeps its locks until the session's next use.
        let undone = reply(within, transaction.rollback(), identity).await;
        return undone.map_err(settling);
    }
    let committed = reply(within, transaction.commit(), identity).await;
    committed.map_err(committing)?;
    step("layout: committed");
    Ok(())
}

/// Makes the layout in a transaction, unless there is one. Tells whether it was made.
async fn make(transaction: &mut PgConnection, schema: &str, policy: SchemaPolicy) -> Result<bool> {
    // Order matters: whoever waits here looks again when the other has committed.
    let lock = sqlx::query(include_str!("sql/lock_layout.sql"))
        .bind(schema)
        .persistent(false);
    lock.execute(&mut *transaction).await.map_err(settling)?;
    step("layout: locked");
    match look(transaction, schema).await? {
        Found::Present => return Ok(false),
        Found::NoSchema => create_schema(transaction, schema).await?,
        Found::Nothing => {}
        Found::Other(_) if policy == SchemaPolicy::ResetInDevelopment => {
            execute(transaction, include_str!("sql/drop_tables.sql")).await?;
            step("layout: dropped");
        }
        Found::Other(version) => return Err(other(schema, version)),
    }
    create_tables(transaction).await?;
    step("layout: stamped");
    Ok(true)
}

async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<()> {
    // The one statement that is not a constant: a name cannot be bound. It is an identifier of
    // lower-case letters, digits and `_`, and nothing else.
    let create = AssertSqlSafe(format!("CREATE SCHEMA \"{schema}\""));
    let created = sqlx::query(create)
        .persistent(false)
        .execute(connection)
        .await;
    created.map_err(settling)?;
    step("layout: schema made");
    Ok(())
}

/// Makes the tables and says whose they are.
async fn create_tables(connection: &mut PgConnection) -> Result<()> {
    for table in TABLES {
        execute(connection, table).await?;
    }
    step("layout: tables made");
    let stamp = sqlx::query(include_str!("sql/insert_version.sql"));
    let stamp = stamp.bind(APPLICATION).bind(LAYOUT).persistent(false);
    stamp.execute(connection).await.map(drop).map_err(settling)
}

async fn execute(connection: &mut PgConnection, statement: &'static str) -> Result<()> {
    let statement = sqlx::query(statement).persistent(false);
    statement
        .execute(connection)
        .await
        .map(drop)
        .map_err(settling)
}

const TABLES: [&str; 5] = [
    include_str!("sql/create_schema_meta.sql"),
    include_str!("sql/create_worlds.sql"),
    include_str!("sql/create_world_records.sql"),
    include_str!("sql/create_world_state.sql"),
    include_str!("sql/create_world_batches.sql"),
];
