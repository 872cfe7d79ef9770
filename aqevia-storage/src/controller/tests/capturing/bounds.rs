//! Captures of more than fits a part or the buffer, and how long what is dirty has been.

use super::*;

fn small(records_max: usize) -> ControllerConfig {
    ControllerConfig {
        batch_records_max: records_max,
        ..ControllerConfig::default()
    }
}

/// Changes so many entities.
fn set_many(play: &Play, count: u32) {
    for number in 0..count {
        play.set(&format!("entity-{number}"), number);
    }
}

#[tokio::test(start_paused = true)]
async fn a_save_takes_all_that_is_dirty_however_many_captures_that_takes() {
    for config in [
        small(10),
        ControllerConfig {
            pending_records_max: 10,
            ..ControllerConfig::default()
        },
    ] {
        let play = Play::with(Behaviour::Good, [], config).await;
        set_many(&play, 95);
        assert_eq!(play.controller.save_all().await.unwrap().entities, 95);
        assert_eq!(play.stored().await.len(), 95);
        assert_eq!(play.controller.exposure(), Exposure::default());

        set_many(&play, 95);
        play.controller.close_world(&arda()).await.unwrap();
        assert_eq!(play.controller.stats().captured, 190);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_and_the_interval_take_all_that_is_dirty_as_well() {
    for ends in [true, false] {
        let play = Play::with(Behaviour::Good, [], small(10)).await;
        set_many(&play, 95);
        match ends {
            true => play.controller.shutdown().await.unwrap(),
            false => tokio::time::sleep(Duration::from_secs(31)).await,
        }
        assert_eq!(play.stored().await.len(), 95);
    }
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_never_fits_keeps_no_other_back() {
    let config = ControllerConfig {
        // As much as the number takes with its names, and no more.
        pending_bytes_max: 20,
        ..ControllerConfig::default()
    };
    let play = Play::with(Behaviour::Good, [], config).await;
    for name in ["a", "b", "a name that does not fit", "c"] {
        play.set(name, 1);
    }
    let error = play.world.save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(
        error.to_string().contains("a name that does not"),
        "{error}"
    );
    play.world.save().await.unwrap_err();
    assert_eq!(play.stored().await, ["a=1", "b=1", "c=1"]);
    assert_eq!(play.controller.exposure().dirty, 1);
}

#[tokio::test(start_paused = true)]
async fn as_much_of_a_capture_is_taken_as_the_buffer_has_room_for() {
    let config = ControllerConfig {
        pending_records_max: 10,
        ..ControllerConfig::default()
    };
    let store = [Act::Delay(Duration::from_secs(5))];
    let play = Play::with(Behaviour::Good, store, config).await;
    for _ in 0..6 {
        play.world.record(event()).unwrap();
    }
    let commit = play.world.submit(Vec::new()).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    set_many(&play, 8);
    let error = play.world.save().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure, "{error}");
    commit.await.unwrap();
    assert_eq!(play.controller.stats().captured, 4);
    play.world.save().await.unwrap();
    assert_eq!(play.stored().await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn what_a_source_does_not_give_grows_old_until_nothing_more_is_accepted() {
    for behaviour in [
        Behaviour::PanicsWithItsLock,
        Behaviour::DoesNotEncode("a"),
        Behaviour::NeverCuts,
    ] {
        let config = ControllerConfig {
            exposure_max: Some(Duration::from_secs(20)),
            auto_save_interval: Duration::from_secs(1),
            ..ControllerConfig::default()
        };
        let play = Play::with(behaviour, [], config).await;
        let begin = Instant::now();
        play.set("a", 1);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(play.controller.exposure().oldest, Some(begin.elapsed()));
            play.world.record(put("b")).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = play.world.record(put("b")).unwrap_err().error;
        assert_eq!(refused.kind(), ErrorKind::Backpressure);
        assert!(refused.to_string().contains("dirty"), "{refused}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_captured_is_as_old_as_its_mark_behind_younger_records() {
    let away = [0; 40].map(|_| Act::Fail(ErrorKind::Unavailable));
    let play = Play::with(Behaviour::Good, away, ControllerConfig::default()).await;
    let begin = Instant::now();
    play.set("a", 1);
    for second in 1..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second > 20 {
            play.world.record(event()).unwrap();
        }
        assert_eq!(play.controller.exposure().oldest, Some(begin.elapsed()));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_marked_in_a_stopped_world_and_counted_for_ever() {
    let play = Play::new(Behaviour::Good).await;
    play.set("a", 1);
    let theirs = start_over(&play.store).await;
    play.world.commit(vec![event()]).await.unwrap_err();
    assert_eq!(play.controller.exposure(), Exposure::default());
    // As a thread that had seen the world open would.
    let shared = play.world.shared();
    let marked = shared.lock_dirty().mark(&hulls(), &[&key("b")]);
    assert_eq!(marked.unwrap_err().kind(), ErrorKind::Closed);
    let saved = play.world.save().await.unwrap_err();
    assert_eq!(saved.kind(), ErrorKind::Fenced);
    theirs.shutdown().await.unwrap();
}

/// Another controller, which claims the world.
async fn start_over(store: &Arc<Scripted>) -> StorageController {
    let (controller, _) = start(store, ControllerConfig::default()).await;
    controller
}
