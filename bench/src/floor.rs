//! Ours on SQLite beside the floor: the same bytes appended to a plain file that is synced. And that
//! file written from two threads away, as our stores are.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::by_hand::time;
use crate::handovers::Relay;
use crate::ours::Ours;
use crate::report::{Figure, Section};
use crate::rounds::{self, Plan, Series, ratio};
use crate::side::{Persist, Side};
use crate::stores::Engine;
use crate::workload::{Mix, Row, Workload};

/// Batches of so many rows, and how many of them are in a round.
const SIZES: [(usize, usize); 5] = [(1, 1200), (10, 800), (100, 300), (1000, 60), (10_000, 5)];
const MIXES: [Mix; 2] = [Mix::Events, Mix::Mixed];
const PAYLOAD_BYTES: usize = 300;

/// Measures SQLite; for other engines there is nothing here.
pub(crate) async fn measure(engine: Engine, quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if engine != Engine::Sqlite {
        return Ok(figures);
    }
    bar.inc_length(((MIXES.len() + 1) * SIZES.len()) as u64);
    for mix in MIXES {
        let what = format!("{}, {PAYLOAD_BYTES} B", mix.name());
        let folder = tempfile::tempdir()?;
        let mut workload = Workload::new(mix, PAYLOAD_BYTES, quick);
        let mut sides = open(folder.path(), &workload.fill()).await?;
        let series = run(mix, quick, &mut workload, &mut sides, bar).await?;
        figures.extend(series.into_iter().map(|(rows, [ours, file])| {
            let figure = Figure::ours(Section::Floor, "sqlite", &what, time(&ours)).at(rows);
            figure.beside("append, sync_data", time(&file), ratio(&ours, &file))
        }));
    }
    figures.extend(measure_handovers(quick, bar).await?);
    Ok(figures)
}

/// What commits lose by the way between the threads.
async fn measure_handovers(quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let mix = Mix::Events;
    let folder = tempfile::tempdir()?;
    let mut workload = Workload::new(mix, PAYLOAD_BYTES, quick);
    let file = |name| anyhow::Ok(Appended(File::create(folder.path().join(name))?));
    let mut away = file("away")?;
    let away = Away(Relay::to(move |bytes| away.append(&bytes))?);
    let mut sides: Vec<Box<dyn Side>> = vec![Box::new(away), Box::new(file("here")?)];
    let series = run(mix, quick, &mut workload, &mut sides, bar).await?;
    let figures = series.into_iter().map(|(rows, [away, here])| {
        let what = "the same file, two threads away";
        let figure = Figure::ours(Section::Floor, "", what, time(&away)).at(rows);
        figure.beside("on this thread", time(&here), ratio(&away, &here))
    });
    Ok(figures.collect())
}

/// What two sides took, for each size of batches.
async fn run(
    mix: Mix,
    quick: bool,
    workload: &mut Workload,
    sides: &mut [Box<dyn Side>],
    bar: &ProgressBar,
) -> Result<Vec<(usize, [Series; 2])>> {
    let mut all = Vec::new();
    for (rows, batches) in SIZES {
        bar.set_message(format!("floor of {}, {rows} a batch", mix.name()));
        let plan = Plan::new(mix, rows, batches, quick);
        let series = rounds::run(plan, workload, sides).await?;
        all.extend(<[Series; 2]>::try_from(series).map(|both| (rows, both)));
        bar.inc(1);
    }
    Ok(all)
}

/// Ours with the rows in it, and an empty file: what is in a file does not matter to an append.
async fn open(folder: &Path, fill: &[Vec<Row>]) -> Result<Vec<Box<dyn Side>>> {
    let ours = folder.join("ours");
    let mut ours = Ours::open(&format!("sqlite:{}", ours.display())).await?;
    ours.write(fill).await?;
    let file = Appended(File::create(folder.join("floor"))?);
    Ok(vec![Box::new(ours), Box::new(file)])
}

/// A file that grows.
struct Appended(File);

impl Persist for Appended {
    type Batch = Vec<u8>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(bytes(rows))
    }

    async fn persist(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.append(&bytes)
    }
}

impl Appended {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)?;
        Ok(self.0.sync_data()?)
    }
}

/// A file that another thread writes.
struct Away(Relay);

impl Persist for Away {
    type Batch = Vec<u8>;

    fn form(&mut self, rows: &[Row]) -> Result<Self::Batch> {
        Ok(bytes(rows))
    }

    async fn persist(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.0.pass(bytes).await
    }
}

/// Keys and payloads, one behind the other.
fn bytes(rows: &[Row]) -> Vec<u8> {
    let of = |row: &Row| {
        let key = row.key.as_deref().unwrap_or_default();
        [key.as_bytes(), row.payload.as_bytes()].concat()
    };
    rows.iter().flat_map(of).collect()
}
