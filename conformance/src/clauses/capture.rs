//! The controller and what an engine marks as dirty.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aqevia_storage::{
    Captured, Collection, Cut, Entity, ErrorKind, Key, Payload, StateSource, StorageController,
    World, WorldId, WorldRecord,
};

use super::controller::{config, kept, left, numbered, open_world, start};
use crate::Harness;
use crate::contents::state;
use crate::fault::{Fault, Faulty};
use crate::harness::open;
use crate::sample::world;

/// An engine whose entities are numbers.
#[derive(Default)]
struct Engine(Mutex<State>);

#[derive(Default)]
struct State {
    numbers: BTreeMap<Key, u32>,
    /// How often nothing is given for what is asked.
    sulks: u32,
}

impl Engine {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .expect("no thread panics while it holds the lock")
    }

    /// Changes an entity and marks it, both under the lock.
    fn set(&self, world: &World, name: &str, number: u32) {
        let mut state = self.lock();
        let key = key(name);
        world.mark_dirty(&hulls(), &key).expect("an open world");
        state.numbers.insert(key, number);
    }
}

impl StateSource for Engine {
    fn capture(&self, _: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let mut state = self.lock();
        let asked = cut.take();
        if state.sulks > 0 {
            state.sulks -= 1;
            return Vec::new();
        }
        let given = asked.into_iter().map(|entity| {
            let number = state.numbers.get(&entity.key).copied();
            match number {
                Some(number) => Captured::put(entity, 0, move || Payload::json(&number)),
                None => Captured::delete(entity, 0),
            }
        });
        given.collect()
    }
}

fn hulls() -> Collection {
    Collection::new("hulls").expect("a name")
}

fn key(name: &str) -> Key {
    Key::new(name).expect("a key")
}

/// A controller with a source, and a world.
struct Play {
    engine: Arc<Engine>,
    controller: StorageController,
    faulty: Arc<Faulty>,
    arda: World,
}

impl Play {
    async fn new<H: Harness>(harness: &H) -> Self {
        let (controller, faulty) = start(harness, config()).await;
        let engine = Arc::new(Engine::default());
        let source = Arc::<Engine>::clone(&engine);
        controller
            .set_state_source(source)
            .expect("the first source");
        let arda = open_world(&controller, &world("arda")).await;
        Self {
            engine,
            controller,
            faulty,
            arda,
        }
    }
}

/// What is in the store, once the controller has ended.
async fn numbers<H: Harness>(harness: &H) -> Vec<(String, String)> {
    let rows = state(&*open(harness).await, &world("arda")).await;
    let rows = rows.into_iter().map(|row| {
        let number = String::from_utf8_lossy(row.payload.as_bytes()).into_owned();
        (row.key.to_string(), number)
    });
    rows.collect()
}

fn pair(name: &str, number: &str) -> (String, String) {
    (name.to_owned(), number.to_owned())
}

/// Wherever it stands in a capture, an entity that the store refuses fails alone: whoever saved is
/// told, and there is a dead letter for it.
pub async fn c5_a_refused_entity_fails_alone<H: Harness>(harness: &H) {
    let play = Play::new(harness).await;
    let id = play.arda.id().clone();
    let names = ["a", "b", "c", "d"];
    for (index, (number, refused)) in (1..).zip(names).enumerate() {
        let payload = Payload::json(&number).expect("a number");
        let put = WorldRecord::put(&id, &hulls(), key(refused), payload, 0);
        play.faulty.refuse(put);
        let before = play.arda.submit(numbered(&id, index..index + 1));
        for name in names {
            play.engine.set(&play.arda, name, number);
        }
        let error = play.arda.save().await.expect_err("C5: one is refused");
        assert_eq!(error.kind(), ErrorKind::Invalid, "C5: {error}");
        let before = before.expect("a group").await;
        before.expect("C5: what came before the capture is stored");
        assert_eq!(play.controller.exposure().dirty, 0, "C5: nothing is dirty");
    }
    let flushed = play.controller.flush().await;
    flushed.expect("C5: the dead letters are taken");
    let held = kept(harness, &play.faulty, &id).await;
    let letters = |record: &WorldRecord| record.collection == Collection::dead_letters();
    let (letters, events): (Vec<_>, Vec<_>) = held.into_iter().partition(letters);
    assert_eq!(events, numbered(&id, 0..4), "C5: the records before them");
    let named: Vec<_> = letters.iter().filter_map(WorldRecord::key).collect();
    assert_eq!(named, names.map(key).each_ref(), "C5: a dead letter each");
    play.controller.shutdown().await.expect("`shutdown`");
    let expected = [("a", "4"), ("b", "4"), ("c", "4"), ("d", "3")];
    let expected = expected.map(|(name, number)| pair(name, number));
    assert_eq!(
        numbers(harness).await,
        expected,
        "C5: the others are stored"
    );
}

/// An entity that changes while its capture is on its way to the store is captured again, at
/// shutdown at the latest.
pub async fn c9_a_change_after_its_capture_is_dirty_again<H: Harness>(harness: &H) {
    let play = Play::new(harness).await;
    play.engine.set(&play.arda, "a", 1);
    play.engine.set(&play.arda, "b", 1);
    play.faulty.hold();
    play.faulty.plan(play.arda.id(), [Fault::LoseAnswer]);
    let saving = tokio::spawn({
        let arda = play.arda.clone();
        async move { arda.save().await }
    });
    play.faulty.called(1).await;
    play.engine.set(&play.arda, "a", 2);
    play.engine.lock().numbers.remove(&key("b"));
    play.arda
        .mark_dirty(&hulls(), &key("b"))
        .expect("an open world");
    let dirty = play.controller.exposure().dirty;
    assert_eq!(dirty, 2, "C9: what changed after its capture is dirty");
    play.faulty.release();
    let saved = saving.await.expect("no panic");
    assert_eq!(saved.expect("C9: it is saved"), 2, "C9: two were captured");
    play.controller
        .shutdown()
        .await
        .expect("C9: `shutdown` captures");
    let held = numbers(harness).await;
    assert_eq!(held, [pair("a", "2")], "C9: the newest state is stored");
}

/// What was accepted before the cut and what was captured are in one part, also when it is tried
/// again.
pub async fn c9_a_capture_and_what_came_before_it_are_one_group<H: Harness>(harness: &H) {
    let play = Play::new(harness).await;
    let id = play.arda.id().clone();
    let before = play.arda.submit(numbered(&id, 0..2)).expect("a group");
    play.engine.set(&play.arda, "a", 1);
    play.faulty
        .plan(&id, [Fault::Refuse(ErrorKind::Unavailable)]);
    play.arda.save().await.expect("C9: it is saved");
    before.await.expect("C9: what came before is stored");
    let sizes: Vec<u32> = play
        .faulty
        .parts()
        .iter()
        .map(|part| part.count())
        .collect();
    assert_eq!(sizes, [3, 3], "C9: one part, tried twice");
    play.controller.shutdown().await.expect("`shutdown`");
    let events = left(harness, &id).await;
    assert_eq!(events, numbered(&id, 0..2), "C9: the records before it");
}

/// What a source does not give stays dirty; `shutdown` tells of what it never gave.
pub async fn c9_what_is_not_captured_is_still_dirty<H: Harness>(harness: &H) {
    let play = Play::new(harness).await;
    play.engine.set(&play.arda, "a", 1);
    play.engine.lock().sulks = 1;
    let error = play.arda.save().await.expect_err("C9: nothing was given");
    assert_eq!(error.kind(), ErrorKind::Invalid, "C9: {error}");
    assert_eq!(play.controller.exposure().dirty, 1, "C9: it is still dirty");
    let saved = play.controller.save_all().await.expect("C9: it is saved");
    assert_eq!(
        (saved.worlds, saved.entities),
        (1, 1),
        "C9: one was captured"
    );

    play.engine.set(&play.arda, "b", 1);
    play.engine.lock().sulks = u32::MAX;
    let left = play
        .controller
        .shutdown()
        .await
        .expect_err("C6: one is dirty");
    let lost = Entity {
        collection: hulls(),
        key: key("b"),
    };
    let expected = vec![(play.arda.id().clone(), lost)];
    assert_eq!(left.dirty, expected, "C6: exactly what is dirty");
    let held = numbers(harness).await;
    assert_eq!(held, [pair("a", "1")], "C9: what was given is stored");
}
