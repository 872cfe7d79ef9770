//! What aqevia-storage costs beside the best code that we know to write by hand, with the same
//! promises: `cargo run --release -p bench`

mod bare;
mod by_hand;
mod commit;
mod floor;
mod growth;
mod hand;
mod handovers;
mod instead;
mod load;
mod markdown;
mod ours;
mod peak;
mod place;
mod plot;
mod real;
mod record;
mod report;
mod rounds;
mod side;
mod stores;
mod workload;

use std::fs;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use report::{Figure, Report, Section};
use stores::{Engine, Stores};

/// Measures the way from a group of records to the disk and back, ours and others, interleaved
/// round by round, and prints medians, spread and ratios
#[derive(Debug, Parser)]
struct Options {
    /// What to measure; all of it if nothing is named
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// An engine to measure, which can be given more than once; all of them if none is named
    #[arg(long, value_enum)]
    engine: Vec<Engine>,
    /// A Postgres server in which schemas may be made and dropped; without it one in a container
    #[arg(long, value_name = "URL", value_parser = server_url)]
    postgres: Option<String>,
    /// A folder of recorded worlds for `real`, which can be given more than once; without it the game
    /// of the examples
    #[arg(long, value_name = "FOLDER")]
    data: Vec<PathBuf>,
    /// Less of everything, in under a minute
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the tables of docs/performance.md instead
    #[arg(long)]
    markdown: bool,
    /// A folder to write an SVG of each section to
    #[arg(long, value_name = "FOLDER")]
    plot: Option<PathBuf>,
    /// What this starts itself with: what to read, and of which store
    #[arg(long, hide = true, num_args = 2)]
    peak_of: Vec<String>,
    /// Commits to a store until it is killed, as the child of `growth`
    #[arg(long, hide = true, value_name = "URL")]
    commit_to: Option<String>,
}

/// Only that it is of a server is looked at: what else is wrong, the server or its driver tells.
fn server_url(text: &str) -> Result<String, &'static str> {
    let schemes = ["postgres://", "postgresql://"];
    match schemes.iter().any(|scheme| text.starts_with(scheme)) {
        true => Ok(text.to_owned()),
        false => Err("write postgres://USER:PASSWORD@HOST/DATABASE"),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    if let [what, url] = options.peak_of.as_slice() {
        let peak = peak::measure(what.parse()?, url).await?;
        return Ok(writeln!(stdout(), "{peak}")?);
    }
    if let Some(url) = &options.commit_to {
        return growth::killed::commit_to(url).await;
    }
    let all_if_none = |named: &[Engine]| match named {
        [] => Engine::value_variants().to_vec(),
        some => some.to_vec(),
    };
    let engines = all_if_none(&options.engine);
    let mut sections = options.sections.clone();
    if sections.is_empty() {
        sections = Section::value_variants().to_vec();
    }
    if let Some(folder) = &options.plot {
        // What is measured is not to be lost for want of a place.
        let made = fs::create_dir_all(folder);
        made.with_context(|| format!("make the folder {}", folder.display()))?;
    }
    let bar = progress()?;
    let mut stores = Stores::new(options.postgres.clone());
    let mut report = Report::default();
    let as_table = !options.json && !options.markdown;
    for section in sections {
        let mut about = Some(section.heading());
        for engine in &engines {
            let figures = measure(section, *engine, &mut stores, &options, &bar).await?;
            if as_table && !figures.is_empty() {
                let about = about.take().unwrap_or_default();
                bar.suspend(|| print(&format!("{about}{}", report::rows(&figures))))?;
            }
            report.figures.extend(figures);
        }
    }
    bar.finish_and_clear();
    stores.end().await?;
    ensure!(
        !report.figures.is_empty(),
        "nothing was measured: `instead` and `floor` are of SQLite alone"
    );
    match (options.json, options.markdown) {
        (true, _) => print(&format!("{}\n", report.json()?))?,
        (_, true) => print(&format!("{}\n", markdown::tables(&report)?))?,
        _ => {}
    }
    match &options.plot {
        Some(folder) => plot::write(folder, &report),
        None => Ok(()),
    }
}

async fn measure(
    section: Section,
    engine: Engine,
    stores: &mut Stores,
    options: &Options,
    bar: &ProgressBar,
) -> Result<Vec<Figure>> {
    let quick = options.quick;
    match section {
        Section::Hand => by_hand::measure(engine, stores, quick, bar).await,
        Section::Instead => instead::measure(engine, quick, bar).await,
        Section::Floor => floor::measure(engine, quick, bar).await,
        Section::Record => record::measure(engine, stores, quick, bar).await,
        Section::Commit => commit::measure(engine, stores, quick, bar).await,
        Section::Load => load::measure(engine, stores, quick, bar).await,
        Section::Growth => growth::measure(engine, stores, quick, bar).await,
        Section::Real => real::measure(engine, stores, &options.data, quick, bar).await,
    }
}

fn print(text: &str) -> Result<()> {
    let mut stdout = stdout();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

fn progress() -> Result<ProgressBar> {
    if !stderr().is_terminal() {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?;
    Ok(ProgressBar::new(0).with_style(style))
}
