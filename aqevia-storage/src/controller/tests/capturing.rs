//! How the state of dirty entities gets into the store.

use std::collections::BTreeMap;

mod bounds;

use super::*;
use crate::StateRow;

/// An engine whose state is a number for each key.
#[derive(Default)]
struct Game {
    numbers: Mutex<BTreeMap<Key, u32>>,
    asked: Mutex<Vec<usize>>,
    behaviour: Behaviour,
}

#[derive(Default)]
enum Behaviour {
    #[default]
    Good,
    PanicsOnce(std::sync::atomic::AtomicBool),
    PanicsWithItsLock,
    GivesAnother,
    ForgetsOne,
    DoesNotEncode(&'static str),
    /// Waits for a word after the cut.
    Blocks(Mutex<std::sync::mpsc::Receiver<()>>),
    NeverCuts,
}

fn hulls() -> Collection {
    Collection::new("hulls").unwrap()
}

fn key(key: &str) -> Key {
    Key::new(key).unwrap()
}

impl StateSource for Game {
    fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(self.behaviour, Behaviour::NeverCuts) {
            return Vec::new();
        }
        let mut asked: Vec<_> = cut.take().into_iter().collect();
        asked.sort();
        self.asked.lock().unwrap().push(asked.len());
        match &self.behaviour {
            Behaviour::PanicsOnce(done) if !done.swap(true, Ordering::Relaxed) => {
                panic!("on purpose")
            }
            Behaviour::PanicsWithItsLock => panic!("on purpose"),
            Behaviour::GivesAnother => asked.push(Entity {
                collection: hulls(),
                key: key("uninvited"),
            }),
            Behaviour::ForgetsOne => drop(asked.pop()),
            Behaviour::Blocks(word) => drop(word.lock().unwrap().recv()),
            _ => {}
        }
        let captured = asked.into_iter().map(|entity| {
            let bad = match self.behaviour {
                Behaviour::DoesNotEncode(bad) => entity.key.as_str() == bad,
                _ => false,
            };
            match numbers.get(&entity.key).copied() {
                _ if bad => Captured::put(entity, 7, || panic!("on purpose")),
                Some(number) => Captured::put(entity, 7, move || Payload::json(&number)),
                None if entity.key.as_str() == "uninvited" => {
                    Captured::put(entity, 7, || Payload::json(&0))
                }
                None => Captured::delete(entity, 7),
            }
        });
        captured.collect()
    }
}

/// An engine, its controller, and the store.
struct Play {
    game: Arc<Game>,
    controller: StorageController,
    world: World,
    store: Arc<Scripted>,
}

impl Play {
    async fn new(behaviour: Behaviour) -> Self {
        Self::with(behaviour, [], ControllerConfig::default()).await
    }

    async fn with(
        behaviour: Behaviour,
        script: impl IntoIterator<Item = Act>,
        config: ControllerConfig,
    ) -> Self {
        Self::over(Scripted::new(script), behaviour, config).await
    }

    async fn over(store: Arc<Scripted>, behaviour: Behaviour, config: ControllerConfig) -> Self {
        let game = Arc::new(Game {
            behaviour,
            ..Game::default()
        });
        let (controller, world) = start(&store, config).await;
        controller.set_state_source(Arc::clone(&game) as _).unwrap();
        Self {
            game,
            controller,
            world,
            store,
        }
    }

    /// Changes an entity, under the engine's lock.
    fn set(&self, name: &str, number: u32) {
        let mut numbers = self
            .game
            .numbers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        numbers.insert(key(name), number);
        self.world.mark_dirty(&hulls(), &key(name)).unwrap();
    }

    /// What the store has, as `key=state`.
    async fn stored(&self) -> Vec<String> {
        let arda = arda();
        let page = self
            .store
            .memory
            .state(&arda, StateRange::all(), Limit::default());
        let rows: Vec<StateRow> = page.await.unwrap().items;
        let rows = rows.into_iter().map(|row| {
            let state = String::from_utf8_lossy(row.payload.as_bytes()).into_owned();
            format!("{}={state}", row.key)
        });
        rows.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_dirty_is_captured_once_an_interval_and_a_clean_world_never() {
    let play = Play::new(Behaviour::Good).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(play.game.asked.lock().unwrap().len(), 0);
    let begin = Instant::now();
    for number in 0..5 {
        for name in ["a", "b"] {
            play.set(name, number);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(play.controller.exposure().dirty, 2);
    assert_eq!(play.controller.exposure().oldest, Some(begin.elapsed()));
    tokio::time::sleep(Duration::from_secs(24)).await;
    assert_eq!(play.stored().await, [""; 0]);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(play.stored().await, ["a=4", "b=4"]);
    assert_eq!(*play.game.asked.lock().unwrap(), [2]);
    assert_eq!(play.controller.exposure(), Exposure::default());
    assert_eq!(play.controller.stats().captured, 2);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(play.game.asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_is_gone_is_deleted() {
    let play = Play::new(Behaviour::Good).await;
    play.set("a", 1);
    assert_eq!(play.world.save().await.unwrap(), 1);
    play.game.numbers.lock().unwrap().remove(&key("a"));
    play.world.mark_dirty(&hulls(), &key("a")).unwrap();
    assert_eq!(play.world.save().await.unwrap(), 1);
    assert_eq!(play.stored().await, [""; 0]);
    assert_eq!(play.world.save().await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn saving_all_tells_how_many_worlds_and_entities_were_saved() {
    let play = Play::new(Behaviour::Good).await;
    let other = WorldId::new("other").unwrap();
    let other = play.controller.open_world(other).await.unwrap();
    let clean = WorldId::new("clean").unwrap();
    let _clean = play.controller.open_world(clean).await.unwrap();
    play.set("a", 1);
    play.set("b", 1);
    other.mark_dirty(&hulls(), &key("a")).unwrap();
    let saved = play.controller.save_all().await.unwrap();
    assert_eq!((saved.worlds, saved.entities), (2, 3));
    assert_eq!(play.stored().await, ["a=1", "b=1"]);
    let saved = play.controller.save_all().await.unwrap();
    assert_eq!((saved.worlds, saved.entities), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_capture_and_what_was_accepted_before_it_are_one_group() {
    let play = Play::new(Behaviour::Good).await;
    let before = play.world.submit(vec![event()]).unwrap();
    play.set("a", 1);
    let ticket = play.world.submit(vec![event(), event()]).unwrap();
    play.world.save().await.unwrap();
    assert_eq!(before.await.unwrap().first.get(), 1);
    assert_eq!(ticket.await.unwrap().first.get(), 2);
    let batches = play.store.batches();
    let parts: Vec<usize> = batches
        .iter()
        .map(|(_, b)| b.parts()[0].records().len())
        .collect();
    assert_eq!(parts, [4]);
}

#[tokio::test(start_paused = true)]
async fn such_a_group_is_not_split_by_the_limits_of_a_part() {
    let config = ControllerConfig {
        batch_records_max: 4,
        batch_capacity: 100,
        ..ControllerConfig::default()
    };
    let play = Play::with(Behaviour::Good, [], config).await;
    for _ in 0..2 {
        play.world.record(event()).unwrap();
    }
    play.set("a", 1);
    play.set("b", 1);
    play.world.save().await.unwrap();
    let sizes = |play: &Play| -> Vec<usize> {
        let batches = play.store.batches();
        batches
            .iter()
            .map(|(_, b)| b.parts()[0].records().len())
            .collect()
    };
    assert_eq!(sizes(&play), [4]);
    // More than a part takes is several groups, and all of it gets there.
    for name in ["a", "b", "c", "d", "e", "f"] {
        play.set(name, 2);
    }
    let mut saved = 0;
    while saved < 6 {
        saved += play.world.save().await.unwrap();
    }
    assert_eq!(
        play.stored().await,
        ["a=2", "b=2", "c=2", "d=2", "e=2", "f=2"]
    );
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_changes_after_its_capture_is_dirty_again() {
    let script = [Act::Delay(Duration::from_secs(20))];
    let play = Play::with(Behaviour::Good, script, ControllerConfig::default()).await;
    play.set("a", 1);
    let mut save = std::pin::pin!(play.world.save());
    assert!(
        tokio::time::timeout(Duration::from_secs(1), save.as_mut())
            .await
            .is_err()
    );
    play.set("a", 2);
    assert_eq!(play.controller.exposure().dirty, 1);
    assert_eq!(save.await.unwrap(), 1);
    assert_eq!(play.stored().await, ["a=1"]);
    assert_eq!(play.world.save().await.unwrap(), 1);
    assert_eq!(play.stored().await, ["a=2"]);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_what_is_dirty_stays_a_mark() {
    let fails = (0..40).map(|_| Act::Fail(ErrorKind::Unavailable));
    let play = Play::with(Behaviour::Good, fails, ControllerConfig::default()).await;
    for number in 0..200 {
        play.set("a", number);
        play.set("b", number);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(play.controller.exposure().records <= 2);
    assert!(play.game.asked.lock().unwrap().len() <= 3);
    assert_eq!(
        play.world.save().await.unwrap() + play.world.save().await.unwrap(),
        2
    );
    assert_eq!(play.stored().await, ["a=199", "b=199"]);
}

#[tokio::test(start_paused = true)]
async fn what_a_bad_source_does_not_give_is_dirty_again() {
    let with_numbers = |behaviour| async {
        let play = Play::new(behaviour).await;
        play.set("a", 1);
        play.set("b", 2);
        let error = play.world.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        (play, error.to_string())
    };
    let (play, error) = with_numbers(Behaviour::PanicsOnce(false.into())).await;
    assert!(error.contains("panicked"), "{error}");
    assert_eq!(play.controller.exposure().dirty, 2);
    assert_eq!(play.world.save().await.unwrap(), 2);
    assert_eq!(play.stored().await, ["a=1", "b=2"]);

    let (play, error) = with_numbers(Behaviour::GivesAnother).await;
    assert!(error.contains("uninvited"), "{error}");
    assert_eq!(play.controller.exposure().dirty, 0);
    assert_eq!(play.stored().await, ["a=1", "b=2"]);

    let (play, error) = with_numbers(Behaviour::ForgetsOne).await;
    assert!(error.contains("did not give all"), "{error}");
    assert_eq!(play.controller.exposure().dirty, 1);
    assert_eq!(play.stored().await, ["a=1"]);

    let (play, error) = with_numbers(Behaviour::DoesNotEncode("a")).await;
    assert!(error.contains(r#"key "a" of "hulls""#), "{error}");
    assert_eq!(play.controller.exposure().dirty, 1);
    assert_eq!(play.stored().await, ["b=2"]);

    let (play, error) = with_numbers(Behaviour::NeverCuts).await;
    assert!(error.contains("did not give all"), "{error}");
    assert_eq!(play.controller.exposure().dirty, 2);
}

#[tokio::test]
async fn a_source_that_blocks_holds_up_no_other_world() {
    let (word, wait) = std::sync::mpsc::channel();
    let behaviour = Behaviour::Blocks(Mutex::new(wait));
    let play = Play::with(behaviour, [], ControllerConfig::default()).await;
    let other = WorldId::new("other").unwrap();
    let other = play.controller.open_world(other).await.unwrap();
    play.set("a", 1);
    let saving = play.world.begin_save().unwrap();
    let record = WorldRecord::new(other.id().clone(), vec![], 0);
    other.commit(vec![record]).await.unwrap();
    word.send(()).unwrap();
    assert_eq!(saving.finish().await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_captures_what_is_dirty() {
    let play = Play::new(Behaviour::Good).await;
    play.set("a", 1);
    play.controller.shutdown().await.unwrap();
    assert_eq!(play.stored().await, ["a=1"]);
    let error = play.world.mark_dirty(&hulls(), &key("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn shutdown_reports_what_was_not_captured() {
    let play = Play::new(Behaviour::PanicsWithItsLock).await;
    play.set("a", 1);
    let left = play.controller.shutdown().await.unwrap_err();
    let entity = Entity {
        collection: hulls(),
        key: key("a"),
    };
    assert_eq!(left.dirty, [(arda(), entity)]);
    assert!(left.to_string().contains("1 dirty"), "{left}");

    let (controller, world) = start(&Scripted::new([]), ControllerConfig::default()).await;
    world.mark_dirty(&hulls(), &key("b")).unwrap();
    let error = world.save().await.unwrap_err();
    assert!(error.to_string().contains("set_state_source"), "{error}");
    assert_eq!(controller.shutdown().await.unwrap_err().dirty.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_world_that_is_dirty_is_not_closed_without_being_saved() {
    let play = Play::new(Behaviour::Good).await;
    play.set("a", 1);
    play.controller.close_world(&arda()).await.unwrap();
    assert_eq!(play.stored().await, ["a=1"]);
    let error = play.world.mark_dirty(&hulls(), &key("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(head(&play.controller).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_saved_does_not_count_as_exposed() {
    let config = ControllerConfig {
        exposure_max: Some(Duration::from_secs(5)),
        ..ControllerConfig::default()
    };
    let play = Play::with(Behaviour::Good, [], config).await;
    play.set("a", 1);
    tokio::time::advance(Duration::from_secs(1)).await;
    let exposure = play.controller.exposure();
    assert_eq!(exposure.oldest, Some(Duration::from_secs(1)));
    play.controller.save_all().await.unwrap();
    assert_eq!(play.controller.exposure(), Exposure::default());
    tokio::time::advance(Duration::from_secs(10)).await;
    play.world.record(put("b")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_entity_that_is_refused_fails_alone_wherever_it_is_in_its_capture() {
    let refuses: Refuses = |record| {
        let bad = record
            .payload()
            .is_some_and(|payload| payload.as_bytes() == b"13");
        bad.then_some(ErrorKind::Rejected)
    };
    for refused in ["a", "c", "e"] {
        let play = Play::over(
            Scripted::refusing(refuses),
            Behaviour::Good,
            ControllerConfig::default(),
        )
        .await;
        for name in ["a", "b", "c", "d", "e"] {
            play.set(name, if name == refused { 13 } else { 1 });
        }
        let error = play.world.save().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{error}");
        let stats = play.controller.stats();
        assert_eq!((stats.dead_letters, stats.pending_records), (1, 0));
        assert_eq!(play.stored().await.len(), 4);

        // It was the state that was refused, not the entity.
        play.set(refused, 2);
        assert_eq!(play.world.save().await.unwrap(), 1);
        assert_eq!(play.stored().await.len(), 5);
        play.controller.shutdown().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_captured_is_exposed_since_it_was_marked_until_it_is_stored() {
    let slow = [0; 2].map(|_| Act::Delay(Duration::from_secs(10)));
    let play = Play::with(Behaviour::Good, slow, ControllerConfig::default()).await;
    let begin = Instant::now();
    play.set("a", 1);
    for second in 1..46 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(play.controller.exposure().oldest, Some(begin.elapsed()));
        if second == 25 {
            // It is under way when the state is captured.
            play.world.record(event()).unwrap();
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(play.controller.exposure(), Exposure::default());
}
