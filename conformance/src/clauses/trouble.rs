//! The controller and a store that refuses a group, or is away.

use std::sync::Arc;

use aqevia_storage::{Collection, ErrorKind, Health, Sequence, StorageController, WorldRecord};

use super::controller::{config, kept, numbered, open_world, start};
use crate::Harness;
use crate::fault::{Fault, Faulty};
use crate::harness::{close, open};
use crate::sample::{event, world};
use crate::writer::Writer;

/// Wherever it stands among others, a group that the store refuses fails alone; for a record that
/// nobody waits for there is a dead letter.
pub async fn c5_a_refused_group_fails_alone<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    for refused in [1, 3, 5] {
        let id = world(&format!("refused {refused}"));
        let open = open_world(&controller, &id).await;
        faulty.refuse(numbered(&id, refused..refused + 1).remove(0));
        let groups = [0..1, 1..3, 3..4, 4..6];
        let mut tickets = Vec::new();
        for group in groups.clone() {
            tickets.push(open.submit(numbered(&id, group)).expect("a group"));
        }
        let letter = numbered(&id, 6..7).remove(0);
        faulty.refuse(letter.clone());
        open.record(letter).expect("a record");
        controller
            .flush()
            .await
            .expect("C5: the others are durable");

        let mut all: Vec<WorldRecord> = Vec::new();
        for (group, ticket) in groups.into_iter().zip(tickets) {
            let culprit = group.contains(&refused);
            match ticket.await {
                Ok(_) => assert!(!culprit, "C5: what was refused is acknowledged"),
                Err(error) => {
                    assert!(
                        culprit,
                        "C5: a neighbour of the refused group fails: {error}"
                    );
                    assert_eq!(error.kind(), ErrorKind::Invalid, "C5: {error}");
                }
            }
            all.extend(numbered(&id, if culprit { 0..0 } else { group }));
        }
        let held = kept(harness, &faulty, &id).await;
        let letters = |record: &WorldRecord| record.collection == Collection::dead_letters();
        let (letters, records): (Vec<_>, Vec<_>) = held.into_iter().partition(letters);
        assert_eq!(records, all, "C5: the others are stored once, in order");
        let [letter] = letters.as_slice() else {
            panic!("C5: one dead letter for one record, not {letters:?}")
        };
        let payload = letter.payload().map(|payload| payload.as_bytes().to_vec());
        let text = String::from_utf8(payload.unwrap_or_default()).expect("C5: JSON");
        let told =
            text.contains(r#""json":"6""#) && text.contains("a fault that the suite planned");
        assert!(
            told,
            "C5: the record and the reason are in the letter: {text}"
        );
    }
    controller.shutdown().await.expect("`shutdown`");
}

/// While the store refuses everything, records are accepted and the controller is degraded; when
/// that ends it recovers by itself, and everything is there.
pub async fn c7_the_engine_goes_on_while_the_store_is_away<H: Harness>(harness: &H) {
    let (controller, faulty) = start(harness, config()).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    let mut health = controller.health();
    assert!(health.borrow().is_healthy(), "C7: nothing went wrong yet");
    faulty.plan_forever(&arda, Fault::Refuse(ErrorKind::Unavailable));
    let first = open.submit(numbered(&arda, 0..2)).expect("a group");
    let flush = tokio::spawn({
        let open = open.clone();
        async move { open.commit(Vec::new()).await }
    });
    let twice = |health: &Health| matches!(health, Health::Degraded { attempts: 2.., .. });
    health
        .wait_for(twice)
        .await
        .expect("C7: the controller lives");
    for number in 2..20 {
        let record = numbered(&arda, number..number + 1).remove(0);
        open.record(record).expect("C7: the engine goes on");
    }
    let exposure = controller.exposure();
    assert_eq!(exposure.records, 20, "C7: what a crash would lose is told");
    faulty.heal();
    first.await.expect("C7: what waited is persisted");
    flush
        .await
        .expect("no panic")
        .expect("C7: a flush that waited");
    controller.flush().await.expect("C7: what came meanwhile");
    let healthy = health.wait_for(Health::is_healthy).await;
    drop(healthy.expect("C7: the controller recovers by itself"));
    let held = kept(harness, &faulty, &arda).await;
    assert_eq!(held, numbered(&arda, 0..20), "C7: once, in order");
    assert_eq!(controller.exposure().records, 0, "C7: nothing is exposed");
    controller.shutdown().await.expect("`shutdown`");
}

/// A controller that starts while the store is away has worlds that take records; they are claimed
/// and persisted when the store comes, unless another wrote to them.
pub async fn c7_a_controller_starts_while_the_store_is_away<H: Harness>(harness: &H) {
    let (ours, theirs) = (world("ours"), world("theirs"));
    let before = open(harness).await;
    let mut writer = Writer::claim(&before, &theirs).await;
    writer.persist(vec![event(&theirs, "0")]).await;
    drop(writer);
    close(before).await;

    let faulty = Faulty::new(harness.open().await);
    faulty.stay_away();
    let mut config = config();
    config.start_degraded = true;
    let store = Arc::<Faulty>::clone(&faulty);
    let controller = StorageController::start(store, config).await;
    let controller = controller.expect("C7: a controller starts while the store is away");
    assert!(
        controller.store_info().is_none(),
        "C7: nothing is known of the store"
    );
    let adopt = |id| controller.adopt_world(id, Sequence::ZERO);
    let new = adopt(ours.clone()).expect("C7: a world is adopted");
    let stale = adopt(theirs.clone()).expect("C7: a world is adopted");
    let ticket = new
        .submit(numbered(&ours, 0..3))
        .expect("C7: it takes records");
    let late = stale
        .submit(numbered(&theirs, 1..2))
        .expect("C7: it takes records");
    assert!(
        !controller.health().borrow().is_healthy(),
        "C7: the store is away"
    );

    faulty.heal();
    let flushed = controller.flush().await.map_err(|error| error.kind());
    assert_eq!(flushed, Err(ErrorKind::Fenced), "C7: one world is fenced");
    ticket.await.expect("C7: what waited is persisted");
    let error = late.await.expect_err("C7: another wrote to the world");
    assert_eq!(error.kind(), ErrorKind::Fenced, "C7: {error}");
    assert_eq!(
        faulty.claims(),
        1,
        "C7: a world that another wrote to is not claimed"
    );
    let held = kept(harness, &faulty, &ours).await;
    assert_eq!(held, numbered(&ours, 0..3), "C7: once, in order");
    let held = kept(harness, &faulty, &theirs).await;
    assert_eq!(held, numbered(&theirs, 0..1), "C7: nothing is overwritten");
    let left = stale.take_unpersisted();
    assert_eq!(
        left.pending,
        numbered(&theirs, 1..2),
        "C7: it is handed back"
    );
    controller.shutdown().await.expect("`shutdown`");
}
