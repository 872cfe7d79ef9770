//! The engine within a child: the worlds in its memory, under one lock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aqevia_storage::{Captured, Cut, Entity, Key, Payload, StateSource, World, WorldId};

use super::script::{cursor, entities, moment};
use super::watch::Watch;
use crate::process::announce::Announcer;

/// What the engine has in memory of all worlds.
#[derive(Debug)]
pub(super) struct Engine {
    worlds: Mutex<BTreeMap<WorldId, Memory>>,
    captures: AtomicU64,
    announcer: Arc<Announcer>,
    watch: Arc<Watch>,
}

/// What it has of a world.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// How many deeds of the script are done.
    pub(super) done: u64,
    /// The entities, with the timestamps of their last changes.
    pub(super) entities: BTreeMap<Key, (i64, Payload)>,
}

impl Engine {
    pub(super) fn new(announcer: &Arc<Announcer>, watch: &Arc<Watch>) -> Arc<Self> {
        Arc::new(Self {
            worlds: Mutex::default(),
            captures: AtomicU64::new(0),
            announcer: Arc::clone(announcer),
            watch: Arc::clone(watch),
        })
    }

    /// Takes a world into memory.
    pub(super) fn load(&self, world: &World, memory: Memory) {
        self.lock().insert(world.id().clone(), memory);
    }

    /// Does something in a world while nobody captures it.
    pub(super) fn with<T>(&self, world: &World, act: impl FnOnce(&mut Memory) -> T) -> T {
        act(self.lock().entry(world.id().clone()).or_default())
    }

    /// How often the state of a world was asked for.
    pub(super) fn captures(&self) -> u64 {
        self.captures.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<WorldId, Memory>> {
        self.worlds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks an entity, and with it the count of deeds.
pub(super) fn mark(world: &World, name: Option<&Key>) {
    let (collection, done) = cursor();
    let entity = name.map(|name| (entities(), name.clone()));
    for (collection, key) in entity.into_iter().chain([(collection, done)]) {
        let marked = world.mark_dirty(&collection, &key);
        marked.expect("C3: `mark_dirty` in a world that is open");
    }
}

impl StateSource for Engine {
    fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
        let worlds = self.lock();
        let asked = cut.take();
        let memory = worlds.get(world).expect("a world that was loaded");
        self.watch.cut(world, memory.done);
        self.announcer.step("capture: cut");
        let captured = asked.into_iter().map(|entity| memory.capture(entity));
        let captured = captured.collect();
        drop(worlds);
        self.captures.fetch_add(1, Ordering::Relaxed);
        captured
    }
}

/// The hash of so many bytes is some milliseconds of work: enough for flushes of other worlds.
const ENCODED_BYTES: usize = 16 << 20;

impl Memory {
    fn capture(&self, entity: Entity) -> Captured {
        let now = moment(self.done, 0);
        if entity.collection != entities() {
            let done = self.done.to_string();
            return Captured::put(entity, now, move || {
                // It takes its time, so that the engine goes on while a capture is under way.
                std::hint::black_box(blake3::hash(&vec![0; ENCODED_BYTES]));
                Ok(Payload::Json(done))
            });
        }
        match self.entities.get(&entity.key).cloned() {
            Some((at, payload)) => Captured::put(entity, at, move || Ok(payload)),
            None => Captured::delete(entity, now),
        }
    }
}
