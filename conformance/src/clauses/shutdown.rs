//! The controller's end: by `shutdown`, within its time or not, and by being dropped.

use std::time::Duration;

use aqevia_storage::{ErrorKind, StorageController, WorldRecord};

use super::controller::{config, left, numbered, open_world, start};
use crate::Harness;
use crate::fault::Fault;
use crate::sample::world;

/// The shutdown timeout where it runs out: long enough for one attempt on a machine that is busy.
const TROUBLE_ENDS: Duration = Duration::from_millis(300);

/// `shutdown` persists everything that was accepted, and accepts nothing after.
pub async fn c6_shutdown_persists_all<H: Harness>(harness: &H) {
    let (controller, _) = start(harness, config()).await;
    let ids = ["one", "two"].map(world);
    let mut worlds = Vec::new();
    for id in &ids {
        let open = open_world(&controller, id).await;
        drop(open.submit(numbered(id, 0..3)).expect("a group"));
        open.record(numbered(id, 3..4).remove(0)).expect("a record");
        worlds.push(open);
    }
    controller
        .shutdown()
        .await
        .expect("C6: a shutdown over a store that works");
    for (id, open) in ids.iter().zip(&worlds) {
        assert_eq!(
            left(harness, id).await,
            numbered(id, 0..4),
            "C6: shutdown persists all"
        );
        let group = numbered(id, 4..6);
        let refused = open.submit(group.clone()).err();
        let refused = refused.expect("C6: nothing is accepted after shutdown");
        assert_eq!(
            refused.error.kind(),
            ErrorKind::Closed,
            "C6: a group after shutdown"
        );
        assert_eq!(refused.records, group, "C6: its records are handed back");
    }
    controller
        .shutdown()
        .await
        .expect("C6: shutdown again gives the same answer");
}

/// With the store away, `shutdown` returns in time exactly what is pending, in order.
pub async fn c6_shutdown_returns_what_is_pending<H: Harness>(harness: &H) {
    for kind in [ErrorKind::Unavailable, ErrorKind::Full] {
        let end = end_in_trouble(harness, Fault::Refuse(kind)).await;
        assert_eq!(end.in_doubt, [], "C6: nothing is in doubt after {kind:?}");
        assert_eq!(
            end.pending, end.accepted,
            "C6: all that was accepted is pending, in order"
        );
        assert_eq!(end.kept, [], "C6: what is pending is not in the store");
    }
}

/// With an answer lost, `shutdown` returns what is in doubt apart from what is pending.
pub async fn c6_shutdown_returns_what_is_in_doubt<H: Harness>(harness: &H) {
    let end = end_in_trouble(harness, Fault::Refuse(ErrorKind::Ambiguous)).await;
    let (doubtful, pending) = end.accepted.split_at(IN_FLIGHT);
    assert_eq!(
        end.in_doubt, doubtful,
        "C6: a part without a definite answer is in doubt"
    );
    assert_eq!(end.pending, pending, "C6: what came after it is pending");
    assert_eq!(end.kept, [], "C6: what is pending is not in the store");

    let end = end_in_trouble(harness, Fault::LoseAnswer).await;
    let (doubtful, pending) = end.accepted.split_at(IN_FLIGHT);
    assert_eq!(
        end.in_doubt, doubtful,
        "C6: a part whose answer is lost is in doubt"
    );
    assert_eq!(end.pending, pending, "C6: what came after it is pending");
    assert_eq!(
        end.kept, doubtful,
        "C6: what is pending is not in the store"
    );
}

/// With a write that does not return, `shutdown` does, and its part is in doubt.
pub async fn c6_shutdown_does_not_wait_for_a_write_that_hangs<H: Harness>(harness: &H) {
    let mut config = config();
    config.shutdown_timeout = TROUBLE_ENDS;
    let (controller, faulty) = start(harness, config).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    faulty.hold();
    drop(open.submit(numbered(&arda, 0..2)).expect("a group"));
    let flushing = tokio::spawn(async move { open.commit(Vec::new()).await });
    faulty.called(1).await;
    controller
        .record(numbered(&arda, 2..3).remove(0))
        .expect("a record");
    let unflushed = controller.shutdown().await;
    let unflushed = unflushed.expect_err("C6: a shutdown while a write hangs");
    assert_eq!(
        unflushed.in_doubt,
        numbered(&arda, 0..2),
        "C6: the part that hangs is in doubt"
    );
    assert_eq!(
        unflushed.pending,
        numbered(&arda, 2..3),
        "C6: what came after it is pending"
    );
    let waiting = flushing.await.expect("no panic");
    waiting.expect_err("C6: who waits for the part that hangs is told");
    faulty.release();
}

/// The records that are on their way to the store when the shutdown comes.
const IN_FLIGHT: usize = 3;

/// What is left of a controller whose store answers every part with a fault.
struct End {
    accepted: Vec<WorldRecord>,
    pending: Vec<WorldRecord>,
    in_doubt: Vec<WorldRecord>,
    kept: Vec<WorldRecord>,
}

async fn end_in_trouble<H: Harness>(harness: &H, fault: Fault) -> End {
    let mut config = config();
    config.shutdown_timeout = TROUBLE_ENDS;
    let (controller, faulty) = start(harness, config).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    faulty.plan_forever(&arda, fault);
    let accepted = numbered(&arda, 0..6);
    let first = open
        .submit(accepted[..IN_FLIGHT].to_vec())
        .expect("a group");
    let flushing = tokio::spawn({
        let open = open.clone();
        async move { open.commit(Vec::new()).await }
    });
    faulty.called(1).await;
    drop(
        open.submit(accepted[IN_FLIGHT..].to_vec())
            .expect("a group"),
    );
    let unflushed = controller.shutdown().await;
    let unflushed = unflushed.expect_err("C6: a shutdown that could not persist");
    first
        .await
        .expect_err("C6: who waits for a group that is not persisted is told");
    flushing
        .await
        .expect("no panic")
        .expect_err("C6: a flush that came to nothing");
    // Order matters: a store that is not `shared` is there for the next once the first is gone.
    drop_apart(controller).await;
    drop(faulty);
    End {
        accepted,
        pending: unflushed.pending,
        in_doubt: unflushed.in_doubt,
        kept: left(harness, &arda).await,
    }
}

/// A controller that is dropped without `shutdown` persists what it accepted.
pub async fn c8_dropping_persists_what_was_accepted<H: Harness>(harness: &H) {
    let (controller, _) = start(harness, config()).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    drop(open.submit(numbered(&arda, 0..3)).expect("a group"));
    open.record(numbered(&arda, 3..4).remove(0))
        .expect("a record");
    let ticket = open.submit(numbered(&arda, 4..5)).expect("a group");
    drop_apart(controller).await;
    assert_eq!(
        left(harness, &arda).await,
        numbered(&arda, 0..5),
        "C8: dropping persists all"
    );
    ticket.await.expect("C8: a ticket outlives the controller");
    open.record(numbered(&arda, 5..6).remove(0))
        .expect_err("C8: a world outlives its controller");
}

/// With the store away, dropping ends in the time for a shutdown, and tells who waits.
pub async fn c8_dropping_ends_without_a_store<H: Harness>(harness: &H) {
    let mut config = config();
    config.shutdown_timeout = TROUBLE_ENDS;
    let (controller, faulty) = start(harness, config).await;
    let arda = world("arda");
    let open = open_world(&controller, &arda).await;
    faulty.plan_forever(&arda, Fault::Refuse(ErrorKind::Unavailable));
    let ticket = open.submit(numbered(&arda, 0..3)).expect("a group");
    drop_apart(controller).await;
    assert!(!faulty.parts().is_empty(), "C8: dropping tries to persist");
    ticket
        .await
        .expect_err("C8: who waits for a group that is lost is told");
    drop(faulty);
    assert_eq!(
        left(harness, &arda).await,
        [],
        "C8: what is lost is not in the store"
    );
}

/// Dropping waits for the controller's thread, which is no wait for a task.
async fn drop_apart(controller: StorageController) {
    let dropping = tokio::task::spawn_blocking(move || drop(controller));
    dropping.await.expect("no panic");
}
