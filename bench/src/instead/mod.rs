//! Ours on SQLite beside what users pick instead. These ways keep fewer promises: no epoch, no
//! number of a batch, no digest.

mod redb;
mod snapshot;
mod sqlx;

use std::path::Path;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::by_hand::time;
use crate::hand::sqlite::HandSqlite;
use crate::ours::Ours;
use crate::report::{Figure, Goal, Section};
use crate::rounds::{self, Plan, ratio};
use crate::side::Side;
use crate::stores::Engine;
use crate::workload::{Mix, Row, Workload};
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

/// What is written, and in which ways.
struct Case {
    what: &'static str,
    mix: Mix,
    /// Entities in each of the collections, unless they are as many as elsewhere.
    entities: Option<u64>,
    ways: &'static [Way],
    /// Batches of so many rows, and how many of them are in a round.
    sizes: &'static [(usize, usize)],
}

const CASES: [Case; 4] = [
    Case {
        what: "entities, all",
        mix: Mix::All,
        entities: None,
        ways: &[Way::Statements, Way::Transactions],
        sizes: &[(100, 300), (1000, 60)],
    },
    Case {
        what: "mixed",
        mix: Mix::Mixed,
        entities: None,
        ways: &[Way::Statements, Way::Transactions],
        sizes: &[(100, 300), (1000, 60)],
    },
    Case {
        what: "mixed",
        mix: Mix::Mixed,
        entities: None,
        ways: &[Way::Tables],
        sizes: &[(1, 2000), (10, 1000), (100, 300), (1000, 60)],
    },
    Case {
        what: "100,000 entities",
        mix: Mix::Latest,
        entities: Some(20_000),
        ways: &[Way::Snapshot],
        sizes: &[(100, 60)],
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
        figures.extend(case.compare(quick, bar).await?);
    }
    Ok(figures)
}

impl Case {
    async fn compare(&self, quick: bool, bar: &ProgressBar) -> Result<Vec<Figure>> {
        let folder = tempfile::tempdir()?;
        let mut workload = Workload::new(self.mix, PAYLOAD_BYTES, quick);
        if let Some(entities) = self.entities {
            workload = workload.with_entities(entities);
        }
        let mut sides = self.open(folder.path(), &workload.fill()).await?;
        let mut figures = Vec::new();
        for (rows, batches) in self.sizes {
            bar.set_message(format!("{}, {rows} a batch", self.what));
            let plan = Plan::new(self.mix, *rows, *batches, quick);
            let all = rounds::run(plan, &mut workload, &mut sides).await?;
            if let [ours, by_hand, others @ ..] = all.as_slice() {
                let others = self.ways.iter().zip(others);
                figures.extend(others.map(|(way, other)| {
                    let what = format!("{}; {}", self.what, way.name());
                    let figure = Figure::ours(Section::Instead, "sqlite", what, time(ours));
                    let figure = figure.at(*rows).by_hand(ratio(by_hand, other));
                    let figure = figure.beside(way.program(), time(other), ratio(ours, other));
                    match way.goal(*rows) {
                        Some(goal) => figure.with_goal(Goal::AtLeast(goal)),
                        None => figure,
                    }
                }));
            }
            bar.inc(1);
        }
        Ok(figures)
    }

    /// New stores in which the rows are: ours, by hand, and one for each of the ways.
    async fn open(&self, folder: &Path, fill: &[Vec<Row>]) -> Result<Vec<Box<dyn Side>>> {
        let mut ours = Ours::open(&format!("sqlite:{}", folder.join("ours").display())).await?;
        ours.write(fill).await?;
        let mut by_hand = HandSqlite::open(&folder.join("hand"))?;
        by_hand.write(fill).await?;
        let mut sides: Vec<Box<dyn Side>> = vec![Box::new(ours), Box::new(by_hand)];
        for way in self.ways {
            sides.push(way.open(&folder.join(way.name()), fill).await?);
        }
        Ok(sides)
    }
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Statements => "a statement a row",
            Self::Transactions => "a transaction a row",
            Self::Tables => "a table a collection",
            Self::Snapshot => "all in one file",
        }
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Statements | Self::Transactions => "sqlx SQLite",
            Self::Tables => "redb",
            Self::Snapshot => "serde_json",
        }
    }

    /// How many times as fast ours is to be.
    const fn goal(self, rows: usize) -> Option<f64> {
        match (self, rows) {
            (Self::Statements, 100) => Some(3.0),
            (Self::Transactions, _) => Some(10.0),
            (Self::Snapshot, _) => Some(100.0),
            _ => None,
        }
    }

    /// A new store in which the rows are.
    async fn open(self, path: &Path, fill: &[Vec<Row>]) -> Result<Box<dyn Side>> {
        Ok(match self {
            Self::Statements => Box::new(SqlxSqlite::open(path, fill, Commit::Batch).await?),
            Self::Transactions => Box::new(SqlxSqlite::open(path, fill, Commit::Row).await?),
            Self::Tables => {
                let mut redb = Redb::open(path)?;
                redb.write(fill).await?;
                Box::new(redb)
            }
            Self::Snapshot => Box::new(Snapshot::open(path, fill)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use ::redb::{ReadableDatabase, ReadableTableMetadata};

    use super::*;
    use crate::workload::{COLLECTIONS, Kind};

    /// Writes a batch behind some that a store was filled with, and lets go of the store.
    async fn write(way: Way, mix: Mix, path: &Path) -> Vec<Row> {
        let mut workload = Workload::new(mix, PAYLOAD_BYTES, true).with_entities(20);
        let (fill, more) = (workload.fill(), workload.batch(100));
        let mut side = way.open(path, &fill).await.unwrap();
        side.write(std::slice::from_ref(&more)).await.unwrap();
        fill.into_iter().flatten().chain(more).collect()
    }

    fn logged(rows: &[Row]) -> u32 {
        rows.iter().filter(|row| row.kind != Kind::Latest).count() as u32
    }

    /// The last row that has a key, and so is the state of it.
    fn newest(rows: &[Row]) -> &Row {
        rows.iter().rfind(|row| row.key.is_some()).unwrap()
    }

    #[tokio::test]
    async fn sqlx_writes_log_and_state_whatever_it_commits_at_once() {
        for way in [Way::Statements, Way::Transactions] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("store");
            let rows = write(way, Mix::Mixed, &path).await;
            let file = rusqlite::Connection::open(path).unwrap();
            let count = |query: &str| file.query_one(query, [], |row| row.get::<_, u32>(0));
            assert_eq!(count("SELECT count(*) FROM log").unwrap(), logged(&rows));
            assert_eq!(count("SELECT count(*) FROM state").unwrap(), 200);
            let newest = newest(&rows);
            let collection = COLLECTIONS[usize::from(newest.collection)];
            let query = "SELECT payload FROM state WHERE collection = ?1 AND key = ?2";
            let payload: String = file
                .query_one(query, (collection, &newest.key), |row| row.get(0))
                .unwrap();
            assert_eq!(payload, newest.payload);
        }
    }

    #[tokio::test]
    async fn redb_has_a_table_a_collection_and_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let rows = write(Way::Tables, Mix::Mixed, &path).await;
        let read = ::redb::Database::open(path).unwrap();
        let read = read.begin_read().unwrap();
        let log = read.open_table(redb::LOG).unwrap();
        assert_eq!(log.len().unwrap(), u64::from(logged(&rows)));
        let newest = newest(&rows);
        let name = COLLECTIONS[usize::from(newest.collection)];
        let collection = read.open_table(redb::collection(name)).unwrap();
        let value = collection.get(newest.key.as_deref().unwrap()).unwrap();
        let expected = (newest.timestamp, newest.payload.as_str());
        assert_eq!(value.unwrap().value(), expected);
    }

    #[tokio::test]
    async fn a_snapshot_is_the_whole_world() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let rows = write(Way::Snapshot, Mix::Latest, &path).await;
        let text = std::fs::read_to_string(path.join("world.json")).unwrap();
        let world: serde_json::Value = serde_json::from_str(&text).unwrap();
        let newest = newest(&rows);
        let collection = COLLECTIONS[usize::from(newest.collection)];
        let entity = &world[collection][newest.key.as_deref().unwrap()];
        let payload: serde_json::Value = serde_json::from_str(&newest.payload).unwrap();
        assert_eq!(entity["state"], payload["state"]);
        assert_eq!(entity["timestamp"], newest.timestamp);
    }
}
