//! Ours on SQLite beside the floor: the same bytes appended to a plain file that is synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::by_hand::time;
use crate::ours::Ours;
use crate::report::{Figure, Section};
use crate::rounds::{self, Plan, ratio};
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
    bar.inc_length((MIXES.len() * SIZES.len()) as u64);
    for mix in MIXES {
        let what = format!("{}, {PAYLOAD_BYTES} B", mix.name());
        let folder = tempfile::tempdir()?;
        let mut workload = Workload::new(mix, PAYLOAD_BYTES, quick);
        let mut sides = open(folder.path(), &workload.fill()).await?;
        for (rows, batches) in SIZES {
            bar.set_message(format!("floor of {what}, {rows} a batch"));
            let plan = Plan::new(mix, rows, batches, quick);
            let all = rounds::run(plan, &mut workload, &mut sides).await?;
            if let [ours, file] = all.as_slice() {
                let figure = Figure::ours(Section::Floor, "sqlite", &what, time(ours)).at(rows);
                figures.push(figure.beside("append, sync_data", time(file), ratio(ours, file)));
            }
            bar.inc(1);
        }
    }
    Ok(figures)
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
        let of = |row: &Row| {
            let key = row.key.as_deref().unwrap_or_default();
            [key.as_bytes(), row.payload.as_bytes()].concat()
        };
        Ok(rows.iter().flat_map(of).collect())
    }

    async fn persist(&mut self, bytes: Vec<u8>) -> Result<()> {
        self.0.write_all(&bytes)?;
        Ok(self.0.sync_data()?)
    }
}
