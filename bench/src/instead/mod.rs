//! Ours on SQLite beside what users pick instead. These ways keep fewer promises: no epoch, no
//! number of a batch, no digest.

mod redb;
mod snapshot;
mod sqlx;

use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::by_hand::time;
use crate::ours::Ours;
use crate::report::{Figure, Goal, Section};
use crate::rounds::{self, Plan, ratio};
use crate::side::Side;
use crate::stores::Engine;
use crate::workload::{ENTITIES, Mix, Row, Workload};
use redb::Redb;
use snapshot::Snapshot;
use sqlx::{Commit, SqlxSqlite};

const PAYLOAD_BYTES: usize = 300;

/// A way to persist that users pick.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// A statement a row and table, in a transaction a batch.
    Statements,
    /// The same with a transaction a row.
    Transactions,
    /// A store of keys and values, with a table a collection.
    Tables,
    /// All entities into a file.
    Snapshot,
}

/// A comparison.
struct Case {
    what: &'static str,
    way: Way,
    mix: Mix,
    /// Entities in each of the collections.
    entities: u64,
    /// Batches of so many rows, and how many of them are in a round.
    sizes: &'static [(usize, usize)],
    /// How many times as fast ours is to be.
    goal: Option<f64>,
}

const CASES: [Case; 5] = [
    Case {
        what: "entities, all; a statement a row",
        way: Way::Statements,
        mix: Mix::All,
        entities: ENTITIES,
        sizes: &[(100, 40)],
        goal: Some(3.0),
    },
    Case {
        what: "mixed; a statement a row",
        way: Way::Statements,
        mix: Mix::Mixed,
        entities: ENTITIES,
        sizes: &[(100, 40)],
        goal: Some(3.0),
    },
    Case {
        what: "entities, all; a transaction a row",
        way: Way::Transactions,
        mix: Mix::All,
        entities: ENTITIES,
        sizes: &[(100, 20)],
        goal: Some(10.0),
    },
    Case {
        what: "mixed; a table a collection",
        way: Way::Tables,
        mix: Mix::Mixed,
        entities: ENTITIES,
        sizes: &[(1, 200), (10, 100), (100, 40), (1000, 8)],
        goal: None,
    },
    Case {
        what: "100,000 entities; all in one file",
        way: Way::Snapshot,
        mix: Mix::Latest,
        entities: 20_000,
        sizes: &[(100, 12)],
        goal: Some(100.0),
    },
];

/// Measures SQLite; other engines have nothing to be compared with here.
pub(crate) async fn measure(engine: Engine, quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    if engine != Engine::Sqlite {
        return Ok(figures);
    }
    let steps = CASES.iter().map(|case| case.sizes.len() as u64);
    bar.inc_length(steps.sum());
    for case in &CASES {
        figures.extend(compare(case, quick, bar).await?);
    }
    Ok(figures)
}

async fn compare(case: &Case, quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    let mut workload = Workload::new(case.mix, PAYLOAD_BYTES).with_entities(case.entities);
    let fill = workload.fill();
    let ours = folder.path().join("ours");
    let mut ours = Ours::open(&format!("sqlite:{}", ours.display())).await?;
    ours.prepare(&fill)?;
    ours.write().await?;
    let other = case.way.open(&folder.path().join("other"), &fill).await?;
    let mut sides: Vec<Box<dyn Side>> = vec![Box::new(ours), other];
    let mut figures = Vec::new();
    for (rows, batches) in case.sizes {
        bar.set_message(format!("{}, {rows} a batch", case.what));
        let plan = Plan::new(*rows, *batches, quick);
        let all = rounds::run(plan, &mut workload, &mut sides).await?;
        if let [ours, other] = all.as_slice() {
            let figure = Figure::ours(Section::Instead, "sqlite", case.what, time(ours)).at(*rows);
            let figure = figure.beside(case.way.name(), time(other), ratio(ours, other));
            figures.push(match case.goal {
                Some(goal) => figure.with_goal(Goal::AtLeast(goal)),
                None => figure,
            });
        }
        bar.inc(1);
    }
    Ok(figures)
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Statements | Self::Transactions => "sqlx SQLite",
            Self::Tables => "redb",
            Self::Snapshot => "serde_json",
        }
    }

    /// A new store in which the rows are.
    async fn open(self, path: &Path, fill: &[Vec<Row>]) -> Result<Box<dyn Side>> {
        Ok(match self {
            Self::Statements => Box::new(SqlxSqlite::open(path, fill, Commit::Batch).await?),
            Self::Transactions => Box::new(SqlxSqlite::open(path, fill, Commit::Row).await?),
            Self::Tables => Box::new(Redb::open(path, fill)?),
            Self::Snapshot => Box::new(Snapshot::open(path, fill)?),
        })
    }
}
