//! What becomes of the costs when a store grows: of a record, on disk, and of opening after a kill.

pub(crate) mod killed;

use std::time::Duration;

use anyhow::Result;
use indicatif::ProgressBar;
use tokio::time::Instant;

use crate::ours::Ours;
use crate::place::Place;
use crate::report::{Figure, Goal, Quantity, Section};
use crate::rounds::{Series, median, ratio};
use crate::side::Side;
use crate::stores::{Engine, Stores};
use crate::workload::{Mix, Row, Workload};
use killed::Committing;

const MIXES: [Mix; 3] = [Mix::Events, Mix::Latest, Mix::All];
/// Records in the smallest store. Entities are there from the start and do not count.
const SMALLEST: u64 = 10_000;
const SIZES: [u64; 4] = [SMALLEST, 100_000, 1_000_000, 5_000_000];
const QUICK_SIZES: [u64; 2] = [SMALLEST, 50_000];

const PAYLOAD_BYTES: usize = 300;
/// In a group, and in one of those that only make the store larger.
const ROWS: usize = 1000;
const FILL_ROWS: usize = 5000;
/// Groups in a round: enough for work that is put off to fall into each.
const GROUPS: usize = 20;
const QUICK_GROUPS: usize = 14;
/// With keys, which write more pages.
const QUICK_GROUPS_KEYED: usize = 3;
const ROUNDS: usize = 7;
const QUICK_ROUNDS: usize = 3;
/// Groups that are written before the rounds.
const WARMING: usize = 5;
/// How often a process is killed at a size.
const KILLS: usize = 3;

/// How many times as much a record may cost in the largest store as in the smallest.
const GROWTH_MAX: f64 = 1.5;

/// The most bytes on disk for each byte of payload.
const fn disk_max(engine: Engine) -> Option<f64> {
    match engine {
        Engine::Sqlite => Some(1.4),
        Engine::Postgres => Some(1.9),
        Engine::Sled => None,
    }
}

/// Measures an engine. With `quick` it is up to 50,000 records.
pub(crate) async fn measure(
    engine: Engine,
    stores: &mut Stores,
    quick: bool,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let sizes: &[u64] = if quick { &QUICK_SIZES } else { &SIZES };
    bar.inc_length((MIXES.len() * sizes.len()) as u64);
    let mut figures = Vec::new();
    for mix in MIXES {
        let mut growing = Growing {
            engine,
            mix,
            quick,
            place: stores.place(engine).await?,
            workload: Workload::new(mix, PAYLOAD_BYTES, quick),
            growth: None,
            figures: Vec::new(),
        };
        for size in sizes {
            bar.set_message(format!("{} {}, {size}", engine.name(), mix.name()));
            growing.measure(*size, stores).await?;
            bar.inc(1);
        }
        growing.place.remove().await?;
        figures.extend(growing.figures);
        figures.extend(growing.growth);
    }
    Ok(figures)
}

/// A store that grows. Nobody has it open between two measurements.
struct Growing {
    engine: Engine,
    mix: Mix,
    quick: bool,
    place: Place,
    workload: Workload,
    /// How many times as much a record costs as in the smallest store, of the largest so far.
    growth: Option<Figure>,
    figures: Vec<Figure>,
}

impl Growing {
    /// Makes the store as large as `size`, and measures there.
    async fn measure(&mut self, size: u64, stores: &mut Stores) -> Result<()> {
        let mut ours = Ours::open(&self.place.url).await?;
        let records = fill(&mut ours, &mut self.workload, size).await?;
        ours.close().await?;
        if self.mix == Mix::Events {
            self.measure_disk(size, records).await?;
        }
        if size > SMALLEST {
            self.measure_time(size, stores).await?;
        }
        if self.mix == Mix::Events {
            self.measure_open(size).await?;
            // It takes seconds, however large the store is.
            if !self.quick || size > SMALLEST {
                self.measure_restart(size, stores).await?;
            }
        }
        Ok(())
    }

    /// What the store takes up that was closed.
    async fn measure_disk(&mut self, size: u64, records: u64) -> Result<()> {
        let payload = (records * PAYLOAD_BYTES as u64) as f64;
        let times = |bytes: u64| Quantity::times(bytes as f64 / payload);
        let disk = self.figure("disk", size, times(self.place.bytes().await?));
        self.figures.push(match disk_max(self.engine) {
            Some(most) => disk.with_goal(Goal::AtMost(most)),
            None => disk,
        });
        if let Some(bytes) = self.place.database_bytes().await? {
            let database = self.figure("disk, whole database", size, times(bytes));
            self.figures.push(database);
        }
        Ok(())
    }

    /// Writes the same groups to this store and to new ones of the smallest size, round by round.
    async fn measure_time(&mut self, size: u64, stores: &mut Stores) -> Result<()> {
        let mut here = Ours::open(&self.place.url).await?;
        // A store that was just opened has read nothing yet.
        write(&mut here, &self.groups(WARMING)).await?;
        let mut series = [Series::new(), Series::new()];
        for round in 0..if self.quick { QUICK_ROUNDS } else { ROUNDS } {
            let groups = self.groups(match (self.quick, self.mix) {
                (false, _) => GROUPS,
                (true, Mix::Events) => QUICK_GROUPS,
                (true, _) => QUICK_GROUPS_KEYED,
            });
            let [ours, small] = &mut series;
            // In turns, so that what one leaves to be done falls on both.
            if round % 2 == 0 {
                ours.push(write(&mut here, &groups).await?);
                small.push(self.write_to_smallest(&groups, stores).await?);
            } else {
                small.push(self.write_to_smallest(&groups, stores).await?);
                ours.push(write(&mut here, &groups).await?);
            }
        }
        here.close().await?;
        self.add_times(size, &series);
        Ok(())
    }

    fn groups(&mut self, count: usize) -> Vec<Vec<Row>> {
        (0..count).map(|_| self.workload.batch(ROWS)).collect()
    }

    /// Writes groups to a new store of the smallest size.
    async fn write_to_smallest(
        &self,
        groups: &[Vec<Row>],
        stores: &mut Stores,
    ) -> Result<Duration> {
        let place = stores.place(self.engine).await?;
        let mut small = Ours::open(&place.url).await?;
        let mut workload = Workload::new(self.mix, PAYLOAD_BYTES, self.quick);
        fill(&mut small, &mut workload, SMALLEST).await?;
        let warming: Vec<_> = (0..WARMING).map(|_| workload.batch(ROWS)).collect();
        write(&mut small, &warming).await?;
        let time = write(&mut small, groups).await?;
        small.close().await?;
        place.remove().await?;
        Ok(time)
    }

    fn add_times(&mut self, size: u64, [here, small]: &[Series; 2]) {
        let figure = self.figure("a record", size, a_record(here));
        let figure = figure.beside("of 10,000 records", a_record(small), ratio(here, small));
        self.figures.push(figure);
        let growth = Quantity::times(ratio(small, here).median);
        let growth = self.figure("growth", size, growth);
        self.growth = Some(growth.with_goal(Goal::AtMost(GROWTH_MAX)));
    }

    /// Kills who commits to the store, and opens it.
    async fn measure_open(&mut self, size: u64) -> Result<()> {
        let url = &self.place.url;
        let mut times = Vec::new();
        for _ in 0..if self.quick { 1 } else { KILLS } {
            drop(Committing::start(url).await?);
            let begin = Instant::now();
            let opened = Ours::open(url).await?;
            times.push(begin.elapsed().as_secs_f64());
            opened.close().await?;
        }
        let time = Quantity::seconds(median(times));
        self.figures
            .push(self.figure("open, writer killed", size, time));
        Ok(())
    }

    /// Kills the server while somebody commits to the store, if it may be, and opens the store.
    async fn measure_restart(&mut self, size: u64, stores: &Stores) -> Result<()> {
        if self.engine != Engine::Postgres {
            return Ok(());
        }
        let url = &self.place.url;
        let child = Committing::start(url).await?;
        let begin = Instant::now();
        if !stores.kill_server().await {
            return Ok(());
        }
        drop(child);
        let opened = Ours::open(url).await?;
        let time = Quantity::seconds(begin.elapsed().as_secs_f64());
        opened.close().await?;
        self.figures
            .push(self.figure("open, server killed", size, time));
        Ok(())
    }

    fn figure(&self, what: &str, size: u64, ours: Quantity) -> Figure {
        let what = format!("{}: {what}", self.mix.name());
        Figure::ours(Section::Growth, self.engine.name(), what, ours).at(size as usize)
    }
}

/// Makes a store as large as `size`, beside the entities that are in it from the start; how many
/// records are in it.
async fn fill(ours: &mut Ours, workload: &mut Workload, size: u64) -> Result<u64> {
    let entities = workload.fill();
    let size = size + count(&entities);
    let mut records = ours.opened_at();
    if records == 0 {
        records = count(&entities);
        write(ours, &entities).await?;
    }
    while records < size {
        let rows = FILL_ROWS.min((size - records) as usize);
        write(ours, &[workload.batch(rows)]).await?;
        records += rows as u64;
    }
    Ok(records)
}

/// Writes groups; the mean time of one, so that rare work counts.
async fn write(ours: &mut Ours, groups: &[Vec<Row>]) -> Result<Duration> {
    Ok(ours.write(groups).await? / u32::try_from(groups.len().max(1))?)
}

fn count(batches: &[Vec<Row>]) -> u64 {
    batches.iter().map(|batch| batch.len() as u64).sum()
}

/// The median of the rounds.
fn a_record(series: &Series) -> Quantity {
    let records = series.iter().map(|batch| batch.as_secs_f64() / ROWS as f64);
    Quantity::seconds(median(records))
}
