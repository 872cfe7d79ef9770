//! Runs a plan, and gives back what happened.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqevia_storage::{
    BatchRecord, Clock, ControllerConfig, Fingerprint, History as Kept, Limit, Memory, Owner, Part,
    Reads, Schema, SchemaPolicy, StateRange, StorageBackend, WorldRecord,
};
use tokio::time::{sleep, timeout};

use crate::engine::{Engine, How, Source, TURNS};
use crate::history::{Event, History, Report, States, moves, name};
use crate::log::Lost;
use crate::plan::{Begin, Plan, Settings, Step};
use crate::store::Scripted;
use crate::subject::Start;

/// How long a shutdown is given in the settings.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// For how long a cut holds back what was accepted before it, at the most.
const HOLD: Duration = Duration::from_secs(5);
/// How many captures may follow from each other, or from what was stored, at one moment.
const CAPTURES: usize = 4;

/// Runs a plan under paused time.
pub(crate) fn run(plan: &Plan, start: Start) -> Vec<Event> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        // One thread asks the state source, so that the engine can wait for its turn there.
        .max_blocking_threads(1)
        .start_paused(true)
        .build();
    let lost = Lost::default();
    let _guard = tracing::subscriber::set_default(lost.clone());
    let history = History::new(plan.settings.worlds);
    runtime.unwrap().block_on(async {
        let memory = Memory::new();
        memory.init(SchemaPolicy::Upgrade).await.unwrap();
        let run = Run::begin(plan, start, &memory, history.clone()).await;
        run.all(lost).await;
    });
    std::mem::take(&mut history.lock().events)
}

struct Run<'a> {
    plan: &'a Plan,
    memory: &'a Memory,
    store: Arc<Scripted>,
    engine: Arc<Engine>,
    history: History,
}

impl<'a> Run<'a> {
    async fn begin(plan: &'a Plan, start: Start, memory: &'a Memory, history: History) -> Self {
        let store = Arc::new(Scripted::new(memory, &history, plan));
        if let Begin::Adopt { away_ms, stale } = plan.begin {
            store.go_away(Duration::from_millis(away_ms.into()));
            if stale {
                write_as_another(memory, 0, true).await;
            }
        }
        let config = config(&plan.settings);
        let backend = Arc::clone(&store) as Arc<dyn StorageBackend>;
        let subject = start(backend, config).await.unwrap();
        let engine = Arc::new(Engine {
            history: history.clone(),
            subject,
            waiting: Mutex::default(),
        });
        let source = Source {
            history: history.clone(),
            engine: Arc::downgrade(&engine),
        };
        engine.subject.set_source(Arc::new(source)).unwrap();
        let run = Self {
            plan,
            memory,
            store,
            engine,
            history,
        };
        for world in 0..plan.settings.worlds {
            match plan.begin {
                Begin::Open => run.open(world).await,
                Begin::Adopt { .. } => run.adopt(world),
            }
        }
        run
    }

    async fn all(self, lost: Lost) {
        for step in &self.plan.steps {
            self.step(step).await;
            // Under the lock nothing is accepted meanwhile on the thread of the state source.
            let mut memoir = self.history.lock();
            let exposure = self.engine.subject.exposure();
            memoir.events.push(Event::Exposed(exposure));
        }
        let end = &self.plan.end;
        match end.outage {
            Some(outage) => self.store.spoil(outage),
            None => self.store.calm(),
        }
        if end.waits {
            self.recover().await;
        }
        match end.drops {
            true => self.drop_controller(lost).await,
            false => self.shut_down().await,
        }
    }

    async fn step(&self, step: &Step) {
        let worlds = self.plan.settings.worlds;
        let world = |world: &u8| usize::from(*world) % worlds;
        let engine = &self.engine;
        match step {
            Step::Record { world: at, draft } => {
                engine.give(world(at), std::slice::from_ref(draft), How::Record);
            }
            Step::Submit { world: at, drafts } => engine.give(world(at), drafts, How::Submit),
            Step::Commit { world: at, drafts } => engine.give(world(at), drafts, How::Commit),
            Step::Change {
                world: at,
                key,
                refused,
            } => engine.change(world(at), *key, *refused),
            Step::Save => engine.save(),
            Step::Flush => engine.flush(),
            Step::Read { world: at } => engine.subject.read(world(at)).await,
            Step::Advance { ms } => self.rest(Duration::from_millis((*ms).into())).await,
            Step::Other { world: at, writes } => {
                write_as_another(self.memory, world(at), *writes).await;
            }
            Step::Open { world: at, takes } => {
                self.rest(Duration::from_millis(1)).await;
                if *takes {
                    self.take(world(at));
                }
                self.open(world(at)).await;
            }
            Step::Meanwhile { what, before } => {
                let mut memoir = self.history.lock();
                memoir.meanwhile.push_back((what.clone(), *before));
            }
            Step::Source(fault) => self.history.lock().source_faults.push_back(*fault),
        }
    }

    /// Lets time pass, and all that follows happen.
    async fn rest(&self, time: Duration) {
        sleep(time).await;
        for _ in 0..CAPTURES {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        let healthy = self.engine.subject.is_healthy();
        self.history.note(Event::Rested { healthy });
    }

    async fn recover(&self) {
        let settings = &self.plan.settings;
        let retry = Duration::from_millis(settings.retry_longest_ms);
        let flush = Duration::from_millis(settings.flush_interval_ms);
        let save = Duration::from_millis(settings.auto_save_interval_ms);
        self.rest(3 * (retry + flush + save) + HOLD).await;
        if self.plan.end.outage.is_none() {
            let (healthy, exposure) = (
                self.engine.subject.is_healthy(),
                self.engine.subject.exposure(),
            );
            self.history.note(Event::Recovered { healthy, exposure });
        }
    }

    fn adopt(&self, world: usize) {
        self.history.note(Event::Adopted { world, head: 0 });
        self.engine.subject.real().adopt(world, 0).unwrap();
        self.next_lane(world);
    }

    /// Opens a world, if it is not open.
    async fn open(&self, world: usize) {
        let subject = &self.engine.subject;
        let before = subject.real().find(world);
        self.history.note(Event::Opening { world });
        let opened = subject.open(world).await.is_ok();
        self.history.note(Event::Opened { world });
        let stopped = before.is_none_or(|before| before.stopped().is_some());
        match opened {
            true if stopped => self.next_lane(world),
            false if stopped => drop(self.history.lock().closed.insert(world)),
            _ => {}
        }
    }

    fn next_lane(&self, world: usize) {
        let mut memoir = self.history.lock();
        memoir.closed.remove(&world);
        if let Some(lane) = memoir.lanes.get_mut(world) {
            *lane = Some(lane.map_or(0, |lane| lane + 1));
        }
    }

    /// Takes what a world left when it was stopped.
    fn take(&self, world: usize) {
        let subject = &self.engine.subject;
        if subject.real().find(world).is_some() {
            let left = subject.take_unpersisted(world);
            self.history.note(Event::Taken {
                world,
                dirty: left.dirty,
                pending: left.pending,
                in_doubt: left.in_doubt,
            });
        }
    }

    /// Gives what comes just before the end.
    fn give_last(&self) {
        if let Some(draft) = &self.plan.end.last {
            let drafts = std::slice::from_ref(draft);
            self.engine.give(0, drafts, How::Record);
        }
    }

    async fn shut_down(self) {
        self.give_last();
        let shutdown = timeout(10 * SHUTDOWN, self.engine.subject.shutdown());
        self.history.note(match shutdown.await {
            Ok(Ok(())) => Event::ShutDown(None),
            Ok(Err(left)) => Event::ShutDown(Some(Report {
                pending: left.pending,
                in_doubt: left.in_doubt,
                dirty: left.dirty,
            })),
            Err(_) => Event::HungAtTheEnd,
        });
        self.rest(Duration::from_millis(1)).await;
        compare(self.memory, &self.history).await;
    }

    /// Lets nobody else call the controller: a capture that is under way may begin to wait again.
    async fn be_alone(&self) {
        let holders = || {
            (
                Arc::strong_count(&self.engine),
                Arc::strong_count(&self.engine.subject),
            )
        };
        for _ in 0..100 {
            self.engine.give_up_waiting();
            self.rest(Duration::from_millis(1)).await;
            if holders() == (1, 1) {
                return;
            }
        }
        assert_eq!(holders(), (1, 1), "others call the controller");
    }

    async fn drop_controller(self, lost: Lost) {
        self.be_alone().await;
        self.give_last();
        let (memory, history) = (self.memory, self.history.clone());
        self.history.note(Event::Dropping);
        drop(self);
        sleep(2 * SHUTDOWN).await;
        let logged = lost.total();
        history.note(Event::Dropped { logged });
        compare(memory, &history).await;
    }
}

fn config(settings: &Settings) -> ControllerConfig {
    let ms = Duration::from_millis;
    let mut config = ControllerConfig::default();
    config.schema = Schema::new().with_history(moves(), Kept::All);
    config.clock = Clock::from_fn(|| 0);
    config.flush_interval = ms(settings.flush_interval_ms);
    config.batch_capacity = settings.batch_capacity;
    config.batch_records_max = settings.batch_records_max;
    config.batch_bytes_max = settings.batch_bytes_max;
    config.pending_records_max = settings.pending_records_max;
    config.pending_bytes_max = settings.pending_bytes_max;
    config.exposure_max = settings.exposure_max_ms.map(ms);
    config.coalescing = settings.coalescing;
    config.auto_save_interval = ms(settings.auto_save_interval_ms);
    config.retry_first = ms(20);
    config.retry_longest = ms(settings.retry_longest_ms);
    config.start_degraded = true;
    config.shutdown_timeout = SHUTDOWN;
    config
}

/// Another writer claims a world, and may write to it.
async fn write_as_another(memory: &Memory, world: usize, writes: bool) {
    let owner = Owner::new("another").unwrap();
    let claim = memory
        .claim(&name(world), &owner, Fingerprint([0; 32]))
        .await
        .unwrap();
    if writes {
        let number = claim.last_number.advance(1).unwrap();
        let record = BatchRecord::new(WorldRecord::new(name(world), Vec::new(), 0), Kept::Latest);
        let (epoch, link) = (claim.epoch, claim.link);
        let part = Part::new(
            name(world),
            epoch,
            number,
            claim.last_at_ms,
            link,
            vec![record],
        );
        for answer in memory.persist_batch(part.unwrap().into()).await {
            answer.unwrap();
        }
    }
}

/// Notes what the store holds, beside what the engine does.
async fn compare(memory: &Memory, history: &History) {
    let store = memory.reopen();
    store.init(SchemaPolicy::Upgrade).await.unwrap();
    let worlds = history.lock().states.len();
    for world in 0..worlds {
        let id = name(world);
        let page = store.state(&id, StateRange::all(), Limit::default());
        let rows = page.await.unwrap().items.into_iter();
        let rows: States = rows
            .map(|row| ((row.collection, row.key), row.payload))
            .collect();
        let mut memoir = history.lock();
        let engine = memoir.states.get(world).cloned().unwrap_or_default();
        memoir.events.push(Event::State {
            world,
            store: rows,
            engine,
        });
    }
}
