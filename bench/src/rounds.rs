//! Rounds: every side writes the same batches, in an order that rotates.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::side::Side;
use crate::workload::{Mix, Workload};

/// How often and how much is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rows in a batch.
    rows: usize,
    /// Batches in a round.
    batches: usize,
    /// Rounds that warm caches and do not count.
    warming: usize,
    /// Rounds that count.
    rounds: usize,
}

impl Plan {
    /// So many batches a round; with `quick` a share of them, in fewer rounds. What filled the
    /// stores has warmed the caches then.
    pub(crate) const fn new(mix: Mix, rows: usize, batches: usize, quick: bool) -> Self {
        let (share, warming, rounds) = match (quick, mix) {
            (false, _) => (1, 1, 7),
            // Events write far fewer pages: it takes more of them until an engine moves its log.
            (true, Mix::Events) => (5, 0, 3),
            (true, _) => (20, 0, 3),
        };
        Self {
            rows,
            batches: batches.div_ceil(share),
            warming,
            rounds,
        }
    }
}

/// What a side took, a round each: the mean time of a batch, so that rare work counts.
pub(crate) type Series = Vec<Duration>;

/// What rounds came to.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

/// Runs rounds.
pub(crate) async fn run(
    plan: Plan,
    workload: &mut Workload,
    sides: &mut [Box<dyn Side>],
) -> Result<Vec<Series>> {
    let mut all = vec![Series::new(); sides.len()];
    for round in 0..plan.warming + plan.rounds {
        let batches: Vec<_> = (0..plan.batches)
            .map(|_| workload.batch(plan.rows))
            .collect();
        for turn in 0..sides.len() {
            let at = (turn + round) % sides.len();
            let (Some(side), Some(series)) = (sides.get_mut(at), all.get_mut(at)) else {
                continue;
            };
            let batch = side.write(&batches).await? / u32::try_from(plan.batches)?;
            if round >= plan.warming {
                series.push(batch);
            }
        }
    }
    Ok(all)
}

/// The median of what was measured.
pub(crate) fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    sorted(of).median
}

/// How much faster one side was than another, round by round.
pub(crate) fn ratio(of: &Series, to: &Series) -> Spread {
    let rounds = of.iter().zip(to);
    sorted(rounds.map(|(of, to)| to.as_secs_f64() / of.as_secs_f64()))
}

fn sorted(of: impl IntoIterator<Item = f64>) -> Spread {
    let mut all: Vec<f64> = of.into_iter().collect();
    all.sort_by(f64::total_cmp);
    let at = |at: usize| all.get(at).copied().unwrap_or(f64::NAN);
    Spread {
        median: at(all.len() / 2),
        least: at(0),
        most: at(all.len().saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_rounds_and_tells_their_spread() {
        let ms = |times: [u64; 3]| times.map(Duration::from_millis).to_vec();
        let ratio = ratio(&ms([10, 20, 40]), &ms([10, 10, 10]));
        assert_eq!((ratio.least, ratio.median, ratio.most), (0.25, 0.5, 1.0));
    }
}
