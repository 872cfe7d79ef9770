//! What a user reads at the end.

use std::fmt;
use std::time::Duration;

use super::halt::Halt;
use super::played::{Latency, Played};
use super::verify::Differences;

/// What became of a replay.
#[derive(Debug)]
pub struct Report {
    /// The stream, for people.
    pub input: String,
    /// The store, for people.
    pub store: String,
    /// What was played.
    pub played: Played,
    /// How often the controller flushed.
    pub flush_count: u64,
    /// How large the store is once it is closed, if that is known.
    pub store_bytes: Option<u64>,
    /// What the comparison found.
    pub verdict: Verdict,
    /// Why it ended early, if it did.
    pub halt: Option<Halt>,
    /// Whether the store is there when this process has ended.
    pub outlives: bool,
}

/// What comparing the store with the stream found.
#[derive(Debug)]
pub enum Verdict {
    /// There was none, or it was not finished. Why.
    None(&'static str),
    /// The store was compared.
    Compared {
        /// Which store: the one that was opened again, or the one that may end with this process.
        when: &'static str,
        /// With what: the stream, or as much of it as could be read.
        extent: &'static str,
        /// The entities that the stream leaves.
        entities: u64,
        /// The events of the stream.
        events: u64,
        /// In what they differ.
        differences: Differences,
    },
}

impl Report {
    /// The exit code: 0 if the stream was played to its end and nothing differs.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match (&self.halt, &self.verdict) {
            (Some(Halt::Signal(signal)), _) => signal.exit_code(),
            (Some(_), _) => 1,
            (None, Verdict::Compared { differences, .. }) => u8::from(differences.count() > 0),
            (None, Verdict::None(_)) => 0,
        }
    }
}

impl Report {
    /// Why the replay failed or ended early, where it stands, and what to do, if it did.
    #[must_use]
    pub fn farewell(&self) -> Option<String> {
        let Some(halt) = &self.halt else {
            let differs = "the store differs from the stream, as the verdict says";
            return (self.exit_code() != 0).then(|| differs.to_owned());
        };
        let why = match halt {
            Halt::Signal(signal) => format!("stopped by {}", signal.name()),
            Halt::Stream(error) | Halt::Store(error) => format!("{error:#}"),
        };
        let stands = match &self.played.last {
            Some((world, turn)) => format!("stored up to turn {turn} of world {world:?}"),
            None => "nothing was played".to_owned(),
        };
        let next = match halt {
            Halt::Store(_) => return Some(why),
            _ if !self.outlives => "the store ended with this process",
            Halt::Signal(_) => "go on with --resume",
            Halt::Stream(_) => "correct the stream and go on with --resume",
        };
        Some(format!("{why}; {stands}; {next}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let played = &self.played;
        let counts = &played.counts;
        let seconds = played.time.as_secs_f64();
        row(f, "stream", &self.input)?;
        row(f, "store", &self.store)?;
        row(
            f,
            "turns",
            format_args!("{}{}", Count(played.turns), Skipped(played.skipped)),
        )?;
        let (puts, deletes, events) = (counts.puts, counts.deletes, counts.events);
        let (puts, deletes, events) = (Count(puts), Count(deletes), Count(events));
        let sum = Count(counts.sum());
        row(
            f,
            "records",
            format_args!("{sum} ({puts} puts, {deletes} deletes, {events} events)"),
        )?;
        row(f, "flushes", Count(self.flush_count))?;
        row(f, "time", format_args!("{seconds:.2} s"))?;
        match rate(counts.sum(), seconds) {
            0 => row(f, "records/s", "–")?,
            rate => row(f, "records/s", Count(rate))?,
        }
        match self.store_bytes {
            Some(bytes) => row(f, "on disk", format_args!("{} bytes", Count(bytes)))?,
            None => row(f, "on disk", "–")?,
        }
        writeln!(
            f,
            "{:10} {:>10} {:>10} {:>10}",
            "per turn", "p50", "p99", "max"
        )?;
        latency(f, "  submit", &played.submit)?;
        latency(f, "  commit", &played.commit)?;
        row(f, "verdict", &self.verdict)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (when, extent, entities, events, differences) = match self {
            Self::None(why) => return write!(f, "not verified: {why}"),
            Self::Compared {
                when,
                extent,
                entities,
                events,
                differences,
            } => (when, extent, Count(*entities), Count(*events), differences),
        };
        if differences.count() == 0 {
            return write!(
                f,
                "verified {when}: {entities} entities and {events} events as in {extent}"
            );
        }
        let count = Count(differences.count());
        write!(f, "MISMATCH {when}: {count} differences from {extent}")?;
        for difference in differences.told() {
            write!(f, "\n  {difference}")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "{name:10} {value}")
}

fn latency(f: &mut fmt::Formatter<'_>, name: &str, latency: &Latency) -> fmt::Result {
    let at = |share| latency.quantile(share).map_or("–".to_owned(), readable);
    writeln!(
        f,
        "{name:10} {:>10} {:>10} {:>10}",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is shown to the whole number; the cast saturates"
)]
fn rate(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 {
        (count as f64 / seconds) as u64
    } else {
        0
    }
}

/// A duration in the unit that leaves three digits or fewer before the point.
#[must_use]
pub fn readable(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let unit = units.into_iter().find(|(size, _)| nanos >= *size);
    let (size, name) = unit.unwrap_or((1.0, "ns"));
    let value = nanos / size;
    match value < 10.0 && size > 1.0 {
        true => format!("{value:.1} {name}"),
        false => format!("{value:.0} {name}"),
    }
}

struct Skipped(u64);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({} more were stored already)", Count(count)),
        }
    }
}

/// A number with commas between thousands.
#[derive(Clone, Copy, Debug)]
pub struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut shown = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                shown.push(',');
            }
            shown.push(digit);
        }
        f.pad(&shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        let shown = [0, 999, 1000, 24_032, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(shown, ["0", "999", "1,000", "24,032", "1,234,567"]);
        let shown = [850, 1_500, 12_345_678, 3_000_000_000]
            .map(|nanos| readable(Duration::from_nanos(nanos)));
        assert_eq!(shown, ["850 ns", "1.5 µs", "12 ms", "3.0 s"]);
    }
}
