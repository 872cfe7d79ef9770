//! Writing: what goes on when nobody waits, and what a store is like in between.

use aqevia_storage::{
    Batch, BatchNumber, BatchRecord, Epoch, ErrorKind, History, Link, Part, SchemaPolicy,
    StorageBackend,
};

use crate::store::{
    Folder, Writer, arda, backend, event, json, log, numenor, open, persist, with_an_event,
};

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

#[tokio::test]
async fn an_init_that_was_given_up_leaves_a_store_that_opens() {
    let folder = Folder::new();
    let store = backend(folder.config());
    tokio::select! {
        biased;
        _ = store.init(SchemaPolicy::Upgrade) => panic!("it is made on another thread"),
        () = std::future::ready(()) => {}
    }
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    store.close().await.unwrap();
    with_an_event(&folder).await;
}

#[tokio::test]
async fn the_epoch_of_no_claim_is_nobodys() {
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
async fn closing_while_init_runs_leaves_nothing_open() {
    let folder = Folder::new();
    let store = backend(folder.config());
    let (initialised, closed) = tokio::join!(store.init(SchemaPolicy::Upgrade), store.close());
    closed.unwrap();
    assert!(initialised.is_err());
    with_an_event(&folder).await;
}

#[tokio::test]
async fn a_store_that_was_dropped_can_be_opened_and_closed_many_times() {
    let folder = Folder::new();
    for round in 1..=20 {
        let store = open(folder.config()).await;
        let mut writer = Writer::claim(&store, &arda()).await;
        let event = event(&arda(), json("1"));
        writer.persist(vec![event]).await.unwrap();
        drop((writer, store));
        let store = open(folder.config()).await;
        assert_eq!(log(&*store, &arda()).await.len(), round);
        store.close().await.unwrap();
        store.close().await.unwrap();
    }
}
