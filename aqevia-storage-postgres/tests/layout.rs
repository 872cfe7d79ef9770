//! The layout in the database, as another program sees it.

use std::sync::{Arc, Barrier};
use std::thread;

use aqevia_storage::{SchemaPolicy, StorageBackend, WorldRecord};
use aqevia_storage_postgres::PostgresConfig;
use conformance::{Harness, Scene};

use crate::store::{
    Database, Schema, Writer, arda, backend, event, fleets, json, key, open, put, sql, texts,
};

#[tokio::test]
async fn a_new_store_has_the_tables_that_operators_know() {
    let schema = Schema::new().await;
    open(schema.config()).await.close().await.unwrap();
    let columns = "SELECT c.relname || ': ' || string_agg(
                       attname || ' ' || format_type(atttypid, NULL), ', ' ORDER BY attnum)
                   FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
                   WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'
                       AND attnum > 0
                   GROUP BY c.relname ORDER BY c.relname";
    assert_eq!(
        texts(&mut schema.sql().await, columns).await,
        [
            "schema_meta: id integer, application text, version integer",
            "world_batches: world_id text, number bigint, epoch bigint, first bigint, \
             count bigint, at_ms bigint, digest bytea, link bytea, thinned boolean",
            "world_records: world_id text, sequence bigint, timestamp bigint, collection text, \
             change smallint, key text, form smallint, payload text, payload_bytes bytea",
            "world_state: world_id text, collection text, key text, sequence bigint, \
             first_timestamp bigint, last_timestamp bigint, form smallint, payload text, \
             payload_bytes bytea",
            "worlds: world_id text, epoch bigint, owner text, head bigint, last_number bigint, \
             last_at_ms bigint, link bytea, schema bytea",
        ]
    );
}

#[tokio::test]
async fn the_layout_can_be_spread_by_world() {
    let schema = Schema::new().await;
    open(schema.config()).await.close().await.unwrap();
    let mut sql = schema.sql().await;
    let keys = "SELECT pg_get_constraintdef(oid) FROM pg_constraint
                WHERE connamespace = current_schema::regnamespace AND contype <> 'c'
                    AND conrelid <> 'schema_meta'::regclass ORDER BY 1";
    assert_eq!(
        texts(&mut sql, keys).await,
        [
            "PRIMARY KEY (world_id)",
            "PRIMARY KEY (world_id, collection, key)",
            "PRIMARY KEY (world_id, number)",
            "PRIMARY KEY (world_id, sequence)",
        ]
    );
    let others = "SELECT relname::text FROM pg_class
                  WHERE relnamespace = current_schema::regnamespace AND relkind NOT IN ('r', 'i')";
    assert!(texts(&mut sql, others).await.is_empty(), "no sequence");
    let collations = "SELECT DISTINCT attcollation::regcollation::text
                      FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid
                      WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'
                          AND attnum > 0 AND attcollation <> 0";
    assert_eq!(texts(&mut sql, collations).await, ["\"C\""]);
}

#[tokio::test]
async fn records_are_readable_with_plain_sql() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = vec![
        event(&arda(), json(r#"{"n":1}"#)),
        put(&arda(), "a", vec![0, 255]),
        WorldRecord::delete(&arda(), &fleets(), key("b"), 9),
    ];
    writer.persist(records).await.unwrap();
    store.close().await.unwrap();
    let rows = "SELECT concat_ws(' ', sequence, world_id, collection, change, coalesce(key, '-'),
                                 form, coalesce(payload::json ->> 'n', payload_bytes::text, '-'),
                                 timestamp)
                FROM world_records ORDER BY sequence";
    assert_eq!(
        texts(&mut schema.sql().await, rows).await,
        [
            "1 arda records 3 - 1 1 7",
            "2 arda fleets 1 a 2 \\x00ff 7",
            "3 arda fleets 2 b 0 - 9",
        ]
    );
}

#[tokio::test]
async fn nothing_outside_the_schema_is_touched() {
    let database = Database::new("").await;
    let objects = "SELECT nspname || '.' || relname FROM pg_class
                   JOIN pg_namespace ON pg_namespace.oid = relnamespace
                   WHERE nspname NOT IN ('aqevia', 'pg_toast') ORDER BY 1";
    let before = texts(&mut sql(&database.config).await, objects).await;
    let store = open(database.config.clone()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![put(&arda(), "a", json("1"))])
        .await
        .unwrap();
    store.close().await.unwrap();
    assert_eq!(
        texts(&mut sql(&database.config).await, objects).await,
        before
    );
    let schemas = "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^(pg_|information)'
                   ORDER BY 1";
    let schemas = texts(&mut sql(&database.config).await, schemas).await;
    assert_eq!(schemas, ["aqevia", "public"]);
}

#[tokio::test]
async fn two_schemas_of_a_database_are_two_stores() {
    let (one, other) = (Schema::new().await, Schema::new().await);
    let store = open(one.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![put(&arda(), "a", json("1"))])
        .await
        .unwrap();
    let usage = open(other.config()).await.usage(&arda()).await.unwrap();
    assert_eq!(usage, aqevia_storage::Usage::default());
    let usage = store.usage(&arda()).await.unwrap();
    let sum = "SELECT sum(pg_total_relation_size(oid))::text FROM pg_class
               WHERE relnamespace = current_schema::regnamespace AND relkind = 'r'";
    assert_eq!(
        texts(&mut one.sql().await, sum).await,
        [usage.store_bytes.to_string()]
    );
}

#[test]
fn threads_that_initialise_one_schema_at_once_make_one_store() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let schema = runtime.block_on(Schema::new());
    let start = Arc::new(Barrier::new(8));
    let threads = [(); 8].map(|()| {
        let (config, start) = (schema.config(), Arc::clone(&start));
        thread::spawn(move || initialise_together(config, &start))
    });
    for thread in threads {
        thread.join().unwrap();
    }
    runtime.block_on(async {
        let epochs = "SELECT epoch::text FROM worlds";
        assert_eq!(texts(&mut schema.sql().await, epochs).await, ["8"]);
    });
}

/// Each thread has a runtime of its own, as processes have.
fn initialise_together(config: PostgresConfig, start: &Barrier) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    start.wait();
    runtime.block_on(async {
        let store = open(config).await;
        Writer::claim(&store, &arda()).await;
        store.close().await.unwrap();
    });
}

#[tokio::test]
async fn a_reset_leaves_the_present_layout() {
    let schema = Schema::new().await;
    schema.harness().stage(Scene::NewerLayout).await;
    let store = backend(schema.config());
    store.init(SchemaPolicy::ResetInDevelopment).await.unwrap();
    store.close().await.unwrap();
    let stamp = "SELECT concat_ws(' ', id, application, version) FROM schema_meta";
    let mut sql = schema.sql().await;
    assert_eq!(texts(&mut sql, stamp).await, ["1 aqevia-storage 1"]);
    assert!(
        texts(&mut sql, "SELECT world_id FROM worlds")
            .await
            .is_empty()
    );
}
