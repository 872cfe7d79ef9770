//! What goes wrong while writing, and what does not.

use std::sync::Arc;
use std::time::Duration;

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Epoch, ErrorKind, History, Link, Part, StorageBackend, WorldId,
};
use rusqlite::params;

use crate::store::{Folder, Writer, arda, claim, event, json, log, open, persist, put};

fn numenor() -> WorldId {
    WorldId::new("numenor").unwrap()
}

#[tokio::test]
async fn a_write_that_another_process_blocks_is_unavailable_and_can_be_tried_again() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.pool.busy_timeout = Duration::from_millis(10);
    let store = open(config).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    let sql = folder.sql();
    sql.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "persist batch 1 of world \"arda\": another connection has locked the database; try \
         again, or raise busy_timeout_ms"
    );
    assert_eq!(
        claim(&store, &arda()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    sql.execute_batch("ROLLBACK").unwrap();
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_damaged_world_does_not_hold_up_the_others() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let damaged = Writer::claim(&store, &arda()).await;
    let sound = Writer::claim(&store, &numenor()).await;
    // A row stands where the first record of the world is to come.
    folder
        .sql()
        .execute(
            "INSERT INTO world_records (id, world_id, timestamp, collection, change, form)
             VALUES ((1 << 40) + 1, 'arda', 0, 'records', 2, 0)",
            [],
        )
        .unwrap();
    let parts = vec![
        Arc::new(damaged.part(vec![
            put(&arda(), "a", json("1")),
            event(&arda(), json("1")),
        ])),
        Arc::new(sound.part(vec![event(&numenor(), json("1"))])),
    ];
    let results = store.persist_batch(Batch::new(parts).unwrap()).await;
    assert_eq!(results[0].as_ref().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(results[1].as_ref().unwrap().count, 1);
    assert_eq!(log(&*store, &numenor()).await.len(), 1);
    let state = folder
        .sql()
        .query_row("SELECT count(*) FROM world_state", [], |row| row.get(0));
    assert_eq!(state, Ok(0));
    assert_eq!(
        (store.stats().flush_count, store.stats().errors.total()),
        (1, 1)
    );
}

#[tokio::test]
async fn a_missing_table_is_damage() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let mut writer = Writer::claim(&store, &arda()).await;
    folder.sql().execute("DROP TABLE world_state", []).unwrap();
    let error = writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(log(&*store, &arda()).await.is_empty());
}

#[tokio::test]
async fn the_epoch_of_an_upgrade_is_nobodys() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
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
async fn a_store_has_room_for_a_number_of_worlds() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let insert =
        "INSERT INTO worlds (number, world_id, epoch, owner, head, last_number, last_at_ms,
                      link)
                  VALUES (?1, ?2, 1, 'test', 0, 0, 0, ?3)";
    let last = (1_i64 << 23) - 1;
    folder
        .sql()
        .execute(insert, params![last, "arda", [0_u8; 32]])
        .unwrap();
    let error = claim(&store, &numenor()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);

    let mut writer = Writer::claim(&store, &arda()).await;
    writer
        .persist(vec![event(&arda(), json("1"))])
        .await
        .unwrap();
    assert_eq!(log(&*store, &arda()).await.len(), 1);
}

#[tokio::test]
async fn a_write_goes_on_when_its_future_is_dropped() {
    let folder = Folder::new();
    let store = open(folder.config()).await;
    let writer = Writer::claim(&store, &arda()).await;
    let part = writer.part(vec![event(&arda(), json("1"))]);
    let batch = Batch::from(part);
    tokio::select! {
        biased;
        _ = store.persist_batch(batch.clone()) => panic!("the writer answers from another thread"),
        () = std::future::ready(()) => {}
    }
    let again = store.persist_batch(batch).await.pop().unwrap().unwrap();
    assert!(again.repeated);
    assert_eq!((store.stats().flush_count, store.stats().records), (1, 1));
}
