//! What an engine played, and how long it took.

use std::time::Duration;

use aqevia::{Change, WorldId};
use hdrhistogram::Histogram;

use super::turns::Turn;

/// What was played so far.
#[derive(Debug, Default)]
pub struct Played {
    /// Turns handed over.
    pub turns: u64,
    /// Turns that were in the store already.
    pub skipped: u64,
    /// Records handed over.
    pub counts: Counts,
    /// How long the engine was held up by handing over.
    pub submit: Latency,
    /// How long it took from handing a turn over until it was durable.
    pub commit: Latency,
    /// From the first line to the durability of the last.
    pub time: Duration,
    /// Whether a world of the store goes on behind what was read of it.
    pub behind: bool,
    /// The last turn that was handed over.
    pub last: Option<(WorldId, u64)>,
}

impl Played {
    /// Counts a turn that was accepted.
    pub fn accepted(&mut self, world: &WorldId, turn: u64, counts: Counts) {
        self.turns += 1;
        self.counts.puts += counts.puts;
        self.counts.deletes += counts.deletes;
        self.counts.events += counts.events;
        self.last = Some((world.clone(), turn));
    }
}

/// How many records there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Entities put.
    pub puts: u64,
    /// Entities deleted.
    pub deletes: u64,
    /// Events.
    pub events: u64,
}

impl Counts {
    /// The records of a turn.
    #[must_use]
    pub fn of(turn: &Turn) -> Self {
        let mut counts = Self::default();
        for record in &turn.records {
            match record.change {
                Change::Put { .. } => counts.puts += 1,
                Change::Delete { .. } => counts.deletes += 1,
                _ => counts.events += 1,
            }
        }
        counts
    }

    /// All of them.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.puts + self.deletes + self.events
    }
}

/// A distribution of durations of up to an hour, to three digits.
#[derive(Debug, Default)]
pub struct Latency(Option<Histogram<u64>>);

const DIGITS: u8 = 3;
const NANOS_MAX: u64 = 3_600_000_000_000;

impl Latency {
    /// Adds a duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if self.0.is_none() {
            // Invariant: it fails for other bounds than these only.
            self.0 = Histogram::new_with_max(NANOS_MAX, DIGITS).ok();
        }
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(nanos);
        }
    }

    /// The duration that a share of all, from 0 to 1, does not exceed; `None` if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let histogram = self.0.as_ref()?;
        Some(Duration::from_nanos(histogram.value_at_quantile(share)))
    }
}
