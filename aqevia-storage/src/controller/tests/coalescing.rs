//! When a newer record takes the place of an older one.

use super::*;
use crate::{History, Schema};

fn fleets() -> Collection {
    Collection::new("fleets").unwrap()
}

fn fleet(key: &str, state: u32) -> WorldRecord {
    let key = Key::new(key).unwrap();
    WorldRecord::put(&arda(), &fleets(), key, Payload::json(&state).unwrap(), 0)
}

/// What was in each part, as `key=state` or `-key`, with `!` for an event.
fn parts(store: &Scripted) -> Vec<Vec<String>> {
    let batches = store.batches().into_iter();
    let parts = batches.flat_map(|(_, batch)| batch.parts().to_vec());
    let parts = parts.map(|part| {
        let records = part.records().iter().map(|record| {
            let record = record.record();
            let state = record
                .payload()
                .map(|state| String::from_utf8_lossy(state.as_bytes()));
            match (record.key(), state) {
                (Some(key), Some(state)) => format!("{key}={state}"),
                (Some(key), None) => format!("-{key}"),
                (None, _) => "!".to_owned(),
            }
        });
        records.collect()
    });
    parts.collect()
}

/// A controller whose first flush, of one event, takes an hour.
async fn busy(config: ControllerConfig) -> (StorageController, World, Arc<Scripted>) {
    let store = Scripted::new([Act::Delay(Duration::from_secs(3600))]);
    let (controller, world) = start(&store, config).await;
    let first = world.commit(vec![event()]);
    let under_way = tokio::time::timeout(Duration::from_secs(1), first).await;
    assert!(under_way.is_err());
    (controller, world, store)
}

/// Lets the loop take what came while it flushes.
async fn taken() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn memory_does_not_grow_with_the_changes_of_one_key_while_the_store_is_away() {
    let config = ControllerConfig {
        pending_records_max: 100,
        ..ControllerConfig::default()
    };
    let (controller, world, store) = busy(config).await;
    for round in 0..1000 {
        for key in ["a", "b", "c"] {
            world.record(fleet(key, round)).unwrap();
        }
        if round % 10 == 9 {
            taken().await;
        }
    }
    taken().await;
    assert_eq!(controller.exposure().records, 3 + 1);
    controller.flush().await.unwrap();
    assert_eq!(parts(&store)[1], ["a=999", "b=999", "c=999"]);
    let stats = controller.stats();
    assert_eq!((stats.coalesced, stats.records), (2997, 4));
    assert_eq!((stats.pending_records, stats.pending_bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_what_was_replaced_is_that_of_what_took_its_place() {
    let (controller, world, store) = busy(ControllerConfig::default()).await;
    let ticket = world.submit(vec![fleet("a", 1)]).unwrap();
    world.record(event()).unwrap();
    world.record(fleet("a", 2)).unwrap();
    let key = Key::new("a").unwrap();
    world
        .record(WorldRecord::delete(&arda(), &fleets(), key, 0))
        .unwrap();
    let receipt = ticket.await.unwrap();
    assert_eq!((receipt.first.get(), receipt.count), (2, 1));
    assert_eq!(parts(&store)[1], ["-a", "!"]);
    assert_eq!(controller.stats().coalesced, 2);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_somebody_waits_for_takes_no_place() {
    let (_controller, world, store) = busy(ControllerConfig::default()).await;
    world.record(fleet("a", 1)).unwrap();
    let receipt = world.commit(vec![fleet("a", 2)]).await.unwrap();
    assert_eq!(receipt.first.get(), 3);
    assert_eq!(parts(&store)[1], ["a=1", "a=2"]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_replaced_into_or_across_a_group() {
    let (controller, world, store) = busy(ControllerConfig::default()).await;
    world.record(fleet("a", 1)).unwrap();
    world.record(fleet("b", 1)).unwrap();
    drop(world.submit(vec![fleet("a", 2), event()]).unwrap());
    world.record(fleet("a", 3)).unwrap();
    world.record(fleet("b", 2)).unwrap();
    world.record(fleet("a", 4)).unwrap();
    controller.flush().await.unwrap();
    assert_eq!(parts(&store)[1], ["a=1", "b=2", "a=2", "!", "a=4"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_logged_is_not_replaced_and_neither_is_anything_where_that_is_switched_off() {
    let logged = ControllerConfig {
        schema: Schema::new().with_history(fleets(), History::All),
        ..ControllerConfig::default()
    };
    let off = ControllerConfig {
        coalescing: false,
        ..ControllerConfig::default()
    };
    for config in [logged, off] {
        let (controller, world, store) = busy(config).await;
        world.record(fleet("a", 1)).unwrap();
        world.record(fleet("a", 2)).unwrap();
        controller.flush().await.unwrap();
        assert_eq!(parts(&store)[1], ["a=1", "a=2"]);
        assert_eq!(controller.stats().coalesced, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_not_replaced() {
    let store = Scripted::new([
        Act::Delay(Duration::from_secs(60)),
        Act::Fail(ErrorKind::Ambiguous),
    ]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.record(fleet("a", 1)).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    world.record(fleet("a", 2)).unwrap();
    taken().await;
    controller.flush().await.unwrap();
    assert_eq!(parts(&store), [["a=1"], ["a=2"], ["a=2"]]);
}
