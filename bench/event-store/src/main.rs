//! Ours beside the stores of `cqrs-es`, 100 events a commit:
//! `cargo run --release --manifest-path bench/event-store/Cargo.toml`

#[path = "../../src/ours.rs"]
#[expect(dead_code, reason = "the whole of it is for `bench`")]
mod ours;
#[path = "../../src/report.rs"]
#[expect(dead_code, reason = "the whole of it is for `bench`")]
mod report;
#[path = "../../src/rounds.rs"]
mod rounds;
#[path = "../../src/side.rs"]
mod side;
mod theirs;
#[path = "../../src/workload.rs"]
#[expect(dead_code, reason = "the whole of it is for `bench`")]
mod workload;

use std::io::{Write, stdout};

use anyhow::Result;
use clap::Parser;
use conformance::engines::postgres::RestartableServer;

use ours::Ours;
use report::{Figure, Goal, Quantity, Report, Section};
use rounds::{Plan, Series, median, ratio};
use side::Side;
use theirs::Theirs;
use workload::{Mix, Workload};

/// Events in a commit, and commits in a round.
const EVENTS: usize = 100;
const COMMITS: usize = 150;
const PAYLOAD_BYTES: usize = 300;

/// Measures commits of 100 events, ours and those of cqrs-es through its stores for SQLite and
/// Postgres, and prints medians, spread and ratios
#[derive(Debug, Parser)]
struct Options {
    /// A Postgres server in which schemas may be made and dropped; without it one in a container
    #[arg(long, value_name = "URL")]
    postgres: Option<String>,
    /// Leave Postgres out
    #[arg(long, conflicts_with = "postgres")]
    sqlite_alone: bool,
    /// Fewer rounds
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let mut report = Report::default();
    report.figures.push(sqlite(options.quick).await?);
    match &options.postgres {
        _ if options.sqlite_alone => {}
        Some(url) => report.figures.push(postgres(url, options.quick).await?),
        None => {
            let server = RestartableServer::start(None).await;
            let figure = postgres(server.url(), options.quick).await;
            server.end().await;
            report.figures.push(figure?);
        }
    }
    let shown = match options.json {
        true => report.json()?,
        false => Section::Instead.heading() + &report::rows(&report.figures),
    };
    Ok(writeln!(stdout(), "{shown}")?)
}

async fn sqlite(quick: bool) -> Result<Figure> {
    let folder = tempfile::tempdir()?;
    let ours = format!("sqlite:{}", folder.path().join("ours").display());
    let ours: Box<dyn Side> = Box::new(Ours::open(&ours).await?);
    let theirs = Theirs::sqlite(&folder.path().join("theirs")).await?;
    let all = run(vec![ours, Box::new(theirs)], quick).await?;
    figure("sqlite", "sqlite-es", &all, 4.0)
}

async fn postgres(url: &str, quick: bool) -> Result<Figure> {
    let separator = if url.contains('?') { '&' } else { '?' };
    let schema = format!("bench_{}", std::process::id());
    let ours = format!("{url}{separator}schema={schema}");
    let ours: Box<dyn Side> = Box::new(Ours::open(&ours).await?);
    let theirs = Theirs::postgres(url).await?;
    let all = run(vec![ours, Box::new(theirs)], quick).await?;
    figure("postgres", "postgres-es", &all, 5.0)
}

async fn run(mut sides: Vec<Box<dyn Side>>, quick: bool) -> Result<Vec<Series>> {
    let mut workload = Workload::new(Mix::Events, PAYLOAD_BYTES, quick);
    rounds::run(Plan::new(Mix::Events, EVENTS, COMMITS, quick), &mut workload, &mut sides).await
}

fn figure(engine: &'static str, name: &'static str, all: &[Series], goal: f64) -> Result<Figure> {
    let [ours, theirs] = all else {
        anyhow::bail!("two sides were measured");
    };
    let time =
        |series: &Series| Quantity::seconds(median(series.iter().map(|batch| batch.as_secs_f64())));
    let what = "events; an event store";
    let figure = Figure::ours(Section::Instead, engine, what, time(ours)).at(EVENTS);
    let figure = figure.beside(name, time(theirs), ratio(ours, theirs));
    Ok(figure.with_goal(Goal::AtLeast(goal)))
}
