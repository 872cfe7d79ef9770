//! Roles that have not all rights: at the start, and for a while.

use std::sync::Arc;

use aqevia_storage::{
    Error, ErrorKind, Limit, LogRange, Reads, Result, SchemaPolicy, StateRange, StorageBackend,
    WorldRange,
};
use aqevia_storage_postgres::{Postgres, PostgresConfig};
use sqlx::PgConnection;

use crate::bad_input::{refused, refused_as_anothers};
use crate::store::{
    Database, Writer, arda, backend, claim, event, json, log, open, persist, run, sql, texts,
};

const DENIED: &str = "the role may not do this: grant it the rights that the README lists";

/// A database with a role that may log in, and nothing else.
async fn role(database: &Database) -> PostgresConfig {
    let mut config = database.config.clone();
    config.user = format!("{}_role", config.database);
    config.password = Some("secret-5c1d".to_owned());
    let create = format!("CREATE ROLE {} LOGIN PASSWORD 'secret-5c1d'", config.user);
    run(&mut database.outside().await, &create).await;
    config
}

/// A store of the owner's, and a role that has the rights to use it.
struct Scene {
    database: Database,
    role: PostgresConfig,
    owner: PgConnection,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::new("").await;
        let role = role(&database).await;
        open(database.config.clone()).await.close().await.unwrap();
        let mut owner = sql(&database.config).await;
        let grant = format!(
            "GRANT USAGE ON SCHEMA aqevia TO {name};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA aqevia TO {name}",
            name = role.user
        );
        run(&mut owner, &grant).await;
        Self {
            database,
            role,
            owner,
        }
    }

    async fn revoke_usage(&mut self) {
        let revoke = format!("REVOKE USAGE ON SCHEMA aqevia FROM {}", self.role.user);
        run(&mut self.owner, &revoke).await;
    }

    async fn grant_usage(&mut self) {
        let grant = format!("GRANT USAGE ON SCHEMA aqevia TO {}", self.role.user);
        run(&mut self.owner, &grant).await;
    }
}

fn error<T>(result: Result<T>) -> Error {
    result.err().unwrap()
}

/// What comes of each way to read.
async fn reads(store: &Arc<Postgres>) -> [Error; 5] {
    let (world, limit) = (arda(), Limit::default());
    [
        error(store.log(&world, LogRange::ALL, limit).await),
        error(store.state(&world, StateRange::all(), limit).await),
        error(store.worlds(WorldRange::all(), limit).await),
        error(store.usage(&world).await),
        error(store.snapshot(&world).await),
    ]
}

#[tokio::test]
async fn a_role_that_may_not_use_a_store_is_told_so_at_the_start() {
    let mut scene = Scene::new().await;
    scene.revoke_usage().await;
    for policy in [SchemaPolicy::Upgrade, SchemaPolicy::ResetInDevelopment] {
        let config = scene.role.clone();
        refused(config, policy, ErrorKind::Invalid, &[DENIED]).await;
    }
    scene.grant_usage().await;
    open(scene.role.clone()).await.close().await.unwrap();
}

#[tokio::test]
async fn a_role_that_may_not_use_an_empty_schema_makes_nothing_anywhere() {
    let database = Database::new("").await;
    let config = role(&database).await;
    let mut owner = sql(&database.config).await;
    let grant = format!(
        "CREATE SCHEMA aqevia; GRANT CREATE ON SCHEMA aqevia TO {}",
        config.user
    );
    run(&mut owner, &grant).await;
    // Not even in the schema of temporary tables, which is the next that the session looks in.
    refused(config, SchemaPolicy::Upgrade, ErrorKind::Invalid, &[DENIED]).await;
    let made = "SELECT relname::text FROM pg_class WHERE relname = 'worlds'";
    assert!(texts(&mut owner, made).await.is_empty());
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_as_such_without_a_right_to_it() {
    let database = Database::new("").await;
    let config = role(&database).await;
    let foreign = "CREATE SCHEMA aqevia; CREATE TABLE aqevia.birds (name text)";
    run(&mut sql(&database.config).await, foreign).await;
    let says = ["another program's", "\"birds\""];
    refused_as_anothers(config, &says).await;
}

#[tokio::test]
async fn a_right_that_is_lost_for_a_while_is_no_damage() {
    let mut scene = Scene::new().await;
    let store = open(scene.role.clone()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let record = || vec![event(&arda(), json("1"))];
    writer.persist(record()).await.unwrap();
    let snapshot = store.snapshot(&arda()).await.unwrap();

    scene.revoke_usage().await;
    let (world, limit) = (arda(), Limit::default());
    let mut errors = vec![
        error(persist(&store, writer.part(record())).await),
        // A part that was persisted is only looked at, and so is one that holds nothing.
        error(persist(&store, writer.part(Vec::new())).await),
        error(claim(&store, &arda()).await),
        error(snapshot.log(&world, LogRange::ALL, limit).await),
    ];
    errors.extend(reads(&store).await);
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains(DENIED), "{error}");
    }

    scene.grant_usage().await;
    let receipt = writer.persist(record()).await.unwrap();
    assert!(!receipt.repeated);
    assert_eq!(log(&*store, &arda()).await.len(), 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_right_that_comes_and_goes_is_at_worst_waited_for() {
    let mut scene = Scene::new().await;
    let store = open(scene.role.clone()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let mut written = 0;
    let writing = async {
        for _ in 0..100 {
            let records = vec![event(&arda(), json("1"))];
            match writer.persist(records).await {
                Ok(_) => written += 1,
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}"),
            }
        }
    };
    let toggling = async {
        loop {
            scene.revoke_usage().await;
            scene.grant_usage().await;
        }
    };
    tokio::select! {
        () = writing => {}
        () = toggling => {}
    }
    scene.grant_usage().await;
    assert_eq!(log(&*store, &arda()).await.len(), written);
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_table_that_is_gone_is_damage() {
    let mut scene = Scene::new().await;
    let store = open(scene.role.clone()).await;
    let writer = Writer::claim(&store, &arda()).await;
    let part = || writer.part(vec![event(&arda(), json("1"))]);
    for gone in ["DROP TABLE aqevia.worlds", "DROP SCHEMA aqevia CASCADE"] {
        run(&mut scene.owner, gone).await;
        let mut errors = vec![
            error(persist(&store, part()).await),
            error(claim(&store, &arda()).await),
        ];
        errors.extend(reads(&store).await);
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{gone}: {error:?}");
        }
    }
    store.close().await.unwrap();
    let made_anew = backend(scene.database.config.clone());
    made_anew.init(SchemaPolicy::Upgrade).await.unwrap();
    made_anew.close().await.unwrap();
}
