//! What `World::record` takes on the engine's thread.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aqevia::{Collection, ControllerConfig, World, WorldId};
use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::ours::{self, WORLD};
use crate::report::{Figure, Goal, Quantity, Section};
use crate::stores::{Engine, Stores};
use crate::workload::{Mix, Row, Workload, records};

/// Records that are handed over one after the other.
const BURST: usize = 1000;
/// From the begin of one burst to that of the next.
const TICK: Duration = Duration::from_millis(2);
/// Bursts in a round: as many as there is room for, so that nothing is refused.
const TICKS: usize = 250;
const TICKS_QUICK: usize = 15;
/// Bursts of which the rows differ.
const BURSTS: usize = 16;

const PAYLOAD_BYTES: usize = 300;

/// What is told of a distribution, and what it is to be while flushes run.
const QUANTILES: [(&str, f64, Option<f64>); 4] = [
    ("p50", 0.5, Some(300e-9)),
    ("p99", 0.99, Some(2e-6)),
    ("p99.9", 0.999, None),
    ("max", 1.0, None),
];

const KINDS: [(&str, Mix); 2] = [("event", Mix::Events), ("put", Mix::Latest)];

/// When an engine hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// A burst a tick.
    Ticks,
    /// One burst after the other.
    AtOnce,
}

/// Whether the controller persists meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushes {
    Idle,
    Running,
}

const CASES: [(&str, Flushes, Pace); 4] = [
    ("ticks, idle", Flushes::Idle, Pace::Ticks),
    ("ticks, flushing", Flushes::Running, Pace::Ticks),
    ("at once, idle", Flushes::Idle, Pace::AtOnce),
    ("at once, flushing", Flushes::Running, Pace::AtOnce),
];

/// Measures the calls while an engine has the records.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    bar.inc_length((KINDS.len() * CASES.len()) as u64);
    let mut figures = vec![clock(engine)?];
    for (kind, mix) in KINDS {
        for (case, flushes, pace) in CASES {
            let what = format!("{kind}, {case}");
            bar.set_message(format!("{} {what}", engine.name()));
            let pair = stores.pair(engine).await?;
            let calls = run(&pair.ours, mix, flushes, pace, quick).await?;
            figures.extend(calls.figures(engine, &what, flushes));
            bar.inc(1);
        }
    }
    Ok(figures)
}

/// What reading the clock takes, which is in every time that is told.
fn clock(engine: Engine) -> Result<Figure> {
    let mut calls = Calls::new()?;
    for _ in 0..BURST * BURSTS {
        calls.took(Instant::now().elapsed());
    }
    let median = calls.quantile(0.5);
    Ok(Figure::ours(
        Section::Record,
        engine.name(),
        "the clock alone: p50",
        median,
    ))
}

/// Rounds in one store, which has all of a round before the next begins.
async fn run(url: &str, mix: Mix, flushes: Flushes, pace: Pace, quick: bool) -> Result<Calls> {
    let controller = ours::start(url, config(flushes)).await?;
    let world = controller.open_world(WorldId::new(WORLD)?).await?;
    let mut workload = Workload::new(mix, PAYLOAD_BYTES, quick);
    let mut player = Player {
        world,
        names: ours::names()?,
        bursts: (0..BURSTS).map(|_| workload.batch(BURST)).collect(),
        pace,
        ticks: if quick { TICKS_QUICK } else { TICKS },
        calls: Calls::new()?,
    };
    for round in 0..=(if quick { 1 } else { 5 }) {
        player = player.play_on_own_thread().await?;
        // The first round makes room in the heap and in the store.
        if round == 0 {
            player.calls = Calls::new()?;
        }
        controller.flush().await?;
    }
    controller.shutdown().await?;
    Ok(player.calls)
}

fn config(flushes: Flushes) -> ControllerConfig {
    let mut config = ControllerConfig::default();
    if flushes == Flushes::Idle {
        config.flush_interval = Duration::from_secs(3600);
        config.batch_capacity = usize::MAX;
        config.batch_capacity_bytes = usize::MAX;
    }
    config
}

/// An engine, as far as it hands over records.
struct Player {
    world: World,
    names: Vec<Collection>,
    bursts: Vec<Vec<Row>>,
    pace: Pace,
    ticks: usize,
    calls: Calls,
}

impl Player {
    /// Plays a round on a thread that has nothing to do with any runtime.
    async fn play_on_own_thread(mut self) -> Result<Self> {
        let (done, player) = oneshot::channel();
        thread::Builder::new()
            .name("engine".into())
            .spawn(move || {
                let played = self.play().map(|()| self);
                // If nobody waits for it any more, that is no matter.
                drop(done.send(played));
            })?;
        player.await.context("the engine's thread panicked")?
    }

    fn play(&mut self) -> Result<()> {
        let mut next = Instant::now();
        for burst in self.bursts.iter().cycle().take(self.ticks) {
            // Making a record is the engine's own work.
            let burst = records(self.world.id(), &self.names, burst)?;
            let slept = slept_so_far()?;
            for record in burst {
                let begin = Instant::now();
                let answer = self.world.record(record);
                self.calls.took(begin.elapsed());
                answer?;
            }
            self.calls.slept += slept_so_far()? - slept;
            if self.pace == Pace::Ticks {
                next += TICK;
                thread::park_timeout(next - Instant::now());
            }
        }
        Ok(())
    }
}

/// How often this thread gave up its core to wait for something.
fn slept_so_far() -> Result<u64> {
    let status = fs::read_to_string("/proc/thread-self/status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    let count = line.ok_or_else(|| anyhow!("the system does not tell how often a thread slept"))?;
    Ok(count.trim().parse()?)
}

/// Calls that were measured.
struct Calls {
    nanos: Histogram<u64>,
    slept: u64,
}

const DIGITS: u8 = 3;

impl Calls {
    fn new() -> Result<Self> {
        let nanos = Histogram::new_with_max(TICK.as_nanos() as u64 * 1_000_000, DIGITS)?;
        Ok(Self { nanos, slept: 0 })
    }

    fn took(&mut self, time: Duration) {
        self.nanos.saturating_record(time.as_nanos() as u64);
    }

    fn quantile(&self, share: f64) -> Quantity {
        Quantity::seconds(self.nanos.value_at_quantile(share) as f64 * 1e-9)
    }

    fn figures(&self, engine: Engine, what: &str, flushes: Flushes) -> Vec<Figure> {
        let figure = |name, quantity| {
            Figure::ours(
                Section::Record,
                engine.name(),
                format!("{what}: {name}"),
                quantity,
            )
        };
        let times = QUANTILES.map(|(name, share, goal)| {
            let figure = figure(name, self.quantile(share));
            match goal.filter(|_| flushes == Flushes::Running) {
                Some(most) => figure.with_goal(Goal::AtMost(most)),
                None => figure,
            }
        });
        let slept = figure("slept", Quantity::times(self.slept as f64));
        times.into_iter().chain([slept]).collect()
    }
}
