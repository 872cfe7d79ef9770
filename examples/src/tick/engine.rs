//! The engine: 60 ticks a second, each measured as a whole.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use aqevia::{Collection, ErrorKind, Key, Payload, World, WorldRecord};
use serde_json::json;
use tokio::time::Instant;

use super::galaxy::Galaxy;

/// The time from one tick to the next.
pub const TICK: Duration = Duration::from_nanos(1_000_000_000 / 60);

/// An engine that runs until it is told to stop.
#[derive(Debug)]
pub struct Engine {
    /// Its ships.
    pub galaxy: Arc<Galaxy>,
    /// Their world.
    pub world: World,
    /// How many of them change each tick.
    pub dirty: u32,
    /// How many events it tells each tick.
    pub events: u32,
    /// What times count from.
    pub begin: Instant,
    /// Whether it is to stop.
    pub stop: Arc<AtomicBool>,
    /// The longest tick since somebody looked, in nanoseconds.
    pub worst: Arc<AtomicU64>,
}

/// A tick, measured.
#[derive(Clone, Copy, Debug)]
pub struct Tick {
    /// When it began.
    pub at: Duration,
    /// From its begin to its end, waiting for the engine's own lock included.
    pub whole: Duration,
    /// The time in the calls of the controller.
    pub calls: Duration,
    /// The time in which its thread could have run and the system let others run, if that is known.
    pub starved: Option<Duration>,
    /// How much of that was in our calls.
    pub starved_in_calls: Option<Duration>,
}

/// What an engine did.
#[derive(Debug, Default)]
pub struct Played {
    /// Its ticks.
    pub ticks: Vec<Tick>,
    /// The events that were accepted, numbered from 0.
    pub events: u64,
    /// How often an event was refused because the buffer was full. It is told later.
    pub refused: u64,
}

impl Engine {
    /// Plays.
    ///
    /// # Errors
    /// What the controller answers, but for `Backpressure`.
    pub fn run(self) -> Result<Played> {
        let mut played = Played::default();
        let mut starved = Starved::open();
        let mut next_at = Instant::now();
        for number in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let before = starved.read();
            let mut tick = self.tick(number, &mut played, &mut starved)?;
            tick.starved = starved.since(before);
            played.ticks.push(tick);
            let whole = u64::try_from(tick.whole.as_nanos())?;
            self.worst.fetch_max(whole, Ordering::Relaxed);
            next_at = pace(next_at + TICK);
        }
        Ok(played)
    }

    fn tick(&self, number: u64, played: &mut Played, starved: &mut Starved) -> Result<Tick> {
        let events = Collection::new("events")?;
        let begin = Instant::now();
        let told =
            (0..u64::from(self.events)).map(|more| self.event(&events, played.events + more));
        let told: Vec<WorldRecord> = told.collect::<Result<_>>()?;
        let changed: Vec<&Key> = self.galaxy.changed(number, self.dirty).collect();
        let mut state = self.galaxy.lock();
        state.advance(number, self.dirty);
        let fed = starved.read();
        let calling = Instant::now();
        self.world
            .mark_all_dirty(self.galaxy.collection(), &changed)?;
        for event in told {
            match self.world.record(event) {
                Ok(()) => played.events += 1,
                // The others would leave a gap in the numbers.
                Err(refused) if refused.error.kind() == ErrorKind::Backpressure => {
                    played.refused += 1;
                    break;
                }
                Err(refused) => bail!(refused.error),
            }
        }
        let calls = calling.elapsed();
        let starved_in_calls = starved.since(fed);
        drop(state);
        Ok(Tick {
            at: begin.duration_since(self.begin),
            whole: begin.elapsed(),
            calls,
            starved: None,
            starved_in_calls,
        })
    }

    fn event(&self, collection: &Collection, number: u64) -> Result<WorldRecord> {
        let (world, payload) = (self.world.id(), event(number)?);
        Ok(WorldRecord::event(world, collection, None, payload, 0))
    }
}

/// What an event tells: its number, and so all there is to know of it.
///
/// # Errors
/// Those of [`Payload::json`].
pub fn event(number: u64) -> aqevia::Result<Payload> {
    Payload::json(&json!({ "event": number, "kind": "arrival", "port": number % 97 }))
}

/// Waits until a moment, and returns it. One that is long past is passed over.
fn pace(at: Instant) -> Instant {
    let now = Instant::now();
    if at + TICK < now {
        return now;
    }
    while let Some(left) = at
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        thread::park_timeout(left);
    }
    at
}

/// How long the thread that opens this has waited for a CPU, as Linux counts it.
struct Starved(Option<File>);

impl Starved {
    fn open() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    fn since(&mut self, before: Option<Duration>) -> Option<Duration> {
        Some(self.read()?.saturating_sub(before?))
    }

    fn read(&mut self) -> Option<Duration> {
        let file = self.0.as_mut()?;
        let mut text = [0; 64];
        file.rewind().ok()?;
        let length = file.read(&mut text).ok()?;
        let text = str::from_utf8(text.get(..length)?).ok()?;
        // On a CPU, waiting for one, and how often, in nanoseconds.
        let waited = text.split_whitespace().nth(1)?;
        Some(Duration::from_nanos(waited.parse().ok()?))
    }
}
