//! What was measured, for people and for programs.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use crate::rounds::Spread;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Section {
    /// Groups committed one after the other, beside the best code by hand
    Hand,
    /// Groups on SQLite beside what users pick instead
    Instead,
    /// Groups on SQLite beside an append to a plain file
    Floor,
    /// What `record` takes on the engine's thread
    Record,
    /// Commits of many tasks at once, beside single transactions by hand; many worlds in a flush
    Commit,
    /// Loading a world and reading its log, beside the bare statement
    Load,
    /// How the cost of a record grows with its store, its bytes on disk, and opening after a kill
    Growth,
    /// Recorded games and histories, beside a snapshot of the whole world each turn
    Real,
}

impl Section {
    /// How it is called on the command line.
    pub(crate) fn name(self) -> String {
        let name = self.to_possible_value();
        name.map_or_else(String::new, |name| name.get_name().to_owned())
    }

    /// What stands above its figures in a table.
    pub(crate) fn heading(self) -> String {
        format!(
            "\n{}: {}\nRatio: how many times as fast ours is, the median of the rounds' own ratios.\n\n{:9} {:34} {:>9} {:>9} {:>9}  {:20} {:>7} {:>15}  goal\n",
            self.name(),
            self.about(),
            "engine",
            "what",
            "at",
            "ours",
            "other",
            "",
            "ratio",
            "least to most"
        )
    }

    /// What the figures of the section are, for people.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Hand => {
                "Groups committed one after the other, each durable before the next. By hand: one \
                 program for the\nengine with the same promises. Times are of a group."
            }
            Self::Instead => {
                "Groups committed one after the other, beside what users pick instead: as \
                 durable, with fewer promises.\nTimes are of a group. By hand: the ratio that the best \
                 code by hand reaches, with the same promises as ours."
            }
            Self::Floor => {
                "Groups committed one after the other, beside an append of their keys and payloads \
                 to a file and\nsync_data. The ratio is the share of that speed which ours reaches."
            }
            Self::Record => {
                "`World::record` of 300 B on a thread of the engine's, the clock included, which the \
                 first line tells.\nTicks: 1,000 records every 2 ms. At once: as many without a \
                 pause. Idle: no flush before the end.\nFlushing: one follows the other. Slept: how \
                 often a call gave up its core, of all that were measured."
            }
            Self::Commit => {
                "Commits of one record of 300 B: of so many tasks to one world, beside single \
                 transactions by hand, one after\nthe other; and a flush of so many worlds with a \
                 record each, beside one transaction by hand. Times are of a\ncommit, or of a flush."
            }
            Self::Load => {
                "A world that was just opened is read in pages of the default limit, beside a \
                 statement by hand over the same\ntables that makes owned text of the same columns. \
                 Peak: how far the memory of a process rises that does so,\ncaches and a page \
                 included."
            }
            Self::Growth => {
                "Groups of 1,000 records of 300 bytes into a store of so many. Times are of a record, \
                 beside new stores\nof 10,000 records, round by round; growth is their ratio. Disk \
                 is bytes in a closed store for each byte of\npayload. Opening is timed after a kill \
                 in the middle of commits."
            }
            Self::Real => {
                "Recorded worlds of so many turns, each a group: committed turn by turn, or submitted \
                 as fast as it goes\nand flushed. Snapshot: all live entities of the world as JSON \
                 into a file, synced and renamed. Times and\nbytes written to disk are of a turn."
            }
        }
    }
}

/// A figure: ours, most often beside another.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) section: Section,
    pub(crate) engine: &'static str,
    /// What was done; with `at` it tells the figure from all others of its section and engine.
    pub(crate) what: String,
    /// The size of it: rows in a batch, records in the store, tasks.
    pub(crate) at: Option<u64>,
    pub(crate) ours: Quantity,
    pub(crate) other: Option<Other>,
    /// How many times better than the other the best code by hand is, where it ran beside both.
    pub(crate) by_hand: Option<Spread>,
    pub(crate) goal: Option<Goal>,
    pub(crate) met: Option<bool>,
}

/// What ours is compared with.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Other {
    pub(crate) name: &'static str,
    pub(crate) quantity: Quantity,
    /// How many times better ours is, of the pairs that were measured together.
    pub(crate) ratio: Spread,
}

/// How much of something: a median, if there were several rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Quantity {
    pub(crate) value: f64,
    pub(crate) unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    /// Time.
    Seconds,
    Bytes,
    /// Bytes on disk for each of payload, or times as much as before.
    Times,
}

/// What is to be reached.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// The median of the ratios, or ours if there is no other.
    AtLeast(f64),
    AtMost(f64),
}

impl Figure {
    /// A figure of ours alone.
    pub(crate) fn ours(
        section: Section,
        engine: &'static str,
        what: impl Into<String>,
        ours: Quantity,
    ) -> Self {
        Self {
            section,
            engine,
            what: what.into(),
            at: None,
            ours,
            other: None,
            by_hand: None,
            goal: None,
            met: None,
        }
    }

    /// The size of what was done.
    pub(crate) const fn at(mut self, at: usize) -> Self {
        self.at = Some(at as u64);
        self
    }

    /// What ours is compared with, and how many times better ours is.
    pub(crate) const fn beside(
        mut self,
        name: &'static str,
        quantity: Quantity,
        ratio: Spread,
    ) -> Self {
        self.other = Some(Other {
            name,
            quantity,
            ratio,
        });
        self
    }

    /// Whether both are of one thing, perhaps in different sizes.
    pub(crate) fn alike(&self, other: &Self) -> bool {
        (self.section, self.engine, &self.what) == (other.section, other.engine, &other.what)
    }

    /// How many times better than the other the best code by hand is.
    pub(crate) const fn by_hand(mut self, ratio: Spread) -> Self {
        self.by_hand = Some(ratio);
        self
    }

    /// What the ratio, or ours if there is none, is to reach.
    pub(crate) fn with_goal(mut self, goal: Goal) -> Self {
        let ours = self.ours.value;
        let value = self.other.as_ref().map_or(ours, |other| other.ratio.median);
        self.met = Some(match goal {
            Goal::AtLeast(least) => value >= least,
            Goal::AtMost(most) => value <= most,
        });
        self.goal = Some(goal);
        self
    }
}

impl Quantity {
    pub(crate) const fn seconds(value: f64) -> Self {
        Self {
            value,
            unit: Unit::Seconds,
        }
    }

    pub(crate) const fn bytes(value: f64) -> Self {
        Self {
            value,
            unit: Unit::Bytes,
        }
    }

    pub(crate) const fn times(value: f64) -> Self {
        Self {
            value,
            unit: Unit::Times,
        }
    }
}

/// Three digits and a unit.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: &[(f64, &str)] = match self.unit {
            Unit::Seconds => &[(1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s")],
            Unit::Bytes => &[(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")],
            Unit::Times => &[(1.0, "times")],
        };
        let fitting = steps.iter().rev().find(|(size, _)| self.value >= *size);
        let (size, unit) = fitting.or(steps.first()).copied().unwrap_or((1.0, ""));
        let value = self.value / size;
        let digits = match value {
            ..10.0 => 2,
            ..100.0 => 1,
            _ => 0,
        };
        f.pad(&format!("{value:.digits$} {unit}"))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => f.pad(&format!(">= {least}")),
            Self::AtMost(most) if *most < 1e-3 => {
                f.pad(&format!("<= {}", Quantity::seconds(*most)))
            }
            Self::AtMost(most) if *most >= 1e6 => f.pad(&format!("<= {}", Quantity::bytes(*most))),
            Self::AtMost(most) => f.pad(&format!("<= {most}")),
        }
    }
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }
}

/// Figures as lines of a table, below [`Section::heading`].
pub(crate) fn rows(figures: &[Figure]) -> String {
    figures.iter().map(|figure| format!("{figure}\n")).collect()
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.map(|at| at.to_string()).unwrap_or_default();
        write!(
            f,
            "{:9} {:34} {at:>9} {:>9} ",
            self.engine, self.what, self.ours
        )?;
        match &self.other {
            Some(other) => {
                let Spread {
                    median,
                    least,
                    most,
                } = other.ratio;
                let spread = format!("{least:.2} to {most:.2}");
                let (name, quantity) = (other.name, other.quantity);
                write!(f, "{quantity:>9}  {name:20} {median:>7.2} {spread:>15}")?;
            }
            None => write!(f, "{:>9}  {:20} {:>7} {:>15}", "", "", "", "")?,
        }
        if let Some(by_hand) = &self.by_hand {
            write!(f, "  by hand {:.2}", by_hand.median)?;
        }
        match (self.goal, self.met) {
            (Some(goal), Some(true)) => write!(f, "  {goal} met"),
            (Some(goal), _) => write!(f, "  {goal} MISSED"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits_and_goals_are_judged_on_the_ratio() {
        let shown = [12e-9, 1.5e-6, 0.0123, 250.0].map(|s| Quantity::seconds(s).to_string());
        assert_eq!(shown, ["12.0 ns", "1.50 µs", "12.3 ms", "250 s"]);
        assert_eq!(Quantity::bytes(1_234_567.0).to_string(), "1.23 MB");
        let figure = Figure::ours(Section::Hand, "sqlite", "events", Quantity::seconds(2.0));
        let alone = figure.clone().with_goal(Goal::AtMost(1.0));
        assert_eq!(alone.met, Some(false));
        let ratio = Spread {
            median: 0.95,
            least: 0.8,
            most: 1.0,
        };
        let beside = figure.beside("by hand", Quantity::seconds(1.9), ratio);
        assert_eq!(beside.with_goal(Goal::AtLeast(0.9)).met, Some(true));
    }
}
