//! What begins a turn of the loop, and that worlds which are open and idle cost it nothing.

use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::controller::flush::FlushLoop;
use crate::controller::inbox::Message;
use crate::controller::lane::{Lane, LaneId};
use crate::controller::shared::WorldShared;

fn flush_loop() -> FlushLoop {
    let config = ControllerConfig {
        flush_interval: Duration::ZERO,
        ..ControllerConfig::default()
    };
    let inbox = Arc::new(Inbox::new(config));
    let (outcome, _) = watch::channel(None);
    FlushLoop::new(Scripted::new([]), inbox, Arc::default(), outcome, None)
}

/// Claims a world, and tells the loop of it.
async fn open(flush_loop: &FlushLoop, lane: LaneId) -> World {
    let FlushLoop { store, inbox, .. } = flush_loop;
    let id = WorldId::new(format!("world-{lane}")).unwrap();
    let schema = Fingerprint([0; 32]);
    let claim = store.claim(&id, &inbox.config().owner, schema).await;
    let shared = Arc::new(WorldShared::new(id, lane, Sequence::ZERO));
    shared.set_claim(claim.unwrap());
    let opened = Message::Open(Box::new(Lane::new(Arc::clone(&shared))));
    inbox.tell(opened).unwrap();
    World::new(shared, Arc::clone(inbox))
}

/// How many worlds a turn looks at, and how many it does not.
fn counts(flush_loop: &FlushLoop) -> (usize, usize) {
    (flush_loop.lanes.len(), flush_loop.resting.len())
}

/// Begins a commit, and gives up the answer.
async fn commit(world: &World) {
    let record = WorldRecord::new(world.id().clone(), Payload::Json("{}".into()), 0);
    let answered = timeout(Duration::ZERO, world.commit(vec![record])).await;
    assert!(answered.is_err(), "the loop does not run");
}

/// Whether the loop was woken since this was asked last.
async fn was_woken(flush_loop: &FlushLoop) -> bool {
    let woken = timeout(Duration::ZERO, flush_loop.inbox.woken());
    woken.await.is_ok()
}

#[tokio::test(start_paused = true)]
async fn commits_that_one_flush_takes_wake_the_loop_once() {
    let mut flush_loop = flush_loop();
    let policy = SchemaPolicy::default();
    flush_loop.store.init(policy).await.unwrap();
    let world = open(&flush_loop, 0).await;
    flush_loop.act();
    assert!(was_woken(&flush_loop).await, "by the world");
    for turn in ["idle", "a flush is under way"] {
        for first in [true, false, false] {
            commit(&world).await;
            assert_eq!(was_woken(&flush_loop).await, first, "{turn}");
        }
        flush_loop.act();
        assert!(flush_loop.flushing.is_some(), "{turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_of_the_loop_puts_worlds_aside_for_which_there_is_nothing_to_do() {
    let mut flush_loop = flush_loop();
    let policy = SchemaPolicy::default();
    flush_loop.store.init(policy).await.unwrap();
    let mut worlds = Vec::new();
    for lane in 0..100 {
        worlds.push(open(&flush_loop, lane).await);
    }
    flush_loop.act();
    assert_eq!(counts(&flush_loop), (0, 100));
    let record = WorldRecord::new(worlds[7].id().clone(), Payload::Json("{}".into()), 0);
    worlds[7].record(record).unwrap();
    flush_loop.act();
    assert_eq!(counts(&flush_loop), (1, 99));
    while flush_loop.flushing.is_some() {
        flush_loop.take_event().await;
    }
    flush_loop.act();
    assert_eq!(counts(&flush_loop), (0, 100));
}
