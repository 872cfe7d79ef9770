//! The child with a controller in it, which plays the script until it is killed.

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aqevia_storage::{
    ControllerConfig, Key, Payload, Receipt, StateRow, StorageBackend, StorageController, World,
    WorldRecord,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::engine::{Engine, Memory, mark};
use super::script::{Deed, Script, cursor, entities, fold_entities, moment, place};
use super::telling::Telling;
use super::watch::Watch;
use crate::Harness;
use crate::process::Verdict;
use crate::process::announce::Announcer;
use crate::process::child::Job;
use crate::process::compare::{log, state};
use crate::process::ledger::text;
use crate::process::line::Line;
use crate::process::plan::{WORLDS, owner};
use crate::process::verify::patiently;
use crate::process::writes::CLAIMED;
use crate::sample::{schema, world};

/// The step after what waited for an answer has got it, and the parent was told.
const ANSWERED: &str = "play: answered";
/// The step after some deeds.
const HANDED_OVER: &str = "play: handed over";
/// How many deeds are told of before the first of them is done.
const TOLD_AT_ONCE: u64 = 8;

/// See [`Task::Play`](crate::process::child::Task::Play).
pub(crate) async fn play<H: Harness>(
    job: &Job,
    announcer: &Arc<Announcer>,
    (seed, until): (u64, u64),
) {
    let harness = H::at(&job.location).await;
    announcer.arm();
    Line::Ready.say();
    let begin = Instant::now();
    let watch = Arc::new(Watch::default());
    let store = Telling::new(harness.open().await, announcer, &watch);
    let controller = start(store).await;
    let engine = Engine::new(announcer, &watch);
    let source = controller.set_state_source(Arc::clone(&engine) as _);
    source.expect("a controller without a source");
    let mut players = Vec::new();
    for index in 0..WORLDS.len() {
        players.push(Player::resume(&controller, &engine, (seed, index)).await);
    }
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    Line::Opened { micros }.say();
    announcer.step(CLAIMED);
    let mut playing = JoinSet::new();
    for player in players {
        playing.spawn(player.play(until, Arc::clone(announcer)));
    }
    join(playing).await;
    controller
        .save_all()
        .await
        .expect("C9: `save_all` at the end");
    controller.flush().await.expect("C1: `flush` at the end");
    count(&controller, &engine);
    let ended = controller.shutdown().await;
    ended.expect("C6: `shutdown` of a controller that nobody disturbs");
}

/// A controller that flushes, captures and coalesces as often as it can within a short life.
fn config() -> ControllerConfig {
    let mut config = ControllerConfig::default();
    config.schema = schema();
    config.owner = owner();
    config.flush_interval = Duration::from_millis(3);
    config.batch_capacity = 30;
    config.auto_save_interval = Duration::from_millis(4);
    config.retry_first = Duration::from_millis(5);
    config.shutdown_timeout = Duration::from_secs(60);
    config
}

async fn start(store: Arc<Telling>) -> Arc<StorageController> {
    let started = patiently(|| {
        let store: Arc<dyn StorageBackend> = Arc::clone(&store) as _;
        StorageController::start(store, config())
    });
    let started = started.await;
    Arc::new(started.expect("P1: a controller starts over a store whose process was killed"))
}

/// Tells how often there was a capture, and how many records were coalesced.
fn count(controller: &StorageController, engine: &Engine) {
    Line::Counted {
        captures: engine.captures(),
        coalesced: controller.stats().coalesced,
    }
    .say();
}

/// Waits for tasks, and panics as the first of them did that panics.
async fn join(mut tasks: JoinSet<()>) {
    while let Some(done) = tasks.join_next().await {
        if let Err(error) = done {
            resume_unwind(error.into_panic());
        }
    }
}

/// The engine in one world.
struct Player {
    controller: Arc<StorageController>,
    engine: Arc<Engine>,
    world: World,
    script: Script,
    /// Where it goes on.
    from: u64,
}

impl Player {
    /// Opens a world, reads what is stored of it, and goes on behind that.
    ///
    /// A change of an entity that was done and not captured before the kill is made again.
    async fn resume(
        controller: &Arc<StorageController>,
        engine: &Arc<Engine>,
        (seed, index): (u64, usize),
    ) -> Self {
        let name = WORLDS.get(index).copied().unwrap_or_default();
        let id = world(name);
        let opened = patiently(|| controller.open_world(id.clone())).await;
        let world = opened.expect("P1: `open_world` of a world whose writer was killed");
        tell_claim(&world);
        let (rows, head) = read(log(&**controller, &id).await);
        let states = read(state(&**controller, &id).await);
        assert_eq!(
            head,
            world.opened_at(),
            "R5: the head of a world that was just opened"
        );
        let logged = rows
            .last()
            .map_or(0, |row| place(row.record.timestamp).0 + 1);
        let from = logged.max(captured(&states));
        Line::Resumed {
            world: name.to_owned(),
            from,
        }
        .say();
        let mut script = Script::new(seed, index);
        load(engine, &world, &states, (&mut script, from));
        Self {
            controller: Arc::clone(controller),
            engine: Arc::clone(engine),
            world,
            script,
            from,
        }
    }

    async fn play(mut self, until: u64, announcer: Arc<Announcer>) {
        let deeds = self.script.until(until).to_vec();
        let mut tickets = JoinSet::new();
        let from = usize::try_from(self.from).unwrap_or(usize::MAX);
        for (at, deed) in (0..).zip(deeds).skip(from) {
            if at == self.from || at.is_multiple_of(TOLD_AT_ONCE) {
                announcer.step(HANDED_OVER);
                let end = (at / TOLD_AT_ONCE + 1) * TOLD_AT_ONCE;
                self.say_playing(end.min(until));
            }
            let waited = matches!(deed, Deed::Commit(_) | Deed::Save);
            self.act(at, deed, &mut tickets).await;
            if waited {
                count(&self.controller, &self.engine);
                announcer.step(ANSWERED);
            }
        }
        join(tickets).await;
        // The last save is to tell that the script is at its end.
        self.engine.with(&self.world, |_| mark(&self.world, None));
    }

    async fn act(&self, at: u64, deed: Deed, tickets: &mut JoinSet<()>) {
        match deed {
            Deed::Record(record) => {
                let taken = self.under_lock(at, || self.world.record(record));
                taken.expect("C3: `record` within the bound");
            }
            Deed::Submit(group) => {
                let ticket = self.under_lock(at, || self.world.submit(group));
                let ticket = ticket.expect("C3: `submit` within the bound");
                let name = self.world.id().to_string();
                tickets.spawn(async move {
                    let receipt = ticket
                        .await
                        .expect("C2: a ticket of a group that is accepted");
                    say_stored(name, at, &receipt);
                });
            }
            Deed::Commit(group) => {
                let receipt = self.commit(at, group).await;
                say_stored(self.world.id().to_string(), at, &receipt);
            }
            Deed::Change(name, payload) => self.change(at, &name, payload),
            Deed::Save => {
                self.under_lock(at, || mark(&self.world, None));
                self.world
                    .save()
                    .await
                    .expect("C9: `save` of what is marked");
                let world = self.world.id().to_string();
                Line::Saved { world, at }.say();
            }
        }
    }

    /// Does something that is captured together with all before it, or not at all.
    fn under_lock<T>(&self, at: u64, act: impl FnOnce() -> T) -> T {
        self.engine.with(&self.world, |memory| {
            memory.done = at + 1;
            act()
        })
    }

    /// Hands a group over under the lock, and waits for it without.
    async fn commit(&self, at: u64, group: Vec<WorldRecord>) -> Receipt {
        let mut commit = pin!(self.world.commit(group));
        // A commit accepts its group when it is first polled.
        let accepted = std::future::poll_fn(|context| {
            Poll::Ready(self.under_lock(at, || commit.as_mut().poll(context)))
        });
        let receipt = match accepted.await {
            Poll::Ready(receipt) => receipt,
            Poll::Pending => commit.await,
        };
        receipt.expect("C2: a commit of a group that is accepted")
    }

    fn change(&self, at: u64, name: &Key, payload: Option<Payload>) {
        self.engine.with(&self.world, |memory| {
            memory.done = at + 1;
            match payload {
                Some(payload) => {
                    memory
                        .entities
                        .insert(name.clone(), (moment(at, 0), payload));
                }
                None => drop(memory.entities.remove(name)),
            }
            mark(&self.world, Some(name));
        });
    }

    fn say_playing(&self, until: u64) {
        let world = self.world.id().to_string();
        Line::Playing { world, until }.say();
    }
}

fn read<T>(found: Verdict<T>) -> T {
    found.unwrap_or_else(|violation| panic!("{violation}"))
}

fn tell_claim(world: &World) {
    let claim = world.claim().expect("a world that was opened is claimed");
    Line::Claimed {
        world: world.id().to_string(),
        epoch: claim.epoch.get(),
        number: claim.last_number.get(),
        head: claim.head.get(),
        link: text(&claim.link),
    }
    .say();
}

fn say_stored(world: String, at: u64, receipt: &Receipt) {
    let first = receipt.first.get();
    Line::Stored { world, at, first }.say();
}

/// Takes a world into memory as it was after so many deeds, and marks what is not stored of it.
fn load(engine: &Engine, world: &World, states: &[StateRow], (script, from): (&mut Script, u64)) {
    let wanted = fold_entities(script.until(from));
    let rows = states.iter().filter(|row| row.collection == entities());
    let stored: Vec<_> = rows.map(|row| (&row.key, row.last_timestamp)).collect();
    let gone = stored.iter().map(|(key, _)| *key);
    let gone = gone.filter(|key| !wanted.contains_key(*key));
    let changed = wanted.iter().filter_map(|(key, (at, _))| {
        let same = stored.contains(&(key, *at));
        (!same).then_some(key)
    });
    let unsaved: Vec<Key> = gone.chain(changed).cloned().collect();
    let memory = Memory {
        done: from,
        entities: wanted,
    };
    engine.load(world, memory);
    engine.with(world, |_| {
        unsaved.iter().for_each(|key| mark(world, Some(key)))
    });
}

/// How many deeds were done at the last capture that is stored.
pub(super) fn captured(states: &[StateRow]) -> u64 {
    let (collection, key) = cursor();
    let mut rows = states.iter();
    let row = rows.find(|row| row.collection == collection && row.key == key);
    row.map_or(0, |row| place(row.last_timestamp).0)
}
