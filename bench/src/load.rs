//! Loading a world and reading a log, beside the bare statement over the same tables.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aqevia::{ControllerConfig, Limit, LogRange, Reads, StateRange, WorldId};
use indicatif::ProgressBar;
use tokio::time::Instant;

use crate::bare::Bare;
use crate::by_hand::time;
use crate::ours::{self, Ours, WORLD};
use crate::peak;
use crate::report::{Figure, Goal, Quantity, Section};
use crate::rounds::{Series, ratio};
use crate::side::Side;
use crate::stores::{Engine, Pair, Stores};
use crate::workload::{Mix, Workload};

/// What ours is to reach of the speed of the bare statement.
const GOAL: f64 = 0.7;
/// What paging may take of memory, and the bytes of a page, which come on top.
const PEAK_MAX: usize = 64_000_000;

const PAYLOAD_BYTES: usize = 300;
const ENTITIES: usize = 100_000;
const RECORDS: usize = 1_000_000;
/// How many times less there is with `--quick`.
const QUICK: [usize; 2] = [5, 20];

/// Rows of a group in which the store is filled, and groups that are made at once.
const GROUP: usize = 1000;
const GROUPS: usize = 50;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The newest payload of every key.
    State,
    /// Every record.
    Log,
}

impl FromStr for What {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let mut all = [Self::State, Self::Log].into_iter();
        let named = all.find(|what| what.name() == name);
        named.with_context(|| format!("{name:?} is nothing that is read"))
    }
}

/// What was read, so that nothing of it can be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: usize,
    pub(crate) payload_bytes: usize,
}

/// Measures an engine.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let [fewer_entities, fewer_records] = if quick { QUICK } else { [1, 1] };
    let (entities, records) = (ENTITIES / fewer_entities, RECORDS / fewer_records);
    let cases = [
        ("state, history latest", What::State, Mix::Latest, entities),
        ("state, history all", What::State, Mix::All, entities),
        ("log of events", What::Log, Mix::Events, records),
    ];
    bar.inc_length(cases.len() as u64);
    let mut figures = Vec::new();
    for (name, what, mix, rows) in cases {
        bar.set_message(format!("{} {name}", engine.name()));
        let pair = stores.pair(engine).await?;
        fill(&pair, mix, rows).await?;
        let [ours, bare] = rounds(&pair, what, rows, if quick { 3 } else { 7 }).await?;
        let figure = Figure::ours(Section::Load, engine.name(), name, time(&ours)).at(rows);
        let figure = figure.beside("bare statement", time(&bare), ratio(&ours, &bare));
        figures.push(figure.with_goal(Goal::AtLeast(GOAL)));
        let peak = Quantity::bytes(peak::of(what, &pair.ours).await? as f64);
        let figure = Figure::ours(Section::Load, engine.name(), format!("{name}: peak"), peak);
        let most = PEAK_MAX + Limit::default().bytes;
        figures.push(figure.at(rows).with_goal(Goal::AtMost(most as f64)));
        bar.inc(1);
    }
    Ok(figures)
}

/// Writes so many entities, and half as many of them again in no order; or so many events.
async fn fill(pair: &Pair, mix: Mix, rows: usize) -> Result<()> {
    let mut ours = Ours::open(&pair.ours).await?;
    let collections = 5;
    let mut workload =
        Workload::new(mix, PAYLOAD_BYTES, false).with_entities((rows / collections) as u64);
    let entities = workload.fill();
    for groups in entities.chunks(GROUPS) {
        ours.write(groups).await?;
    }
    let mut more = if entities.is_empty() { rows } else { rows / 2 } / GROUP;
    while more > 0 {
        let groups = more.min(GROUPS);
        let groups: Vec<_> = (0..groups).map(|_| workload.batch(GROUP)).collect();
        ours.write(&groups).await?;
        more -= groups.len();
    }
    ours.close().await
}

/// What each took, in turns, each time from a store that was just opened.
async fn rounds(pair: &Pair, what: What, rows: usize, count: usize) -> Result<[Series; 2]> {
    let (mut ours, mut bare) = (Series::new(), Series::new());
    for round in 0..=count {
        let (first, second);
        if round % 2 == 0 {
            first = time_ours(pair, what).await?;
            second = time_bare(pair, what).await?;
        } else {
            second = time_bare(pair, what).await?;
            first = time_ours(pair, what).await?;
        }
        ensure!(
            first.1 == second.1 && first.1.rows == rows,
            "both read the same"
        );
        // The first round warms caches.
        if round > 0 {
            ours.push(first.0);
            bare.push(second.0);
        }
    }
    Ok([ours, bare])
}

async fn time_ours(pair: &Pair, what: What) -> Result<(Duration, Sum)> {
    let controller = ours::start(&pair.ours, ControllerConfig::default()).await?;
    let world = controller.open_world(WorldId::new(WORLD)?).await?;
    let begin = Instant::now();
    let sum = what.page_through(&controller, world.id()).await?;
    let time = begin.elapsed();
    controller.shutdown().await?;
    Ok((time, sum))
}

async fn time_bare(pair: &Pair, what: What) -> Result<(Duration, Sum)> {
    let mut bare = Bare::open(pair).await?;
    let begin = Instant::now();
    let sum = bare.read(what).await?;
    Ok((begin.elapsed(), sum))
}

impl What {
    /// Its name on a command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Log => "log",
        }
    }

    /// Reads to the end, as an engine does at its start.
    pub(crate) async fn page_through(self, reads: &impl Reads, world: &WorldId) -> Result<Sum> {
        match self {
            Self::State => page_through_state(reads, world).await,
            Self::Log => page_through_log(reads, world).await,
        }
    }
}

async fn page_through_state(reads: &impl Reads, world: &WorldId) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut next = Some(StateRange::all());
    while let Some(range) = next {
        let page = reads.state(world, range, Limit::default()).await?;
        for row in page.items {
            sum.add(row.payload.len());
        }
        next = page.next;
    }
    Ok(sum)
}

async fn page_through_log(reads: &impl Reads, world: &WorldId) -> Result<Sum> {
    let mut sum = Sum::default();
    let mut next = Some(LogRange::ALL);
    while let Some(range) = next {
        let page = reads.log(world, range, Limit::default()).await?;
        for row in page.items {
            sum.add(row.record.payload().map_or(0, |payload| payload.len()));
        }
        next = page.next;
    }
    Ok(sum)
}

impl Sum {
    /// Counts a row.
    pub(crate) const fn add(&mut self, payload_bytes: usize) {
        self.rows += 1;
        self.payload_bytes += payload_bytes;
    }
}
