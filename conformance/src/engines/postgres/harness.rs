//! A store in a schema of its own, and states that only SQL can make.

use std::path::Path;
use std::sync::Arc;

use aqevia_storage::{Capabilities, Durability, PoolConfig, SchemaPolicy, StorageBackend};
use aqevia_storage_postgres::{Postgres, PostgresConfig};
use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::session::{OwnSchema, Session};
use crate::sample::{event, world};
use crate::writer::Writer;
use crate::{Harness, Scene};

/// A schema in the database of a server that the harnesses of a run share.
///
/// The server is the one of `AQEVIA_TEST_POSTGRES_URL`, or one in a container. The schema is not
/// made here but by `init`, and dropped with the harness; what a killed process leaves behind on a
/// server, the next one drops.
#[derive(Debug)]
pub struct PostgresHarness {
    /// The URL of the database.
    server: String,
    schema: String,
    /// Drops the schema, of the harness whose store it is.
    _own: Option<OwnSchema>,
}

impl PostgresHarness {
    /// The address of the server: `HOST:PORT`.
    pub(super) fn address(&self) -> String {
        let server: PgConnectOptions = self.server.parse().expect("the URL of the test server");
        format!("{}:{}", server.get_host(), server.get_port())
    }

    /// A backend over the store that takes another address for the server's.
    pub(super) fn open_through(&self, address: &str) -> Arc<dyn StorageBackend> {
        let location = self.location();
        let (user, rest) = location.split_once('@').expect("a URL that names its user");
        let (_, database) = rest.split_once('/').expect("a URL that names its database");
        open_at(&format!("{user}@{address}/{database}"))
    }

    async fn sql(&self) -> PgConnection {
        let sql = PgConnection::connect(&self.server).await;
        sql.expect("a connection to the test server")
    }

    /// Runs statements with the schema in front of all others.
    async fn run(&self, statements: &'static str) {
        let mut sql = self.sql().await;
        sqlx::query("SELECT set_config('search_path', $1, false)")
            .bind(&self.schema)
            .execute(&mut sql)
            .await
            .expect("the search path");
        let done = sqlx::raw_sql(statements).execute(&mut sql).await;
        done.expect("the statements of a scene");
        sql.close().await.expect("the connection closes");
    }

    async fn create_schema(&self) {
        let mut sql = self.sql().await;
        let create = format!(r#"CREATE SCHEMA "{}""#, self.schema);
        let created = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut sql).await;
        created.expect("a schema");
        sql.close().await.expect("the connection closes");
    }
}

#[async_trait]
impl Harness for PostgresHarness {
    async fn new() -> Self {
        let session = Session::of_this_process().await;
        let own = session.own_schema();
        Self {
            server: session.server().to_owned(),
            schema: own.name().to_owned(),
            _own: Some(own),
        }
    }

    async fn new_in(_folder: &Path) -> Option<Self> {
        None
    }

    async fn at(location: &str) -> Self {
        let (server, schema) = split_location(location).expect("a URL that names its schema");
        Self {
            server,
            schema,
            _own: None,
        }
    }

    fn location(&self) -> String {
        let separator = if self.server.contains('?') { '&' } else { '?' };
        format!("{}{separator}schema={}", self.server, self.schema)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            durability: Durability::Power,
            shared: true,
            snapshot: true,
        }
    }

    async fn open(&self) -> Arc<dyn StorageBackend> {
        open_at(&self.location())
    }

    fn first_layout(&self) -> bool {
        false
    }

    async fn stage(&self, scene: Scene) {
        match scene {
            Scene::NewerLayout => {
                let store = self.open().await;
                store.init(SchemaPolicy::Upgrade).await.expect("`init`");
                let mut writer = Writer::claim(&store, &world("arda")).await;
                writer.persist(vec![event(&world("arda"), "1")]).await;
                store.close().await.expect("`close`");
                self.run("UPDATE schema_meta SET version = 2").await;
            }
            Scene::Foreign => {
                self.create_schema().await;
                self.run(
                    "CREATE TABLE birds (name text);
                     INSERT INTO birds VALUES ('crebain')",
                )
                .await;
            }
            Scene::FirstLayout(_) => unreachable!("there are no such stores in Postgres"),
        }
    }

    /// The schema's part of the catalog and the rows of its tables, each with the transaction that
    /// wrote it, so that writing the same again shows as well.
    async fn dump(&self) -> Vec<u8> {
        let mut sql = self.sql().await;
        let mut dump = String::new();
        for line in texts(&mut sql, CATALOG, &self.schema).await {
            dump.push_str(&line);
            dump.push('\n');
        }
        for select in texts(&mut sql, SELECTS, &self.schema).await {
            let rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(select));
            for row in rows.fetch_all(&mut sql).await.expect("the rows of a table") {
                dump.push_str(&row);
                dump.push('\n');
            }
        }
        sql.close().await.expect("the connection closes");
        dump.into_bytes()
    }
}

/// A backend over the store at a URL, not yet initialised.
pub(super) fn open_at(location: &str) -> Arc<dyn StorageBackend> {
    let url = location.parse().expect("the URL of a store");
    let config = PostgresConfig::from_url(&url, &PoolConfig::default());
    let store = Postgres::open(config.expect("the URL of a store in Postgres"));
    Arc::new(store.expect("the default settings"))
}

/// The URL of the database, and the name of the schema in it.
pub(super) fn split_location(location: &str) -> Option<(String, String)> {
    let (server, parameters) = location.split_once('?')?;
    let (schema, others): (Vec<_>, Vec<_>) = parameters
        .split('&')
        .partition(|parameter| parameter.starts_with("schema="));
    let schema = schema.first()?.strip_prefix("schema=")?;
    let server = match others.as_slice() {
        [] => server.to_owned(),
        others => format!("{server}?{}", others.join("&")),
    };
    Some((server, schema.to_owned()))
}

async fn texts(sql: &mut PgConnection, select: &'static str, schema: &str) -> Vec<String> {
    let texts = sqlx::query_scalar(select).bind(schema).fetch_all(sql).await;
    texts.expect("the catalog")
}

/// What stands in a schema, in an order that does not depend on when it was made.
const CATALOG: &str = r#"
SELECT line COLLATE "C" FROM (
    SELECT concat_ws(' ', 'relation', c.relname, c.relkind, c.relpersistence, c.reloptions,
                     c.relowner::regrole, c.relacl, obj_description(c.oid, 'pg_class')) AS line,
           n.nspname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    UNION ALL
    SELECT concat_ws(' ', 'column', c.relname, a.attnum, a.attname,
                     format_type(a.atttypid, a.atttypmod), a.attnotnull,
                     a.attcollation::regcollation, a.attstorage,
                     pg_get_expr(d.adbin, d.adrelid)), n.nspname
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE a.attnum > 0
    UNION ALL
    SELECT concat_ws(' ', 'constraint', k.conrelid::regclass, k.conname,
                     pg_get_constraintdef(k.oid)), n.nspname
      FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
    UNION ALL
    SELECT concat_ws(' ', 'index', i.indexname, i.indexdef), i.schemaname
      FROM pg_indexes i
    UNION ALL
    SELECT concat_ws(' ', 'function', p.proname, p.prosrc), n.nspname
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    UNION ALL
    SELECT concat_ws(' ', 'type', t.typname, t.typtype), n.nspname
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    UNION ALL
    SELECT concat_ws(' ', 'trigger', pg_get_triggerdef(g.oid)), n.nspname
      FROM pg_trigger g
      JOIN pg_class c ON c.oid = g.tgrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT g.tgisinternal
) AS lines
WHERE nspname = $1
ORDER BY 1"#;

/// A query for the rows of each table and sequence of a schema.
const SELECTS: &str = r#"
SELECT format('SELECT %L || '' '' || t.xmin::text || '' '' || t::text FROM %I.%I AS t
               ORDER BY t::text COLLATE "C"', c.relname, n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relkind IN ('r', 'S')
 ORDER BY c.relname COLLATE "C""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_server_and_a_schema() {
        for server in ["postgres://a@b/c", "postgres://a@b/c?sslmode=disable"] {
            let harness = PostgresHarness {
                server: server.to_owned(),
                schema: "s".to_owned(),
                _own: None,
            };
            let (again, schema) = split_location(&harness.location()).unwrap();
            assert_eq!((again.as_str(), schema.as_str()), (server, "s"));
        }
        assert_eq!(split_location("postgres://a@b/c"), None);
    }
}
