//! Stores in schemas and databases of their own, and parts to persist to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Claim, Collection, Epoch, Fingerprint, History, Key, Limit,
    Link, LogRange, LogRow, Owner, Part, Payload, PoolConfig, Reads, Receipt, Result, SchemaPolicy,
    StateRange, StateRow, StorageBackend, WorldId, WorldRecord,
};
use aqevia_storage_postgres::{Postgres, PostgresConfig};
use conformance::Harness;
use conformance::engines::postgres::PostgresHarness;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A schema that is gone when the test is.
pub(crate) struct Schema(PostgresHarness);

impl Schema {
    pub(crate) async fn new() -> Self {
        Self(PostgresHarness::new().await)
    }

    pub(crate) fn harness(&self) -> &PostgresHarness {
        &self.0
    }

    pub(crate) fn config(&self) -> PostgresConfig {
        config(&self.0.location())
    }

    /// A connection of an outsider, who sees the schema before all others.
    pub(crate) async fn sql(&self) -> PgConnection {
        sql(&self.config()).await
    }
}

/// A database that is gone when the test is, and so is the role `…_role`.
pub(crate) struct Database {
    pub(crate) config: PostgresConfig,
    server: PostgresConfig,
}

impl Database {
    /// A database in UTF-8, or with other settings of `CREATE DATABASE`.
    pub(crate) async fn new(settings: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = Schema::new().await.config();
        let mut config = server.clone();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        config.database = format!("aqevia_test_db_{}_{number}", std::process::id());
        config.schema = "aqevia".to_owned();
        let database = Self { config, server };
        let name = &database.config.database;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 {settings}");
        run(&mut database.outside().await, &create).await;
        database
    }

    /// A connection to another database of the same server.
    pub(crate) async fn outside(&self) -> PgConnection {
        sql(&self.server).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.config.database.clone());
        let drop = async move {
            let mut sql = sql(&server).await;
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            run(&mut sql, &drop).await;
            run(&mut sql, &format!("DROP ROLE IF EXISTS {name}_role")).await;
        };
        // A runtime cannot be entered from within another.
        let dropped = thread::spawn(|| runtime().block_on(drop)).join();
        assert!(dropped.is_ok() || thread::panicking(), "the database stays");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// A connection to the database of a store, past the store.
pub(crate) async fn sql(config: &PostgresConfig) -> PgConnection {
    try_sql(config).await.unwrap()
}

/// The same, where the server may refuse it.
pub(crate) async fn try_sql(config: &PostgresConfig) -> sqlx::Result<PgConnection> {
    let options = PgConnectOptions::new_without_pgpass()
        .host(&config.host)
        .port(config.port)
        .username(&config.user)
        .password(config.password.as_deref().unwrap_or_default())
        .database(&config.database)
        .options([("search_path", &config.schema)]);
    PgConnection::connect_with(&options).await
}

/// Runs statements.
pub(crate) async fn run(sql: &mut PgConnection, statements: &str) {
    let statements = AssertSqlSafe(statements.to_owned());
    sqlx::raw_sql(statements).execute(sql).await.unwrap();
}

/// The first column of a query's rows, as text.
pub(crate) async fn texts(sql: &mut PgConnection, query: &str) -> Vec<String> {
    let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
    query.fetch_all(sql).await.unwrap()
}

pub(crate) fn config(url: &str) -> PostgresConfig {
    PostgresConfig::from_url(&url.parse().unwrap(), &PoolConfig::default()).unwrap()
}

/// A backend that is not initialised.
pub(crate) fn backend(config: PostgresConfig) -> Arc<Postgres> {
    Arc::new(Postgres::open(config).unwrap())
}

/// A backend that is.
pub(crate) async fn open(config: PostgresConfig) -> Arc<Postgres> {
    let store = backend(config);
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    store
}

pub(crate) fn arda() -> WorldId {
    WorldId::new("arda").unwrap()
}

pub(crate) fn numenor() -> WorldId {
    WorldId::new("numenor").unwrap()
}

pub(crate) fn fleets() -> Collection {
    Collection::new("fleets").unwrap()
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

pub(crate) fn json(text: &str) -> Payload {
    Payload::Json(text.to_owned())
}

pub(crate) fn event(world: &WorldId, payload: impl Into<Payload>) -> WorldRecord {
    WorldRecord::new(world.clone(), payload, 7)
}

pub(crate) fn put(world: &WorldId, name: &str, payload: impl Into<Payload>) -> WorldRecord {
    WorldRecord::put(world, &fleets(), key(name), payload, 7)
}

/// A writer that has claimed a world, and forms the parts that follow.
pub(crate) struct Writer {
    store: Arc<Postgres>,
    world: WorldId,
    epoch: Epoch,
    number: BatchNumber,
    link: Link,
}

impl Writer {
    pub(crate) async fn claim(store: &Arc<Postgres>, world: &WorldId) -> Self {
        Self::of(store, world, &claim(store, world).await.unwrap())
    }

    pub(crate) fn of(store: &Arc<Postgres>, world: &WorldId, claim: &Claim) -> Self {
        Self {
            store: Arc::clone(store),
            world: world.clone(),
            epoch: claim.epoch,
            number: claim.last_number,
            link: claim.link,
        }
    }

    /// The part that follows, with the history `All` for each record.
    pub(crate) fn part(&self, records: Vec<WorldRecord>) -> Part {
        let records = records.into_iter();
        let records = records.map(|record| BatchRecord::new(record, History::All));
        let (world, number) = (self.world.clone(), self.number.advance(1).unwrap());
        Part::new(world, self.epoch, number, 0, self.link, records.collect()).unwrap()
    }

    pub(crate) async fn persist(&mut self, records: Vec<WorldRecord>) -> Result<Receipt> {
        let part = self.part(records);
        let (number, link) = (part.number(), part.link());
        let receipt = persist(&self.store, part).await?;
        (self.number, self.link) = (number, link);
        Ok(receipt)
    }
}

pub(crate) async fn claim(store: &Postgres, world: &WorldId) -> Result<Claim> {
    let owner = Owner::new("test").unwrap();
    store.claim(world, &owner, Fingerprint([7; 32])).await
}

/// Persists a batch of one part.
pub(crate) async fn persist(store: &Postgres, part: Part) -> Result<Receipt> {
    let mut results = store.persist_batch(Batch::from(part)).await;
    results.pop().unwrap()
}

/// Persists a batch of several parts.
pub(crate) async fn persist_all(store: &Postgres, parts: Vec<Part>) -> Vec<Result<Receipt>> {
    let parts = parts.into_iter().map(Arc::new).collect();
    store.persist_batch(Batch::new(parts).unwrap()).await
}

/// The whole log of a world, in pages of the default size.
pub(crate) async fn log(store: &impl Reads, world: &WorldId) -> Vec<LogRow> {
    let mut rows = Vec::new();
    let mut next = Some(LogRange::ALL);
    while let Some(range) = next {
        let page = store.log(world, range, Limit::default()).await.unwrap();
        rows.extend(page.items);
        next = page.next;
    }
    rows
}

/// The state of a world, if it fits a page.
pub(crate) async fn state(store: &(impl Reads + ?Sized), world: &WorldId) -> Vec<StateRow> {
    let page = store
        .state(world, StateRange::all(), Limit::default())
        .await;
    page.unwrap().items
}
