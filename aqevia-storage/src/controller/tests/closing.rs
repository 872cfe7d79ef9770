//! How worlds close, what becomes of what comes in meanwhile, and how the controller ends.

use std::pin::pin;
use std::task::Poll;

use super::group::{Group, Kind};
use super::shared::WorldShared;
use super::*;
use crate::layer::{Fault, FaultHandle, FaultPlan};

/// Polls a future so many times, with a turn for all others after each but the last.
async fn poll_times<F: Future + Unpin>(mut future: F, times: usize) -> Option<F::Output> {
    for time in 0..times {
        if time > 0 {
            tokio::task::yield_now().await;
        }
        let poll = |context: &mut std::task::Context<'_>| {
            Poll::Ready(match std::pin::Pin::new(&mut future).poll(context) {
                Poll::Ready(output) => Some(output),
                Poll::Pending => None,
            })
        };
        if let Some(output) = std::future::poll_fn(poll).await {
            return Some(output);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_at_any_moment_of_closing_is_persisted() {
    let mut late = 0;
    for moment in 1..30 {
        let (controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
        let id = arda();
        let mut close = pin!(controller.close_world(&id));
        let closed = poll_times(&mut close, moment).await;
        let accepted = world.record(event()).is_ok();
        match closed {
            Some(closed) => closed.unwrap(),
            None => close.await.unwrap(),
        }
        assert_eq!(world.stopped().unwrap().kind(), ErrorKind::Closed);
        let head = head(&controller).await;
        assert_eq!(head, u64::from(accepted), "at moment {moment}");
        late += u32::from(!accepted);
        controller.shutdown().await.unwrap();
    }
    assert!(late > 0, "no moment was late enough to be refused");
}

/// Another thread may hand over a group at any moment of this.
#[tokio::test(start_paused = true)]
async fn what_the_loop_has_not_taken_keeps_a_world_open_and_a_closed_one_takes_nothing() {
    let inbox = Inbox::new(ControllerConfig::default());
    let world = Arc::new(WorldShared::new(arda(), 1, Sequence::ZERO));
    let group = || Group {
        world: Arc::clone(&world),
        records: vec![event()],
        bytes: event().bytes(),
        answer: None,
        urgency: Urgency::Deferred,
        accepted_at: Instant::now(),
        joined: false,
        kind: Kind::Given,
    };
    inbox.push(group()).unwrap();
    assert!(!world.close_if_clean(&inbox));
    assert!(world.stopped().is_none());
    drop(inbox.take(Vec::new()));
    assert!(world.close_if_clean(&inbox));
    let refused = inbox.push(group()).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Closed);
    assert_eq!(refused.records, [event()]);
}

/// A controller whose world was fenced before its one record was persisted.
async fn fenced_with_a_record() -> (StorageController, World) {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let other = Owner::new("another").unwrap();
    let schema = Fingerprint([0; 32]);
    store.claim(&arda(), &other, schema).await.unwrap();
    world.commit(vec![event()]).await.unwrap_err();
    (controller, world)
}

#[tokio::test(start_paused = true)]
async fn a_closed_world_keeps_what_was_not_persisted_before_it_was_fenced() {
    let (controller, _) = fenced_with_a_record().await;
    controller.open_world(arda()).await.unwrap();
    controller.close_world(&arda()).await.unwrap();
    let again = controller.open_world(arda()).await.unwrap();
    assert_eq!(again.take_unpersisted().pending, [event()]);
    controller.close_world(&arda()).await.unwrap();
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_what_a_closed_world_keeps() {
    let (controller, _) = fenced_with_a_record().await;
    controller.open_world(arda()).await.unwrap();
    controller.close_world(&arda()).await.unwrap();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.pending, [event()]);
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_what_was_not_taken_from_a_world_that_was_opened_again() {
    let (controller, _) = fenced_with_a_record().await;
    let again = controller.open_world(arda()).await.unwrap();
    again.commit(vec![put("a")]).await.unwrap();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.pending, [event()]);
    assert_eq!(left.in_doubt, []);
}

/// Time goes on here: while it is paused, the present moment never changes.
#[tokio::test]
async fn what_the_loop_is_told_is_heard_though_nothing_is_flushed() {
    let store = Arc::new(Memory::new());
    let config = ControllerConfig::default();
    let controller = StorageController::start(store, config).await.unwrap();
    let world = controller.open_world(arda()).await.unwrap();
    let heard = async {
        assert_eq!(world.save().await.unwrap(), 0);
        controller.close_world(&arda()).await.unwrap();
        controller.open_world(arda()).await.unwrap();
        controller.shutdown().await.unwrap();
    };
    let heard = tokio::time::timeout(Duration::from_secs(10), heard).await;
    assert!(heard.is_ok(), "it was not heard within ten seconds");
}

/// A controller over a store that can be taken away.
async fn start_with_switch() -> (StorageController, FaultHandle) {
    let store = Fault::new(Memory::new(), FaultPlan::new(0)).unwrap();
    let switch = store.handle();
    let start = StorageController::start_here(Arc::new(store), ControllerConfig::default());
    (start.await.unwrap(), switch)
}

#[tokio::test(start_paused = true)]
async fn a_world_that_cannot_be_opened_leaves_nothing_behind() {
    let (controller, switch) = start_with_switch().await;
    switch.begin_outage();
    let open = || controller.open_world(arda());
    let (one, other) = tokio::join!(open(), open());
    for failed in [one, other] {
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    assert_eq!(controller.worlds.places(), 0);
    switch.end_outage();
    controller.open_world(arda()).await.unwrap();
    assert_eq!(controller.worlds.places(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_world_that_could_not_be_opened_again_is_still_told_of() {
    let (controller, switch) = start_with_switch().await;
    let world = controller.open_world(arda()).await.unwrap();
    let theirs =
        StorageController::start_here(Arc::clone(&controller.store), ControllerConfig::default());
    let theirs = theirs.await.unwrap();
    theirs.open_world(arda()).await.unwrap();
    world.commit(vec![event()]).await.unwrap_err();
    switch.begin_outage();
    controller.open_world(arda()).await.unwrap_err();
    let kind = |error: Error| error.kind();
    let fenced = Err(ErrorKind::Fenced);
    assert_eq!(controller.flush().await.map_err(kind), fenced);
    let refused = controller.record(event()).map_err(|refused| refused.error);
    assert_eq!(refused.map_err(kind), fenced);

    switch.end_outage();
    let again = controller.open_world(arda()).await.unwrap();
    assert_eq!(again.take_unpersisted().pending, [event()]);
    controller.flush().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_fenced_world_is_let_go_of_without_being_claimed() {
    let (controller, world) = fenced_with_a_record().await;
    assert_eq!(
        controller.flush().await.unwrap_err().kind(),
        ErrorKind::Fenced
    );
    controller.close_world(&arda()).await.unwrap();
    controller.flush().await.unwrap();
    assert_eq!(world.take_unpersisted().pending, [event()]);
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn adopting_in_vain_takes_nothing_from_who_left_it() {
    // While the world is open again.
    let (controller, _) = fenced_with_a_record().await;
    let again = controller.open_world(arda()).await.unwrap();
    let adopted = controller.adopt_world(arda(), Sequence::ZERO);
    assert_eq!(adopted.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(again.take_unpersisted().pending, [event()]);

    // After the end was asked for.
    let (controller, world) = fenced_with_a_record().await;
    controller.inbox.close();
    let adopted = controller.adopt_world(arda(), Sequence::ZERO);
    assert_eq!(adopted.unwrap_err().kind(), ErrorKind::Closed);
    assert!(world.has_unpersisted());
    assert_eq!(controller.shutdown().await.unwrap_err().pending, [event()]);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_world_to_be_stopped_hears_of_the_end() {
    let (controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
    let waiting = tokio::spawn({
        let world = world.clone();
        async move { world.wait_stopped().await.kind() }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    controller.shutdown().await.unwrap();
    assert_eq!(waiting.await.unwrap(), ErrorKind::Closed);
    assert_eq!(world.wait_stopped().await.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_what_is_pending_are_bounded() {
    let store = Scripted::new([Act::Delay(Duration::from_secs(9))]);
    let config = ControllerConfig {
        pending_records_max: 3,
        ..ControllerConfig::default()
    };
    let (controller, world) = start(&store, config).await;
    for _ in 0..2 {
        for _ in 0..3 {
            world.record(event()).unwrap();
        }
        let marks: Vec<_> = (0..3).map(|_| world.submit(Vec::new()).unwrap()).collect();
        let refused = world.submit(Vec::new()).unwrap_err().error;
        assert_eq!(refused.kind(), ErrorKind::Backpressure, "{refused}");
        for mark in marks {
            mark.await.unwrap();
        }
    }
    controller.shutdown().await.unwrap();
}
