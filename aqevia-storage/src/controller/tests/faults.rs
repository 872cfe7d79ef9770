//! What the controller does about each kind of error.

use super::*;
use crate::{Change, Sequence};

fn text(payload: &str) -> WorldRecord {
    WorldRecord::new(arda(), Payload::Json(payload.into()), 0)
}

/// The payloads of the log of the world, with those of dead letters.
async fn log(store: &Scripted) -> Vec<(String, String)> {
    let arda = arda();
    let page = store.memory.log(&arda, LogRange::ALL, Limit::default());
    let rows = page.await.unwrap().items.into_iter();
    let rows = rows.map(|row| {
        let payload = row.record.payload().unwrap().as_bytes().to_vec();
        let payload = String::from_utf8(payload).unwrap();
        (row.record.collection.to_string(), payload)
    });
    rows.collect()
}

/// The payloads without those of dead letters.
async fn payloads(store: &Scripted) -> Vec<String> {
    let rows = log(store).await.into_iter();
    let rows = rows.filter(|(collection, _)| collection == "records");
    rows.map(|(_, payload)| payload).collect()
}

fn bad(record: &WorldRecord) -> Option<ErrorKind> {
    let payload = record.payload().map(Payload::as_bytes);
    let ours = record.collection == Collection::dead_letters();
    (!ours && payload.is_some_and(|bytes| bytes.starts_with(b"bad"))).then_some(ErrorKind::Invalid)
}

#[tokio::test(start_paused = true)]
async fn a_group_that_the_store_refuses_fails_alone() {
    for culprit in 0..7 {
        let store = Scripted::refusing(bad);
        let (controller, world) = start(&store, ControllerConfig::default()).await;
        let texts = (0..7).map(|index| match index == culprit {
            true => "bad".to_owned(),
            false => index.to_string(),
        });
        let texts: Vec<String> = texts.collect();
        let tickets = texts.iter().map(|payload| {
            let group = vec![text("1st of a group"), text(payload)];
            world.submit(group).unwrap()
        });
        let tickets: Vec<Ticket> = tickets.collect();
        for (index, ticket) in tickets.into_iter().enumerate() {
            let kind = ticket.await.map_err(|error| error.kind());
            assert_eq!(kind.err(), (index == culprit).then_some(ErrorKind::Invalid));
        }
        let good = texts.iter().filter(|payload| *payload != "bad").cloned();
        let good = good.flat_map(|payload| ["1st of a group".to_owned(), payload]);
        assert_eq!(payloads(&store).await, good.collect::<Vec<_>>());
        assert!(world.stopped().is_none());
        assert!(store.batches().len() <= 12, "{}", store.batches().len());
        controller.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_record_that_nobody_waits_for_becomes_a_dead_letter() {
    let store = Scripted::refusing(bad);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    for payload in ["1", "bad \"one\"", "2"] {
        world.record(text(payload)).unwrap();
    }
    world
        .record(WorldRecord::new(arda(), b"bad\0".to_vec(), 5))
        .unwrap();
    controller.flush().await.unwrap();
    let log = log(&store).await;
    let letters: Vec<_> = log
        .iter()
        .filter(|(name, _)| name == "_dead_letters")
        .collect();
    let [first, second] = letters.as_slice() else {
        panic!("{log:?}")
    };
    assert!(first.1.contains(r#""json":"bad \"one\"""#), "{first:?}");
    assert!(first.1.contains("scripted"), "{first:?}");
    assert!(second.1.contains(r#""bytes":"62616400""#), "{second:?}");
    assert!(second.1.contains(r#""timestamp":5"#), "{second:?}");
    assert_eq!(payloads(&store).await, ["1", "2"]);
    assert_eq!(controller.stats().dead_letters, 2);
    assert_eq!(controller.stats().pending_records, 0);
    assert_eq!(controller.stats().pending_bytes, 0);
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_world_whose_dead_letters_are_refused_stops() {
    let store = Scripted::refusing(|_| Some(ErrorKind::Invalid));
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.record(text("1")).unwrap();
    let answered = world.submit(vec![text("2")]).unwrap();
    assert_eq!(world.wait_stopped().await.kind(), ErrorKind::Invalid);
    assert_eq!(answered.await.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(store.batches().len() < 6);
    let left = world.take_unpersisted();
    assert_eq!(left.in_doubt, []);
    assert!(left.pending.contains(&text("2")), "{left:?}");
    assert_eq!(controller.exposure().records, 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_does_not_write_dead_letters() {
    let (_controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
    let change = Change::Event {
        key: None,
        payload: Payload::Json("1".into()),
    };
    let letter = WorldRecord::of(&arda(), &Collection::dead_letters(), change, 0);
    let refused = world.record(letter).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_room_is_tried_slowly_and_the_engine_goes_on() {
    let store = Scripted::new([Act::Fail(ErrorKind::Full), Act::Fail(ErrorKind::Full)]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let ticket = world.submit(vec![event()]).unwrap();
    let mut health = controller.health();
    health
        .wait_for(|health| !health.is_healthy())
        .await
        .unwrap();
    for _ in 0..100 {
        world.record(event()).unwrap();
    }
    ticket.await.unwrap();
    let times: Vec<Instant> = store.batches().iter().map(|(at, _)| *at).collect();
    for pair in times[..3].windows(2) {
        assert!(
            pair[1] - pair[0] >= Duration::from_millis(2500),
            "{times:?}"
        );
    }
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn health_tells_since_when_and_why_and_leaves_by_itself() {
    let fail = || Act::Fail(ErrorKind::Unavailable);
    let store = Scripted::new([fail(), fail(), fail()]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let mut health = controller.health();
    let begin = Instant::now();
    let ticket = world.commit(vec![event()]);
    let watch = async {
        let degraded = |health: &Health| matches!(health, Health::Degraded { attempts: 3, .. });
        let third = health.wait_for(degraded).await.unwrap().clone();
        let Health::Degraded { since, cause, .. } = third else {
            panic!("{third:?}")
        };
        assert_eq!(since, begin);
        assert!(cause.to_string().contains("scripted"), "{cause}");
        assert!(!controller.stats().ready);
        health.wait_for(Health::is_healthy).await.unwrap();
    };
    let (receipt, ()) = tokio::join!(ticket, watch);
    receipt.unwrap();
    assert!(controller.stats().ready);
    assert_eq!(controller.stats().retries, 3);
}

#[tokio::test(start_paused = true)]
async fn a_damaged_store_is_not_written_any_more() {
    for kind in [
        ErrorKind::Corrupt,
        ErrorKind::Incompatible,
        ErrorKind::Closed,
    ] {
        let store = Scripted::new([Act::Fail(kind)]);
        let (controller, world) = start(&store, ControllerConfig::default()).await;
        let other = WorldId::new("other").unwrap();
        let other = controller.open_world(other).await.unwrap();
        let mut health = controller.health();
        assert_eq!(world.commit(vec![event()]).await.unwrap_err().kind(), kind);
        let stopped = |health: &Health| matches!(health, Health::Stopped { .. });
        health.wait_for(stopped).await.unwrap();
        let refused = other.submit(vec![WorldRecord::new(other.id().clone(), vec![], 0)]);
        assert_eq!(refused.unwrap_err().error.kind(), kind);
        let again = controller.open_world(arda()).await;
        assert_eq!(again.unwrap_err().kind(), kind);
        assert_eq!(store.batches().len(), 1);
        assert_eq!(controller.shutdown().await.unwrap_err().error.kind(), kind);
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_is_given_up_when_its_budget_is_used_up() {
    let fails = (0..1000).map(|_| Act::Fail(ErrorKind::Ambiguous));
    let store = Scripted::new(fails);
    let config = ControllerConfig {
        retry_budget: Some(Duration::from_secs(60)),
        ..ControllerConfig::default()
    };
    let (_controller, world) = start(&store, config).await;
    let begin = Instant::now();
    let error = world.commit(vec![event()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Ambiguous);
    let passed = begin.elapsed();
    assert!(passed >= Duration::from_secs(60), "{passed:?}");
    assert!(passed < Duration::from_secs(70), "{passed:?}");
    assert_eq!(world.take_unpersisted().in_doubt, [event()]);
}

#[tokio::test(start_paused = true)]
async fn the_owner_of_a_fenced_world_learns_it_while_it_waits() {
    let store = Scripted::new([]);
    let (_controller, world) = start(&store, ControllerConfig::default()).await;
    let owner = Owner::new("another").unwrap();
    let schema = Fingerprint([0; 32]);
    store.memory.claim(&arda(), &owner, schema).await.unwrap();
    let watcher = world.clone();
    let learnt = tokio::spawn(async move { watcher.wait_stopped().await.kind() });
    world.record(event()).unwrap();
    assert_eq!(learnt.await.unwrap(), ErrorKind::Fenced);
    assert_eq!(world.wait_stopped().await.kind(), ErrorKind::Fenced);
}

fn degraded() -> ControllerConfig {
    ControllerConfig {
        start_degraded: true,
        ..ControllerConfig::default()
    }
}

async fn start_away(store: &Arc<Scripted>) -> StorageController {
    let store = Arc::clone(store) as Arc<dyn StorageBackend>;
    StorageController::start_here(store, degraded())
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn worlds_are_usable_while_the_store_is_away() {
    let store = Scripted::away(5);
    let controller = start_away(&store).await;
    assert!(controller.store_info().is_none());
    let world = controller.adopt_world(arda(), Sequence::ZERO).unwrap();
    assert!(world.claim().is_none());
    let ticket = world.submit(vec![event()]).unwrap();
    let mut health = controller.health();
    assert!(!health.borrow().is_healthy());
    let opened = controller.open_world(WorldId::new("other").unwrap()).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Unavailable);
    let again = controller.adopt_world(arda(), Sequence::ZERO);
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Invalid);

    assert_eq!(ticket.await.unwrap().first, Sequence::FIRST);
    health.wait_for(Health::is_healthy).await.unwrap();
    assert!(controller.store_info().is_some());
    assert_eq!(world.claim().unwrap().epoch.get(), 1);
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_adopted_world_that_another_has_written_to_is_fenced_and_left_alone() {
    let store = Scripted::away(3);
    let owner = Owner::new("another").unwrap();
    let memory =
        StorageController::start_here(Arc::new(store.memory.reopen()), ControllerConfig::default());
    let other = memory.await.unwrap();
    let theirs = other.open_world(arda()).await.unwrap();
    theirs.commit(vec![text("theirs")]).await.unwrap();

    let controller = start_away(&store).await;
    let world = controller.adopt_world(arda(), Sequence::ZERO).unwrap();
    let ticket = world.submit(vec![text("ours")]).unwrap();
    assert_eq!(ticket.await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(world.take_unpersisted().pending, [text("ours")]);
    // They were not fenced by us.
    theirs.commit(vec![text("theirs")]).await.unwrap();
    assert_eq!(payloads(&store).await, ["theirs", "theirs"]);

    // A world that stands where the engine believes is claimed.
    let second = controller
        .adopt_world(arda(), Sequence::new(2).unwrap())
        .unwrap();
    second.commit(vec![text("ours")]).await.unwrap();
    assert_eq!(payloads(&store).await, ["theirs", "theirs", "ours"]);
    let _ = owner;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_comes_is_reported_at_shutdown() {
    let store = Scripted::away(1_000_000);
    let controller = start_away(&store).await;
    let world = controller.adopt_world(arda(), Sequence::ZERO).unwrap();
    world.record(event()).unwrap();
    let left = controller.shutdown().await.unwrap_err();
    assert_eq!(left.pending, [event()]);
    assert_eq!(left.in_doubt, []);
}

#[tokio::test(start_paused = true)]
async fn exposure_is_what_a_crash_would_lose() {
    let store = Scripted::new([Act::Fail(ErrorKind::Unavailable)]);
    let config = ControllerConfig {
        exposure_max: Some(Duration::from_millis(1010)),
        ..ControllerConfig::default()
    };
    let (controller, world) = start(&store, config).await;
    assert_eq!(controller.exposure(), Exposure::default());
    let bytes = event().bytes();
    world.record(event()).unwrap();
    tokio::time::advance(Duration::from_millis(500)).await;
    world.record(event()).unwrap();
    let exposure = controller.exposure();
    assert_eq!((exposure.records, exposure.bytes), (2, 2 * bytes));
    assert_eq!(exposure.oldest, Some(Duration::from_millis(500)));
    // The flush of the interval fails, and the bound is passed.
    tokio::time::sleep(Duration::from_millis(511)).await;
    let refused = world.record(event()).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Backpressure);
    assert!(refused.error.to_string().contains("1010 ms"), "{refused}");
    controller.flush().await.unwrap();
    assert_eq!(controller.exposure(), Exposure::default());
    world.record(event()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_closed_world_is_saved_and_lets_go() {
    let store = Scripted::new([Act::Fail(ErrorKind::Unavailable)]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.record(event()).unwrap();
    controller.close_world(&arda()).await.unwrap();
    assert_eq!(head(&controller).await, 1);
    let refused = world.record(event()).unwrap_err();
    assert_eq!(refused.error.kind(), ErrorKind::Closed);
    assert_eq!(
        controller.record(event()).unwrap_err().error.kind(),
        ErrorKind::Invalid
    );
    controller.close_world(&arda()).await.unwrap();
    let again = controller.open_world(arda()).await.unwrap();
    assert_eq!(again.opened_at().get(), 1);
    assert_eq!(again.claim().unwrap().epoch.get(), 2);
    controller.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn commits_at_once_share_parts() {
    let store = Scripted::new([Act::Delay(Duration::from_millis(10))]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let commits = (0..64).map(|_| {
        let world = world.clone();
        tokio::spawn(async move { world.commit(vec![event()]).await })
    });
    for commit in commits.collect::<Vec<_>>() {
        commit.await.unwrap().unwrap();
    }
    assert_eq!(head(&controller).await, 64);
    assert!(store.batches().len() <= 2, "{}", store.batches().len());
}

#[tokio::test(start_paused = true)]
async fn intervals_of_zero_flush_and_fail_without_spinning() {
    let config = ControllerConfig {
        flush_interval: Duration::ZERO,
        auto_save_interval: Duration::ZERO,
        ..ControllerConfig::default()
    };
    let store = Scripted::new([Act::Fail(ErrorKind::Unavailable)]);
    let (controller, world) = start(&store, config).await;
    let begin = Instant::now();
    world.submit(vec![event()]).unwrap().await.unwrap();
    assert!(begin.elapsed() < Duration::from_millis(60));
    assert_eq!(store.batches().len(), 2);
    controller.shutdown().await.unwrap();

    for (first, longest) in [
        (Duration::ZERO, Duration::MAX),
        (Duration::MAX, Duration::ZERO),
    ] {
        let config = ControllerConfig {
            retry_first: first,
            retry_longest: longest,
            ..ControllerConfig::default()
        };
        assert_eq!(config.check().unwrap_err().kind(), ErrorKind::Invalid);
    }
    let config = ControllerConfig {
        exposure_max: Some(Duration::from_secs(1)),
        ..ControllerConfig::default()
    };
    let error = config.check().unwrap_err().to_string();
    assert!(error.contains("flush_interval"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_befalls_a_world_and_its_store_is_logged() {
    let log = Log::default();
    let _guard = log.listen();
    let store = Scripted::new([Act::Fail(ErrorKind::Unavailable)]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    world.commit(vec![event()]).await.unwrap();
    let owner = Owner::new("another").unwrap();
    let schema = crate::Schema::new().fingerprint();
    store.memory.claim(&arda(), &owner, schema).await.unwrap();
    world.commit(vec![event()]).await.unwrap_err();
    drop(world.take_unpersisted());
    controller.open_world(arda()).await.unwrap();
    controller.shutdown().await.unwrap();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let told = log.lines().map(|line| {
        let (_, told) = line.split_once("aqevia_storage::controller: ").unwrap();
        told.split([':', ' ']).take(2).collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "world created",
            "the store",
            "degraded cause=scripted",
            "a part",
            "healthy again",
            "world fenced",
            "world opened",
        ],
        "{log}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_trouble_after_five_seconds() {
    let store = Scripted::new([Act::Delay(Duration::from_secs(60))]);
    let (controller, world) = start(&store, ControllerConfig::default()).await;
    let begin = Instant::now();
    let commit = tokio::spawn(async move { world.commit(vec![event()]).await });
    let mut health = controller.health();
    let degraded = health.wait_for(|health| !health.is_healthy()).await;
    let degraded = degraded.unwrap().clone();
    let Health::Degraded { since, cause, .. } = degraded else {
        panic!("it has not stopped")
    };
    assert_eq!((since, begin.elapsed()), (begin, Duration::from_secs(5)));
    assert!(cause.to_string().contains("has not answered"), "{cause}");
    commit.await.unwrap().unwrap();
    assert!(health.wait_for(Health::is_healthy).await.is_ok());
    assert_eq!(begin.elapsed(), Duration::from_secs(60));
    controller.shutdown().await.unwrap();
}
