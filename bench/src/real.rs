//! Real input: recorded games and histories, beside a snapshot of the whole world each turn.

mod player;
mod recorded;
mod snapshots;

use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use examples::replay::turns::Turn;
use indicatif::ProgressBar;

use crate::place::Place;
use crate::report::{Figure, Quantity, Section};
use crate::rounds::{Series, Spread, ratio};
use crate::stores::{Engine, Stores};
use player::{Pace, Player};
use recorded::Recorded;
use snapshots::Snapshots;

/// A recording is played in so many rounds.
const ROUNDS: usize = 7;
/// The most turns of a recording with `quick`.
const QUICK_TURNS: usize = 1000;

/// What turns took.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    time: Duration,
    bytes: u64,
}

/// Measures an engine, with the recordings in folders. With `quick` it is the first turns of each.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    folders: &[PathBuf],
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let files = recorded::files(folders)?;
    bar.inc_length((files.len() * Pace::ALL.len()) as u64);
    let mut figures = Vec::new();
    for file in files {
        let turns_max = if quick { QUICK_TURNS } else { usize::MAX };
        let recorded = Recorded::read(&file, turns_max)?;
        for pace in Pace::ALL {
            bar.set_message(format!("{} {}", engine.name(), recorded.name));
            let place = stores.place(engine).await?;
            let played = Played::play(&recorded.turns, pace, &place).await?;
            place.remove().await?;
            figures.extend(played.figures(engine, pace, &recorded));
            bar.inc(1);
        }
    }
    Ok(figures)
}

/// What both sides took.
struct Played {
    /// The mean time of a turn, a round each.
    ours: Series,
    snapshots: Series,
    all_ours: Cost,
    all_snapshots: Cost,
    /// Whether the system tells how much was written.
    counted: bool,
}

impl Played {
    /// Both sides play the same turns, round by round.
    async fn play(turns: &[Turn], pace: Pace, place: &Place) -> Result<Self> {
        let before = place.written().await?;
        let mut player = Player::open(&place.url, pace).await?;
        let mut snapshots = Snapshots::new()?;
        let mut played = Self {
            ours: Series::new(),
            snapshots: Series::new(),
            all_ours: Cost::default(),
            all_snapshots: Cost::default(),
            counted: before.is_some(),
        };
        for round in turns.chunks(turns.len().div_ceil(ROUNDS).max(1)) {
            let turns = u32::try_from(round.len())?;
            let time = player.play(round).await?;
            played.ours.push(time / turns);
            played.all_ours.time += time;
            let cost = tokio::task::block_in_place(|| snapshots.play(round))?;
            played.snapshots.push(cost.time / turns);
            played.all_snapshots += cost;
        }
        player.close().await?;
        let after = place.written().await?.unwrap_or_default();
        let others = if place.is_folder() {
            snapshots.written
        } else {
            0
        };
        played.all_ours.bytes = after - before.unwrap_or_default() - others;
        Ok(played)
    }

    fn figures(&self, engine: Engine, pace: Pace, recorded: &Recorded) -> Vec<Figure> {
        let turns = recorded.turns.len();
        let a_turn = |all: f64| all / turns as f64;
        let time = |cost: Cost| Quantity::seconds(a_turn(cost.time.as_secs_f64()));
        let bytes = |cost: Cost| Quantity::bytes(a_turn(cost.bytes as f64));
        let what = format!("{}, {}", recorded.name, pace.name());
        let figure = |what: &str, of: &dyn Fn(Cost) -> Quantity, ratio: Spread| {
            Figure::ours(Section::Real, engine.name(), what, of(self.all_ours))
                .at(turns)
                .beside("snapshot", of(self.all_snapshots), ratio)
        };
        let mut figures = vec![figure(&what, &time, ratio(&self.ours, &self.snapshots))];
        if self.counted {
            let times = self.all_snapshots.bytes as f64 / self.all_ours.bytes as f64;
            let ratio = Spread {
                median: times,
                least: times,
                most: times,
            };
            figures.push(figure(&format!("{what}, disk"), &bytes, ratio));
        }
        figures
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.bytes += other.bytes;
    }
}
