//! Many commits at once: of many tasks to one world, and of many worlds in one flush.

use std::time::Duration;

use anyhow::{Context, Result};
use aqevia::{Collection, ControllerConfig, StorageController, World, WorldId, WorldRecord};
use async_trait::async_trait;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::by_hand::time;
use crate::ours::{self, WORLD};
use crate::report::{Figure, Goal, Section};
use crate::rounds::{self, Plan, ratio};
use crate::side::{Persist, Side};
use crate::stores::{Engine, Pair, Stores};
use crate::workload::{Mix, Row, Workload, records};

/// So many tasks, how many commits they make together in a round, and the goal.
const TASKS: [(usize, usize, Option<f64>); 4] = [
    (1, 2000, None),
    (8, 3200, None),
    (64, 10_240, Some(10.0)),
    (512, 20_480, None),
];

/// What is committed.
const MIXES: [Mix; 2] = [Mix::Mixed, Mix::Events];

/// So many worlds, how many flushes are in a round, and the goal.
const WORLDS: (u32, usize, f64) = (64, 400, 0.8);

const PAYLOAD_BYTES: usize = 300;

/// Measures an engine.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    bar.inc_length((TASKS.len() * MIXES.len()) as u64 + 1);
    let mut figures = Vec::new();
    for mix in MIXES {
        figures.extend(measure_tasks(mix, stores.pair(engine).await?, quick, bar).await?);
    }
    figures.extend(measure_worlds(stores.pair(engine).await?, quick, bar).await?);
    Ok(figures)
}

async fn measure_tasks(
    mix: Mix,
    pair: Pair,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut workload = Workload::new(mix, PAYLOAD_BYTES, quick);
    let controller = ours::start(&pair.ours, ControllerConfig::default()).await?;
    let world = controller.open_world(WorldId::new(WORLD)?).await?;
    let ours = Tasks {
        world: world.clone(),
        count: 1,
    };
    let mut sides: [Box<dyn Side>; 2] = [Box::new(ours), pair.open_by_hand().await?];
    let fill = workload.fill();
    for side in &mut sides {
        side.write(&fill).await?;
    }
    let what = format!("tasks, one world, {}", mix.name());
    for (count, commits, goal) in TASKS {
        bar.set_message(format!("{} commits of {count} tasks", pair.engine.name()));
        let [ours, _] = &mut sides;
        *ours = Box::new(Tasks {
            world: world.clone(),
            count,
        });
        let plan = Plan::new(mix, 1, commits, quick);
        let all = rounds::run(plan, &mut workload, &mut sides).await?;
        let figure = figure(pair.engine, &what, &all).map(|figure| figure.at(count));
        figures.extend(figure.map(|figure| match goal {
            Some(least) => figure.with_goal(Goal::AtLeast(least)),
            None => figure,
        }));
        bar.inc(1);
    }
    controller.shutdown().await?;
    Ok(figures)
}

async fn measure_worlds(pair: Pair, quick: bool, bar: &ProgressBar) -> Result<Option<Figure>> {
    let (count, flushes, goal) = WORLDS;
    bar.set_message(format!("{} flushes of {count} worlds", pair.engine.name()));
    let mut workload = Workload::new(Mix::Mixed, PAYLOAD_BYTES, quick).with_worlds(count);
    let worlds = Worlds::open(&pair, count).await?;
    let mut sides: [Box<dyn Side>; 2] = [Box::new(worlds), pair.open_by_hand().await?];
    let plan = Plan::new(Mix::Mixed, count as usize, flushes, quick);
    let all = rounds::run(plan, &mut workload, &mut sides).await?;
    bar.inc(1);
    let figure = figure(pair.engine, "worlds, a record each", &all);
    Ok(figure.map(|figure| figure.at(count as usize).with_goal(Goal::AtLeast(goal))))
}

fn figure(engine: Engine, what: &str, sides: &[rounds::Series]) -> Option<Figure> {
    let [ours, by_hand] = sides else {
        return None;
    };
    let figure = Figure::ours(Section::Commit, engine.name(), what, time(ours));
    Some(figure.beside("by hand", time(by_hand), ratio(ours, by_hand)))
}

/// Tasks that commit to one world at once, each one batch after the other.
struct Tasks {
    world: World,
    count: usize,
}

#[async_trait]
impl Side for Tasks {
    async fn write(&mut self, batches: &[Vec<Row>]) -> Result<Duration> {
        let names = ours::names()?;
        let of = |rows: &Vec<Row>| records(self.world.id(), &names, rows);
        let share = |task| batches.iter().skip(task).step_by(self.count).map(of);
        let shares = (0..self.count).map(|task| share(task).collect());
        let shares: Vec<Vec<_>> = shares.collect::<Result<_>>()?;
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for share in shares {
            let world = self.world.clone();
            tasks.spawn(async move {
                for group in share {
                    world.commit(group).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(begin.elapsed())
    }
}

/// Worlds that are written by one flush.
struct Worlds {
    controller: StorageController,
    worlds: Vec<World>,
    names: Vec<Collection>,
}

impl Worlds {
    async fn open(pair: &Pair, count: u32) -> Result<Self> {
        let mut config = ControllerConfig::default();
        // Nothing starts a flush but the call.
        config.flush_interval = Duration::from_secs(3600);
        config.batch_capacity = usize::MAX;
        config.batch_capacity_bytes = usize::MAX;
        let controller = ours::start(&pair.ours, config).await?;
        let mut worlds = Vec::new();
        for number in 1..=count {
            let id = WorldId::new(format!("bench-{number}"))?;
            worlds.push(controller.open_world(id).await?);
        }
        Ok(Self {
            controller,
            worlds,
            names: ours::names()?,
        })
    }
}

impl Persist for Worlds {
    type Batch = Vec<(World, WorldRecord)>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        let mut batch = Vec::with_capacity(rows.len());
        for rows in rows.chunk_by(|row, next| row.world == next.world) {
            let number = rows.first().map_or(0, |row| row.world as usize);
            let world = self.worlds.get(number - 1).context("no such world")?;
            let records = records(world.id(), &self.names, rows)?;
            batch.extend(records.into_iter().map(|record| (world.clone(), record)));
        }
        Ok(batch)
    }

    async fn persist(&mut self, batch: Self::Batch) -> Result<()> {
        for (world, record) in batch {
            world.record(record)?;
        }
        Ok(self.controller.flush().await?)
    }
}
