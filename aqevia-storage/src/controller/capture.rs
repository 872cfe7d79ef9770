//! Capturing the state of dirty entities, from the engine's memory into groups.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::time::Instant;

use super::entity::{Entities, Entity};
use super::inbox::Inbox;
use super::shared::WorldShared;
use crate::{Change, Error, ErrorKind, Payload, Result, WorldId, WorldRecord};

/// The engine's side of capturing: gives the state of what was marked with
/// [`World::mark_dirty`](crate::World::mark_dirty).
///
/// It is asked once for all dirty entities of a world, on a thread of the controller's own; two
/// worlds may be asked for at the same time, one world is not. A source that panics, or does not
/// give what it is asked for, loses nothing: those entities are dirty again.
///
/// At most four worlds are asked at the same time. From [`Cut::take`] until the last state is
/// encoded, what is accepted for that world waits, for at most five seconds: what a source gives
/// later is not used if something waited. So a source copies under the engine's lock and leaves all
/// that takes long to encoding. It does not wait for the controller, as `flush`, `save` and `commit`
/// do: those wait for it. One that holds the controller in an `Arc` keeps it from being dropped, and
/// so from persisting what is left (clause C8); a `Weak` does not.
///
/// ```
/// # use std::collections::HashMap;
/// # use std::sync::{Arc, Mutex};
/// use aqevia_storage::{Captured, Cut, Key, Payload, StateSource, WorldId};
///
/// struct Game {
///     hulls: Arc<Mutex<HashMap<Key, u32>>>,
/// }
///
/// impl StateSource for Game {
///     fn capture(&self, _world: &WorldId, cut: Cut<'_>) -> Vec<Captured> {
///         let hulls = self.hulls.lock().unwrap();
///         // Under the lock: what was marked, and a copy of each state. Encoding comes later.
///         let captured = cut.take().into_iter().map(|ship| match hulls.get(&ship.key).copied() {
///             Some(hull) => Captured::put(ship, 0, move || Payload::json(&hull)),
///             None => Captured::delete(ship, 0),
///         });
///         captured.collect()
///     }
/// }
/// ```
pub trait StateSource: Send + Sync + 'static {
    /// Copies the state of what [`Cut::take`] returns, which is to be called while the engine's
    /// lock is held: the state is then that of exactly the records that were accepted before
    /// (clause C9).
    fn capture(&self, world: &WorldId, cut: Cut<'_>) -> Vec<Captured>;
}

impl fmt::Debug for dyn StateSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StateSource")
    }
}

/// The moment of a capture.
#[derive(Debug)]
pub struct Cut<'a> {
    world: &'a Arc<WorldShared>,
    inbox: &'a Inbox,
    given: &'a mut Option<Given>,
}

/// What a capture was given, once it has cut.
#[derive(Debug, Default)]
struct Given {
    entities: Entities,
    since: Option<Instant>,
    rest: usize,
}

impl Cut<'_> {
    /// Takes what is dirty. Whatever is marked from now on is dirty again, and whatever is accepted
    /// from now on comes after what is captured.
    #[must_use]
    pub fn take(self) -> Entities {
        let config = self.inbox.config();
        let most = config.batch_records_max.min(config.pending_records_max);
        // The engine holds its lock: whatever can be done later is.
        let taken = self.world.lock_dirty().take(most);
        self.inbox.cut(self.world);
        if let Some(since) = taken.since.filter(|_| taken.rest > 0) {
            // They were counted when they were marked: only the loop has to hear of them.
            self.inbox.note_dirty(self.world, since);
        }
        *self.given = Some(Given {
            entities: taken.entities.clone(),
            since: taken.since,
            rest: taken.rest,
        });
        taken.entities
    }
}

/// The state of an entity, as it was at a cut.
pub struct Captured {
    entity: Entity,
    timestamp: i64,
    state: State,
}

enum State {
    Gone,
    Encode(Box<dyn FnOnce() -> Result<Payload> + Send>),
}

impl Captured {
    /// The entity has the state that `encode` makes a payload of. It is called after the source
    /// has returned, so that the engine's lock is not held for it.
    #[must_use]
    pub fn put(
        entity: Entity,
        timestamp: i64,
        encode: impl FnOnce() -> Result<Payload> + Send + 'static,
    ) -> Self {
        let state = State::Encode(Box::new(encode));
        Self {
            entity,
            timestamp,
            state,
        }
    }

    /// The entity is gone.
    #[must_use]
    pub const fn delete(entity: Entity, timestamp: i64) -> Self {
        Self {
            entity,
            timestamp,
            state: State::Gone,
        }
    }

    fn encode(self, world: &WorldId) -> Result<WorldRecord> {
        let Entity { collection, key } = self.entity;
        let change = match self.state {
            State::Gone => Change::Delete { key },
            State::Encode(encode) => {
                let payload = catch_unwind(AssertUnwindSafe(encode));
                let payload = payload.unwrap_or_else(|_| Err(Error::invalid("it panicked")))?;
                Change::Put { key, payload }
            }
        };
        let record = WorldRecord::of(world, &collection, change, self.timestamp);
        record.check()?;
        Ok(record)
    }
}

impl fmt::Debug for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gone = matches!(self.state, State::Gone);
        let what = if gone { "is gone" } else { "has a new state" };
        write!(f, "{:?} {what}", self.entity)
    }
}

/// What came of a capture.
#[derive(Debug)]
pub(super) struct Capture {
    pub(super) world: Arc<WorldShared>,
    /// The new states.
    pub(super) records: Vec<WorldRecord>,
    /// Since when the first of these entities has been dirty.
    pub(super) since: Instant,
    /// How many entities were asked for, and how many were dirty beside.
    pub(super) asked: usize,
    pub(super) rest: usize,
    /// Entities that stay dirty, and why.
    pub(super) failed: Vec<Entity>,
    pub(super) failure: Option<Error>,
}

/// Asks the source for what is dirty in a world, and encodes what it gives. Blocks.
pub(super) fn capture(source: &dyn StateSource, world: Arc<WorldShared>, inbox: &Inbox) -> Capture {
    let mut given = None;
    let cut = Cut {
        world: &world,
        inbox,
        given: &mut given,
    };
    let captured = catch_unwind(AssertUnwindSafe(|| source.capture(world.id(), cut)));
    let has_cut = given.is_some();
    let given = given.unwrap_or_default();
    let mut asked = Asked::new(given.entities);
    let mut capture = Capture {
        records: Vec::new(),
        since: given.since.unwrap_or_else(Instant::now),
        asked: asked.left,
        rest: given.rest,
        failed: Vec::new(),
        failure: None,
        world,
    };
    match captured {
        Ok(captured) => {
            for captured in captured {
                capture.add(captured, &mut asked);
            }
            if asked.left > 0 || !has_cut {
                capture.fail(
                    ErrorKind::Invalid,
                    "the state source did not give all that it was asked for",
                );
            }
        }
        Err(_) => capture.fail(ErrorKind::Invalid, "the state source panicked"),
    }
    let since = capture.world.lock_dirty().since();
    if let Some(since) = since.filter(|_| !has_cut) {
        // They were counted when they were marked: only the loop has to hear of them again.
        inbox.note_dirty(&capture.world, since);
    }
    capture.failed.extend(asked.left());
    capture
}

/// What a source was asked for, and which of that it has given.
struct Asked {
    entities: Entities,
    /// For each collection and each of its keys.
    given: Vec<Vec<bool>>,
    left: usize,
}

impl Asked {
    fn new(entities: Entities) -> Self {
        let given = entities.0.lens().map(|len| vec![false; len]).collect();
        Self {
            left: entities.len(),
            given,
            entities,
        }
    }

    /// Gives an entity. Whether it was asked for, and not given before.
    fn give(&mut self, entity: &Entity) -> bool {
        let place = self.entities.0.place(entity);
        let given = place.and_then(|(index, at)| self.given.get_mut(index)?.get_mut(at));
        let new = given.is_some_and(|given| !std::mem::replace(given, true));
        self.left -= usize::from(new);
        new
    }

    /// What was not given.
    fn left(&self) -> impl Iterator<Item = Entity> {
        let given = self.given.iter().flatten();
        let all = self.entities.0.entities().zip(given);
        all.filter_map(|(entity, given)| (!given).then_some(entity))
    }
}

impl Capture {
    fn add(&mut self, captured: Captured, asked: &mut Asked) {
        let entity = captured.entity.clone();
        if !asked.give(&entity) {
            let Entity { collection, key } = entity;
            let matter = format!(
                "the state source gave key {key:?} of {collection:?}, which nobody asked for"
            );
            return self.fail(ErrorKind::Invalid, &matter);
        }
        match captured.encode(self.world.id()) {
            Ok(record) => self.records.push(record),
            Err(error) => {
                let Entity { collection, key } = &entity;
                let matter = format!("encode key {key:?} of {collection:?}: {error}");
                self.fail(ErrorKind::Invalid, &matter);
                self.failed.push(entity);
            }
        }
    }

    /// A capture whose thread was lost, which has given nothing.
    pub(super) fn lost(world: Arc<WorldShared>) -> Self {
        let failed: Vec<_> = world.lock_dirty().capturing().into_iter().collect();
        let mut capture = Self {
            records: Vec::new(),
            since: Instant::now(),
            asked: failed.len(),
            rest: 0,
            failed,
            failure: None,
            world,
        };
        capture.fail(ErrorKind::Invalid, "its thread ended");
        capture
    }

    /// Keeps the first reason, and logs each.
    pub(super) fn fail(&mut self, kind: ErrorKind, matter: &str) {
        let message = format!(
            "capture dirty entities of world {:?}: {matter}",
            self.world.id()
        );
        let error = Error::new(kind, message);
        tracing::error!(target: "aqevia_storage::controller", %error, "entities stay dirty");
        self.failure.get_or_insert(error);
    }
}
