//! What goes wrong while writing, and what does not.

use std::time::Duration;

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Epoch, Error, ErrorKind, History, Limit, Link, LogRange, Part,
    Payload, Reads, StorageBackend, WorldRecord,
};

use crate::store::{
    Schema, Writer, arda, claim, event, json, log, numenor, open, persist, persist_all, put, run,
    state, texts,
};

#[tokio::test]
async fn a_world_that_another_session_holds_is_unavailable_alone() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let (held, free) = (
        Writer::claim(&store, &arda()).await,
        Writer::claim(&store, &numenor()).await,
    );
    let mut sql = schema.sql().await;
    run(
        &mut sql,
        "BEGIN; SELECT FROM worlds WHERE world_id = 'arda' FOR UPDATE",
    )
    .await;
    let parts = || {
        vec![
            held.part(vec![
                event(&arda(), json("1")),
                put(&arda(), "a", json("1")),
            ]),
            free.part(vec![event(&numenor(), json("1"))]),
        ]
    };
    let results = persist_all(&store, parts()).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "persist batch 1 of world \"arda\": another session is writing to the world: try again"
    );
    assert_eq!(results[1].as_ref().unwrap().count, 1);
    assert!(log(&*store, &arda()).await.is_empty());

    run(&mut sql, "ROLLBACK").await;
    let results = persist_all(&store, parts()).await;
    assert_eq!(results[0].as_ref().unwrap().count, 2);
    assert!(results[1].as_ref().unwrap().repeated);
}

#[tokio::test]
async fn a_claim_waits_for_a_lock_so_long_and_then_names_the_setting() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.lock_timeout = Some(Duration::from_millis(50));
    let store = open(config).await;
    claim(&store, &arda()).await.unwrap();
    let mut sql = schema.sql().await;
    run(&mut sql, "BEGIN; SELECT FROM worlds FOR UPDATE").await;
    let error = claim(&store, &arda()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().ends_with("raise lock_timeout_ms"),
        "{error}"
    );
    run(&mut sql, "ROLLBACK").await;
    assert_eq!(claim(&store, &arda()).await.unwrap().epoch.get(), 2);
}

#[tokio::test]
async fn a_damaged_world_does_not_hold_up_the_others() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let damaged = Writer::claim(&store, &arda()).await;
    let sound = Writer::claim(&store, &numenor()).await;
    // A row stands where the first record of the world is to come.
    let damage =
        "INSERT INTO world_records (world_id, sequence, timestamp, collection, change, form)
                  VALUES ('arda', 1, 0, 'records', 2, 0)";
    run(&mut schema.sql().await, damage).await;
    let parts = vec![
        damaged.part(vec![
            put(&arda(), "a", json("secret-1")),
            event(&arda(), json("1")),
        ]),
        sound.part(vec![event(&numenor(), json("1"))]),
    ];
    let results = persist_all(&store, parts).await;
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(!shown(error).contains("secret"), "{error:?}");
    assert_eq!(results[1].as_ref().unwrap().count, 1);
    assert_eq!(log(&*store, &numenor()).await.len(), 1);
    let count = "SELECT count(*)::text FROM world_state";
    assert_eq!(texts(&mut schema.sql().await, count).await, ["0"]);
    let stats = store.stats();
    assert_eq!((stats.flush_count, stats.errors.total()), (1, 1));
}

/// All that can be shown of an error.
fn shown(error: &Error) -> String {
    let source = std::error::Error::source(error);
    format!("{error} {error:?} {source:?}")
}

#[tokio::test]
async fn a_table_that_is_dropped_under_a_store_is_damage() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    run(&mut schema.sql().await, "DROP TABLE world_state").await;
    let error = writer
        .persist(vec![put(&arda(), "key", json("1"))])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(
        error.to_string().contains("restore them from a copy"),
        "{error}"
    );
    assert!(log(&*store, &arda()).await.is_empty());
}

#[tokio::test]
async fn text_that_postgres_cannot_hold_keeps_its_form() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let zero = json("\"a\0b\"");
    let records = vec![
        put(&arda(), "zero", zero.clone()),
        put(&arda(), "text", json("\"a\"")),
        put(&arda(), "bytes", Payload::Bytes(b"a\0b".to_vec())),
        event(&arda(), zero.clone()),
    ];
    writer.persist(records).await.unwrap();
    let rows = state(&*store, &arda()).await;
    let payloads = rows.iter().map(|row| row.payload.clone());
    let bytes = Payload::Bytes(b"a\0b".to_vec());
    assert_eq!(
        payloads.collect::<Vec<_>>(),
        [bytes, json("\"a\""), zero.clone()]
    );
    assert_eq!(log(&*store, &arda()).await[3].record.payload(), Some(&zero));
    let columns = "SELECT concat_ws(' ', key, form, payload, payload_bytes IS NOT NULL)
                   FROM world_state ORDER BY key";
    assert_eq!(
        texts(&mut schema.sql().await, columns).await,
        ["bytes 2 t", "text 1 \"a\" f", "zero 1 t"]
    );
}

#[tokio::test]
async fn the_epoch_before_the_first_is_nobodys() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    Writer::claim(&store, &arda()).await;
    for world in [arda(), numenor()] {
        let records = vec![BatchRecord::new(event(&world, json("1")), History::Latest)];
        let number = BatchNumber::FIRST;
        let part = Part::new(world, Epoch::ZERO, number, 0, Link::ORIGIN, records).unwrap();
        assert_eq!(
            persist(&store, part).await.unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }
    assert_eq!(store.stats().flush_count, 0);
}

#[tokio::test]
async fn a_world_whose_sequences_are_used_up_is_full() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    Writer::claim(&store, &arda()).await;
    let spent = "UPDATE worlds SET head = (1::bigint << 40) - 2";
    run(&mut schema.sql().await, spent).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let two = vec![event(&arda(), json("1")), event(&arda(), json("2"))];
    assert_eq!(
        writer.persist(two).await.unwrap_err().kind(),
        ErrorKind::Full
    );
    let receipt = writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    assert_eq!(receipt.first.get(), (1 << 40) - 1);
}

#[tokio::test]
async fn a_write_goes_on_when_its_future_is_dropped() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let writer = Writer::claim(&store, &arda()).await;
    let batch = Batch::from(writer.part(vec![event(&arda(), json("1"))]));
    tokio::select! {
        biased;
        _ = store.persist_batch(batch.clone()) => panic!("the answer comes from a task"),
        () = std::future::ready(()) => {}
    }
    store.close().await.unwrap();
    let stats = store.stats();
    assert_eq!(
        (stats.flush_count, stats.records),
        (1, 1),
        "closing waits for the write"
    );
    let again = open(schema.config()).await.persist_batch(batch).await.pop();
    assert!(again.unwrap().unwrap().repeated);
}

#[tokio::test]
async fn a_read_that_is_dropped_leaves_its_session_in_order() {
    let schema = Schema::new().await;
    let mut config = schema.config();
    config.pool.size = 1;
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let records = (0..2000).map(|n| event(&arda(), json(&format!("\"{n:0500}\""))));
    writer.persist(records.collect()).await.unwrap();
    let world = arda();
    for _ in 0..20 {
        tokio::select! {
            biased;
            _ = store.log(&world, LogRange::ALL, Limit::default()) => panic!("it needs a task"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(log(&*store, &arda()).await.len(), 2000);
    let sessions = "SELECT count(*)::text FROM pg_stat_activity WHERE state LIKE '%in transaction%'
                        AND datname = current_database() AND application_name = 'aqevia-storage'
                        AND query LIKE '%' || current_schema || '%'";
    assert_eq!(texts(&mut schema.sql().await, sessions).await, ["0"]);
}

#[tokio::test]
async fn a_batch_over_the_size_of_a_statement_is_cut() {
    let schema = Schema::new().await;
    let store = open(schema.config()).await;
    let mut parts = Vec::new();
    for name in ["a", "b", "c"] {
        let world = aqevia_storage::WorldId::new(name).unwrap();
        let writer = Writer::claim(&store, &world).await;
        let records = vec![WorldRecord::new(world, json(""), 0); Part::RECORDS_MAX / 2];
        parts.push(writer.part(records));
    }
    for result in persist_all(&store, parts).await {
        assert_eq!(result.unwrap().count as usize, Part::RECORDS_MAX / 2);
    }
    assert_eq!(store.stats().flush_count, 1);
}
