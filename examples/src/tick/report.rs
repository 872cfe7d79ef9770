//! What a user reads at the end.

use std::fmt;
use std::time::Duration;

use aqevia::{ControllerStats, StoreUrl};

use super::engine::{Played, TICK, Tick};
use super::options::{Fault, Options};
use super::verify::Verdict;
use super::watch::Sample;
use crate::replay::halt::Signal;
use crate::replay::played::Latency;
use crate::replay::report::{Count, readable};

/// The longest that a whole tick may take for our sake.
pub const WHOLE_MAX: Duration = Duration::from_millis(8);
/// What half of the ticks may spend in our calls.
const CALLS_P50: Duration = Duration::from_micros(200);
/// What all but one of a thousand may.
const CALLS_P999: Duration = Duration::from_millis(1);

/// What was seen from outside.
#[derive(Debug, Default)]
pub struct Seen {
    /// How everything stood, ten times a second.
    pub samples: Vec<Sample>,
    /// When the fault began.
    pub fault_began_s: Option<f64>,
    /// When it had ended.
    pub fault_ended_s: Option<f64>,
    /// How long after that the controller had recovered; `None` if it had not.
    pub recovered_s: Option<f64>,
}

impl Seen {
    /// The greatest of some figure.
    fn max(&self, figure: impl Fn(&Sample) -> f64) -> f64 {
        self.samples.iter().map(figure).fold(0.0, f64::max)
    }

    /// The longest that anything had been waiting.
    #[must_use]
    pub fn exposure_age_max_s(&self) -> f64 {
        self.max(|sample| sample.exposure_age_s)
    }

    /// The most memory until a moment.
    fn memory_until(&self, at_s: f64) -> Option<u64> {
        let samples = self.samples.iter().filter(|sample| sample.at_s <= at_s);
        samples.filter_map(|sample| sample.memory_bytes).max()
    }
}

/// A distribution of times.
#[derive(Debug, Default)]
pub struct Times(Latency);

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut latency = Latency::default();
        times.for_each(|time| latency.record(time));
        Self(latency)
    }

    /// The time that a share of all, from 0 to 1, does not exceed.
    #[must_use]
    pub fn at(&self, share: f64) -> Duration {
        self.0.quantile(share).unwrap_or_default()
    }
}

/// The shares that are told of each distribution.
pub const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// What became of a run.
#[derive(Debug)]
pub struct Report {
    /// The store, for people.
    pub store: String,
    /// What was asked for.
    pub options: Options,
    /// What the engine did.
    pub played: Played,
    /// What was seen meanwhile.
    pub seen: Seen,
    /// How long whole ticks took.
    pub whole: Times,
    /// The same without the time in which the system let others run.
    pub fed: Times,
    /// How long our calls took, a tick.
    pub calls: Times,
    /// The same without the time in which the system let others run.
    pub calls_fed: Times,
    /// For how long captures held the engine's lock.
    pub held: Times,
    /// What the controller counted.
    pub stats: ControllerStats,
    /// How long it took to save, to persist and to close in the end.
    pub shutdown_s: f64,
    /// The signal that ended the run before anything was compared.
    pub stopped_by: Option<Signal>,
    /// What is stored.
    pub verdict: Verdict,
}

/// What ought to hold, and whether it does.
#[derive(Debug)]
pub struct Goal {
    /// What is measured.
    pub name: &'static str,
    /// How long it took.
    pub measured: Duration,
    /// How long it may take.
    pub most: Duration,
}

impl Goal {
    /// Whether it holds.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.measured < self.most
    }
}

impl Report {
    /// The report of a run that has ended, but for what is stored.
    #[must_use]
    pub fn new(
        options: &Options,
        store: &StoreUrl,
        played: Played,
        seen: Seen,
        held: Vec<Duration>,
    ) -> Self {
        let ticks = || played.ticks.iter();
        let fed = |tick: &Tick| tick.whole.saturating_sub(tick.starved.unwrap_or_default());
        let calls_fed = |tick: &Tick| {
            let starved = tick.starved_in_calls.unwrap_or_default();
            tick.calls.saturating_sub(starved)
        };
        Self {
            store: store.to_string(),
            options: options.clone(),
            whole: Times::of(ticks().map(|tick| tick.whole)),
            fed: Times::of(ticks().map(fed)),
            calls: Times::of(ticks().map(|tick| tick.calls)),
            calls_fed: Times::of(ticks().map(calls_fed)),
            held: Times::of(held.into_iter()),
            stats: ControllerStats::default(),
            shutdown_s: 0.0,
            stopped_by: None,
            verdict: Verdict::default(),
            played,
            seen,
        }
    }

    /// Takes what the controller counted.
    pub fn count(&mut self, stats: &ControllerStats) {
        self.stats = stats.clone();
    }

    /// Whether the controller was seen to be degraded.
    #[must_use]
    pub fn degraded(&self) -> bool {
        self.seen.samples.iter().any(|sample| !sample.healthy)
    }

    /// How many frames were missed: ticks longer than the time from one to the next.
    #[must_use]
    pub fn missed(&self) -> usize {
        let ticks = self.played.ticks.iter();
        ticks.filter(|tick| tick.whole > TICK).count()
    }

    /// The most pending records, pending bytes, dirty entities, and seconds of exposure.
    #[must_use]
    pub fn most(&self) -> [f64; 4] {
        [
            self.seen.max(|sample| sample.pending_records as f64),
            self.seen.max(|sample| sample.pending_bytes as f64),
            self.seen.max(|sample| sample.dirty as f64),
            self.seen.exposure_age_max_s(),
        ]
    }

    /// The most memory before the fault, and in all; in bytes.
    #[must_use]
    pub fn memory(&self) -> [Option<u64>; 2] {
        let began = self.seen.fault_began_s.unwrap_or(f64::MAX);
        [began, f64::MAX].map(|at_s| self.seen.memory_until(at_s))
    }

    /// What ought to hold.
    #[must_use]
    pub fn goals(&self) -> [Goal; 3] {
        let goal = |name, measured, most| Goal {
            name,
            measured,
            most,
        };
        [
            goal("worst whole tick", self.whole.at(1.0), WHOLE_MAX),
            goal("calls, p50", self.calls.at(0.5), CALLS_P50),
            goal("calls, p99.9", self.calls.at(0.999), CALLS_P999),
        ]
    }

    /// The exit code: 0 if the controller recovered and all is stored once, or that of a signal.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if let Some(signal) = self.stopped_by {
            return signal.exit_code();
        }
        let stored = self.verdict.differences.count() == 0;
        u8::from(!stored || self.seen.recovered_s.is_none())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.options;
        row(f, "store", &self.store)?;
        row(f, "fault", Course(self))?;
        let (entities, dirty) = (Count(options.entities.into()), Count(options.dirty.into()));
        let events = options.events;
        row(
            f,
            "engine",
            format_args!(
                "{} ticks at 60/s; {entities} entities, {dirty} dirty and {events} events a tick",
                Count(self.played.ticks.len() as u64)
            ),
        )?;
        self.times(f)?;
        self.bounds(f)?;
        let stats = &self.stats;
        row(
            f,
            "controller",
            format_args!(
                "{} flushes, {} records, {} entities captured, {} retries, {} dead letters",
                Count(stats.flush_count),
                Count(stats.records),
                Count(stats.captured),
                Count(stats.retries),
                Count(stats.dead_letters)
            ),
        )?;
        if self.stopped_by.is_none() {
            row(
                f,
                "end",
                format_args!("all persisted in {:.2} s", self.shutdown_s),
            )?;
        }
        for goal in self.goals() {
            let Goal {
                name,
                measured,
                most,
            } = goal;
            let met = if goal.is_met() { "met" } else { "MISSED" };
            let (measured, most) = (readable(measured), readable(most));
            row(
                f,
                "goal",
                format_args!("{name}: {measured} of {most}, {met}"),
            )?;
        }
        row(f, "verdict", Stored(self))
    }
}

impl Report {
    fn times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:16}", "per tick")?;
        for (name, _) in SHARES {
            write!(f, " {name:>10}")?;
        }
        writeln!(f)?;
        for (name, times) in [
            ("  whole", &self.whole),
            ("  without hunger", &self.fed),
            ("  in our calls", &self.calls),
            ("  without hunger", &self.calls_fed),
            ("  lock held", &self.held),
        ] {
            write!(f, "{name:16}")?;
            for (_, share) in SHARES {
                write!(f, " {:>10}", readable(times.at(share)))?;
            }
            writeln!(f)?;
        }
        row(f, "frames missed", self.missed())
    }

    fn bounds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [records, bytes, dirty, age] = self.most();
        let mib = bytes / f64::from(1 << 20);
        row(
            f,
            "at most",
            format_args!("{records} pending ({mib:.1} MiB), {dirty} dirty, for {age:.1} s"),
        )?;
        row(
            f,
            "refused",
            format_args!("{} events, told later", Count(self.played.refused)),
        )?;
        match self.memory() {
            [Some(before), Some(most)] => {
                let (before, most) = (before >> 20, most >> 20);
                row(
                    f,
                    "memory",
                    format_args!("{before} MiB before, {most} MiB at most"),
                )
            }
            _ => row(f, "memory", "–"),
        }
    }
}

/// What befell the store, and what came of it.
struct Course<'a>(&'a Report);

impl fmt::Display for Course<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let (fault, seen) = (report.options.fault, &report.seen);
        write!(f, "{}", fault.name())?;
        if let (Some(began), Some(ended)) = (seen.fault_began_s, seen.fault_ended_s)
            && fault != Fault::None
        {
            write!(f, " from {began:.1} s to {ended:.1} s")?;
        }
        let degraded = if report.degraded() {
            "degraded"
        } else {
            "never degraded"
        };
        match seen.recovered_s {
            Some(seconds) if fault != Fault::None => {
                write!(f, "; {degraded}, recovered {seconds:.1} s later")
            }
            Some(_) => write!(f, "; {degraded}"),
            None if report.stopped_by.is_some() => write!(f, "; {degraded}"),
            None => write!(f, "; {degraded}, NOT RECOVERED"),
        }
    }
}

/// What is stored.
struct Stored<'a>(&'a Report);

impl fmt::Display for Stored<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(signal) = self.0.stopped_by {
            let name = signal.name();
            return write!(f, "stopped by {name} before anything was compared");
        }
        let verdict = &self.0.verdict;
        let (entities, events) = (Count(verdict.entities), Count(verdict.events));
        if verdict.differences.count() == 0 {
            return write!(
                f,
                "all stored: {entities} entities in their last state, {events} events once each"
            );
        }
        let count = Count(verdict.differences.count());
        write!(f, "MISMATCH: {count} differences")?;
        for difference in verdict.differences.told() {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:16} {value}")
}
