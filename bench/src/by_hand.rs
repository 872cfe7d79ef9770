//! Ours beside the best code by hand, over kinds of rows and sizes of batches.

use anyhow::Result;
use indicatif::ProgressBar;

use crate::report::{Figure, Goal, Quantity, Section};
use crate::rounds::{self, Plan, Series, median, ratio};
use crate::stores::{Engine, Stores};
use crate::workload::{Mix, Workload};

/// Batches of so many rows, and how many of them are in a round: enough that each round has its share of
/// what an engine does from time to time, as moving a log into the database.
const SIZES: [(usize, usize); 5] = [(1, 3000), (10, 1200), (100, 300), (1000, 60), (10_000, 5)];
const PAYLOADS: [usize; 2] = [300, 2000];

/// What ours is to reach of the speed by hand, from a batch of so many rows on.
const GOALS: [(usize, f64); 2] = [(100, 0.9), (1, 0.8)];

/// Measures an engine. With `quick` there is less of all, and payloads of 300 bytes alone.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let payloads = PAYLOADS.iter().take(if quick { 1 } else { 2 });
    let kinds: Vec<_> = payloads
        .flat_map(|payload| Mix::ALL.map(|mix| (*payload, mix)))
        .collect();
    bar.inc_length((kinds.len() * SIZES.len()) as u64);
    let mut figures = Vec::new();
    for (payload, mix) in kinds {
        let what = format!("{}, {payload} B", mix.name());
        let mut workload = Workload::new(mix, payload, quick);
        let mut sides = stores.open(engine).await?;
        let fill = workload.fill();
        for side in &mut sides {
            side.write(&fill).await?;
        }
        for (rows, batches) in SIZES {
            bar.set_message(format!("{} {what}, {rows} a batch", engine.name()));
            let plan = Plan::new(mix, rows, batches, quick);
            let all = rounds::run(plan, &mut workload, &mut sides).await?;
            figures.extend(figure(engine, &what, rows, &all));
            bar.inc(1);
        }
    }
    Ok(figures)
}

fn figure(engine: Engine, what: &str, rows: usize, sides: &[Series]) -> Option<Figure> {
    let [ours, by_hand] = sides else {
        return None;
    };
    let goal = GOALS.iter().find(|(from, _)| rows >= *from)?.1;
    let figure = Figure::ours(Section::Hand, engine.name(), what, time(ours)).at(rows);
    let figure = figure.beside("by hand", time(by_hand), ratio(ours, by_hand));
    Some(figure.with_goal(Goal::AtLeast(goal)))
}

/// The median of the rounds.
pub(crate) fn time(series: &Series) -> Quantity {
    Quantity::seconds(median(series.iter().map(|batch| batch.as_secs_f64())))
}
