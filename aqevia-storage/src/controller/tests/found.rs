//! What the simulation found, each as the shortest way to it.

use std::sync::mpsc;

use super::*;

fn refuses_bad(record: &WorldRecord) -> Option<ErrorKind> {
    let ours = record.collection == Collection::dead_letters();
    let payload = record.payload().map(Payload::as_bytes);
    (!ours && payload == Some(b"bad")).then_some(ErrorKind::Invalid)
}

fn ship(key: &str, payload: &str) -> WorldRecord {
    let (ships, key) = (ships(), Key::new(key).unwrap());
    WorldRecord::put(&arda(), &ships, key, payload.as_bytes().to_vec(), 0)
}

fn ships() -> Collection {
    Collection::new("ships").unwrap()
}

/// An engine in whose memory every ship is new.
#[derive(Default)]
struct Shipyard {
    /// Panics so many times before it takes what is dirty.
    panics: AtomicU64,
    /// After the cut it tells of it, and waits for a word.
    waits: Option<(mpsc::Sender<()>, Mutex<mpsc::Receiver<()>>)>,
}

impl StateSource for Shipyard {
    fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let left = |panics: u64| panics.checked_sub(1);
        let panics = self
            .panics
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        assert!(panics.is_err(), "on purpose");
        let taken = cut.take();
        if let Some((cut, word)) = &self.waits {
            cut.send(()).unwrap();
            let _ = word.lock().unwrap().recv();
        }
        let captured = taken.into_iter();
        let captured = captured.map(|ship| Captured::put(ship, 0, || Ok(b"new".to_vec().into())));
        captured.collect()
    }
}

/// What the store has of each ship.
async fn stored(store: &Scripted) -> Vec<String> {
    let world = arda();
    let page = store
        .memory
        .state(&world, StateRange::all(), Limit::default());
    let rows = page.await.unwrap().items.into_iter();
    let rows = rows.map(|row: StateRow| {
        let payload = String::from_utf8_lossy(row.payload.as_bytes()).into_owned();
        format!("{}={payload}", row.key)
    });
    rows.collect()
}

fn mark(world: &World, key: &str) {
    world.mark_dirty(&ships(), &Key::new(key).unwrap()).unwrap();
}

async fn fence(store: &Scripted) {
    let owner = Owner::new("another").unwrap();
    let world = arda();
    let claim = store.memory.claim(&world, &owner, Fingerprint([0; 32]));
    claim.await.unwrap();
}

/// Lets all that is ready happen, without letting time pass.
async fn turns() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_group_fails_alone_though_a_capture_joined_it_to_others() {
    let store = Scripted::refusing(refuses_bad);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let source = Arc::new(Shipyard::default());
    controller.set_state_source(source).unwrap();
    let good = world.submit(vec![ship("a", "good")]).unwrap();
    let bad = world.submit(vec![ship("b", "bad")]).unwrap();
    mark(&world, "c");
    assert_eq!(world.save().await.unwrap(), 1);
    good.await.unwrap();
    assert_eq!(bad.await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(stored(&store).await, ["a=good", "c=new"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_captured_comes_after_a_part_that_was_refused_meanwhile() {
    let store = Arc::new(Scripted {
        refuses: Some(refuses_bad),
        script: Mutex::new([Act::Delay(Duration::from_secs(1))].into()),
        ..Scripted::default()
    });
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let (cut, cuts) = mpsc::channel();
    let (word, waits) = mpsc::channel();
    let source = Shipyard {
        waits: Some((cut, Mutex::new(waits))),
        ..Shipyard::default()
    };
    controller.set_state_source(Arc::new(source)).unwrap();
    world.record(ship("b", "bad")).unwrap();
    let _in_flight = world.hand_over(vec![ship("c", "1")], Urgency::Now).unwrap();
    turns().await;
    world.record(ship("a", "old")).unwrap();
    mark(&world, "a");
    let saving = world.begin_save().unwrap();
    turns().await;
    cuts.recv().unwrap();
    // It tells the loop of the cut, while the part is still in flight.
    let _again = world.begin_save().unwrap();
    turns().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    turns().await;
    drop(word);
    assert_eq!(saving.finish().await.unwrap(), 1);
    assert_eq!(stored(&store).await, ["a=new", "c=1"]);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_panics_before_the_cut_is_asked_again() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let source = Shipyard {
        panics: AtomicU64::new(2),
        ..Shipyard::default()
    };
    controller.set_state_source(Arc::new(source)).unwrap();
    mark(&world, "a");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(stored(&store).await, ["a=new"]);
    assert_eq!(controller.exposure(), Exposure::default());
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_what_was_not_taken_from_the_new_handle() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    fence(&store).await;
    world.commit(vec![put("a")]).await.unwrap_err();
    let _again = controller.open_world(arda()).await.unwrap();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.pending, [put("a")]);
    assert!(
        left.to_string().contains("1 records not persisted"),
        "{left}"
    );
}

#[tokio::test(start_paused = true)]
async fn shutdown_returns_what_was_dirty_in_a_world_that_was_stopped() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    mark(&world, "a");
    fence(&store).await;
    world.commit(vec![put("a")]).await.unwrap_err();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!((left.dirty.len(), left.pending.len()), (1, 1));
    assert_eq!(left.error.kind(), ErrorKind::Fenced);
}

#[tokio::test(start_paused = true)]
async fn what_was_dirty_in_a_stopped_world_is_taken_once() {
    for again in [false, true] {
        let store = Scripted::new([]);
        let (controller, world) = start(&store, ControllerConfig::default()).await;
        mark(&world, "a");
        fence(&store).await;
        world.commit(vec![put("a")]).await.unwrap_err();
        let world = match again {
            true => controller.open_world(arda()).await.unwrap(),
            false => world,
        };
        let left = world.take_unpersisted();
        assert_eq!((left.dirty.len(), left.pending.len()), (1, 1));
        controller.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_accepted_while_its_world_stopped_is_logged() {
    let log = Log::default();
    let _guard = log.listen();
    let store = Scripted::new([Act::Delay(Duration::from_millis(5))]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    fence(&store).await;
    let _first = world.hand_over(vec![put("a")], Urgency::Now).unwrap();
    turns().await;
    world.record(put("b")).unwrap();
    assert_eq!(world.wait_stopped().await.kind(), ErrorKind::Fenced);
    drop(controller);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lost = log.matches("unpersisted=1 records pending, 0 in doubt");
    assert_eq!(lost.count(), 2, "{log}");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_world_is_not_exposed() {
    let store = Scripted::away(1);
    let config = ControllerConfig {
        start_degraded: true,
        ..ControllerConfig::default()
    };
    let backend = Arc::clone(&store) as Arc<dyn StorageBackend>;
    let controller = StorageController::start_here(backend, config)
        .await
        .unwrap();
    controller
        .set_state_source(Arc::new(Shipyard::default()))
        .unwrap();
    // The new world does not stand there.
    let world = controller.adopt_world(arda(), Sequence::FIRST).unwrap();
    world.record(put("a")).unwrap();
    mark(&world, "a");
    assert_eq!(world.wait_stopped().await.kind(), ErrorKind::Fenced);
    assert_eq!(controller.exposure(), Exposure::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(controller.exposure(), Exposure::default());
}

#[tokio::test(start_paused = true)]
async fn a_flush_of_nothing_is_not_exposed() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let mark = world.submit(Vec::new()).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(controller.exposure(), Exposure::default());
    mark.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_in_the_place_of_one_that_was_waited_for_becomes_a_dead_letter() {
    let store = Scripted::refusing(refuses_bad);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let older = world.submit(vec![ship("a", "good")]).unwrap();
    world.record(ship("a", "bad")).unwrap();
    assert_eq!(older.await.unwrap_err().kind(), ErrorKind::Invalid);
    controller.flush().await.unwrap();
    assert_eq!(controller.stats().dead_letters, 1);
    let usage = controller.usage(&arda()).await.unwrap();
    assert_eq!(usage.log_records, 1);
}

#[tokio::test(start_paused = true)]
async fn a_world_that_stops_while_its_source_fails_is_not_exposed() {
    let store = Scripted::new([]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let source = Shipyard {
        panics: AtomicU64::new(u64::MAX),
        ..Shipyard::default()
    };
    controller.set_state_source(Arc::new(source)).unwrap();
    mark(&world, "a");
    fence(&store).await;
    world.save().await.unwrap_err();
    world.commit(vec![put("a")]).await.unwrap_err();
    assert_eq!(controller.exposure(), Exposure::default());
}

#[tokio::test(start_paused = true)]
async fn what_was_marked_again_while_it_was_captured_is_reported_once() {
    let store = Scripted::new([Act::Delay(Duration::from_secs(1))]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let (cut, cuts) = mpsc::channel();
    let (word, waits) = mpsc::channel();
    let source = Shipyard {
        waits: Some((cut, Mutex::new(waits))),
        ..Shipyard::default()
    };
    controller.set_state_source(Arc::new(source)).unwrap();
    let _in_flight = world.hand_over(vec![put("c")], Urgency::Now).unwrap();
    turns().await;
    fence(&store).await;
    mark(&world, "a");
    let _saving = world.begin_save().unwrap();
    turns().await;
    cuts.recv().unwrap();
    mark(&world, "a");
    tokio::time::advance(Duration::from_secs(1)).await;
    turns().await;
    assert!(world.stopped().is_some());
    drop(word);
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.dirty.len(), 1);
}
