//! What the controller costs, beside bare SQLite and on the engine's thread:
//! `cargo run --release --bin throughput`

use std::io::{Write, stdout};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use aqevia::{Change, ControllerConfig, StorageController, World, WorldId, WorldRecord};
use examples::replay::played::Latency;
use examples::replay::report::readable;
use examples::replay::turns::Turns;
use indicatif::ProgressBar;
use rusqlite::{Connection, params};
use tokio::time::Instant;

const GAME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/freeciv-1207.jsonl.zst");
const WORLD: &str = "freeciv-1207";
const ROUNDS: usize = 5;
const GROUP: usize = 100;
const TICKS: usize = 500;
const TICK: Duration = Duration::from_millis(2);
const SUBMIT_BYTES: usize = 300;

const ABOUT_GAME: &str = "\
The shipped game into a file of SQLite: write-ahead log, synchronous FULL, 100 records a
transaction, medians of 5 rounds. The controller also keeps the world's head and hashes.";
const ABOUT_SUBMIT: &str = "
`submit` of one record of 300 bytes on the engine's thread, the clock included: 100 records a tick
of 2 ms, 250,000 in all. Flushing means that another thread commits without a break.";

type Groups = Vec<Vec<WorldRecord>>;

fn main() -> Result<()> {
    compare_with_bare_sqlite()?;
    measure_submit()
}

fn compare_with_bare_sqlite() -> Result<()> {
    let turns = Turns::open(Path::new(GAME), &ProgressBar::hidden())?;
    let turns = turns.collect::<Result<Vec<_>>>()?;
    let game: Vec<WorldRecord> = turns.into_iter().flat_map(|turn| turn.records).collect();
    let groups: Groups = game.chunks(GROUP).map(<[_]>::to_vec).collect();
    let (mut bare, mut committed, mut submitted) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(in_new_file(|path| play_bare(path, &groups))?);
        committed.push(in_new_file(|path| play_committing(path, groups.clone()))?);
        submitted.push(in_new_file(|path| play_submitting(path, groups.clone()))?);
    }
    let rate = |times| game.len() as f64 / median(times).as_secs_f64();
    let (bare, committed, submitted) = (rate(bare), rate(committed), rate(submitted));
    let mut out = stdout().lock();
    writeln!(
        out,
        "{ABOUT_GAME}\n\n{:44} {:>9} {:>8}",
        "", "records/s", "of bare"
    )?;
    for (name, rate) in [
        ("bare rusqlite, one statement a row", bare),
        ("controller, each group awaited (commit)", committed),
        ("controller, flushed at the end (submit)", submitted),
    ] {
        writeln!(out, "{name:44} {rate:>9.0} {:>8.2}", rate / bare)?;
    }
    Ok(())
}

fn in_new_file<T>(work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::tempdir()?;
    work(&folder.path().join("storage.sqlite"))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

const TABLES: &str = "
CREATE TABLE world_records (id INTEGER PRIMARY KEY, world_id TEXT NOT NULL,
    timestamp INTEGER NOT NULL, collection TEXT NOT NULL, key TEXT, payload ANY) STRICT;
CREATE TABLE world_state (world INTEGER NOT NULL, collection TEXT NOT NULL, key TEXT NOT NULL,
    sequence INTEGER NOT NULL, first_timestamp INTEGER NOT NULL, last_timestamp INTEGER NOT NULL,
    payload ANY NOT NULL, PRIMARY KEY (world, collection, key)) STRICT, WITHOUT ROWID";
const EVENT: &str = "INSERT INTO world_records VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const DELETE: &str = "DELETE FROM world_state WHERE world = 1 AND collection = ?1 AND key = ?2";
const PUT: &str = "INSERT INTO world_state VALUES (1, ?1, ?2, ?3, ?4, ?4, ?5)
ON CONFLICT DO UPDATE SET sequence = excluded.sequence,
    last_timestamp = excluded.last_timestamp, payload = excluded.payload";

fn play_bare(path: &Path, groups: &Groups) -> Result<Duration> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(TABLES)?;
    let begin = Instant::now();
    let mut sequence = 0;
    for group in groups {
        let transaction = connection.transaction()?;
        for record in group {
            sequence += 1;
            write_row(&transaction, sequence, record)?;
        }
        transaction.commit()?;
    }
    Ok(begin.elapsed())
}

fn write_row(connection: &Connection, sequence: i64, record: &WorldRecord) -> Result<()> {
    let (collection, at) = (record.collection.as_str(), record.timestamp);
    let key = record.key().map(|key| key.as_str());
    let payload = record
        .payload()
        .map(|payload| str::from_utf8(payload.as_bytes()));
    let payload = payload.transpose()?;
    let world = record.world.as_str();
    match record.change {
        Change::Put { .. } => connection
            .prepare_cached(PUT)?
            .execute(params![collection, key, sequence, at, payload])?,
        Change::Delete { .. } => connection
            .prepare_cached(DELETE)?
            .execute(params![collection, key])?,
        _ => connection
            .prepare_cached(EVENT)?
            .execute(params![sequence, world, at, collection, key, payload])?,
    };
    Ok(())
}

fn start(path: &Path, config: ControllerConfig) -> Result<(StorageController, World)> {
    let store = aqevia::open(&format!("sqlite:{}", path.display()))?;
    let controller = StorageController::start_blocking(store, config)?;
    let world = controller.open_world_blocking(WorldId::new(WORLD)?)?;
    Ok((controller, world))
}

fn play_committing(path: &Path, groups: Groups) -> Result<Duration> {
    let (_controller, world) = start(path, ControllerConfig::default())?;
    let begin = Instant::now();
    for group in groups {
        world.commit_blocking(group)?;
    }
    Ok(begin.elapsed())
}

fn play_submitting(path: &Path, groups: Groups) -> Result<Duration> {
    let mut config = ControllerConfig::default();
    // One group fills a part, and a part is a transaction.
    config.batch_records_max = GROUP;
    let (controller, world) = start(path, config)?;
    let begin = Instant::now();
    for group in groups {
        drop(world.submit(group)?);
    }
    controller.flush_blocking()?;
    Ok(begin.elapsed())
}

fn measure_submit() -> Result<()> {
    let (mut idle, mut busy) = (Latency::default(), Latency::default());
    for _ in 0..ROUNDS {
        in_new_file(|path| submit_idle(path, &mut idle))?;
        in_new_file(|path| submit_busy(path, &mut busy))?;
    }
    let mut out = stdout().lock();
    let (p50, p99, p999, max) = ("p50", "p99", "p99.9", "max");
    writeln!(
        out,
        "{ABOUT_SUBMIT}\n\n{:26} {p50:>9} {p99:>9} {p999:>9} {max:>9}",
        ""
    )?;
    for (name, latency) in [("not flushing", idle), ("flushing", busy)] {
        write!(out, "{name:26}")?;
        for share in [0.5, 0.99, 0.999, 1.0] {
            let duration = latency.quantile(share).context("nothing was measured")?;
            write!(out, " {:>9}", readable(duration))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Submits while nothing starts a flush.
fn submit_idle(path: &Path, latency: &mut Latency) -> Result<()> {
    let mut config = ControllerConfig::default();
    config.flush_interval = Duration::from_secs(3600);
    (config.batch_capacity, config.batch_capacity_bytes) = (usize::MAX, usize::MAX);
    let (_controller, world) = start(path, config)?;
    submit_each(&world, latency)
}

/// Submits while another thread commits to another world without a break.
fn submit_busy(path: &Path, latency: &mut Latency) -> Result<()> {
    let (controller, world) = start(path, ControllerConfig::default())?;
    let other = controller.open_world_blocking(WorldId::new("other")?)?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flushing = scope.spawn(|| -> Result<()> {
            while !done.load(Ordering::Relaxed) {
                other.commit_blocking(records(&other, GROUP))?;
            }
            Ok(())
        });
        let submitted = submit_each(&world, latency);
        done.store(true, Ordering::Relaxed);
        let flushed = flushing.join();
        submitted.and(flushed.unwrap_or_else(|_| Err(anyhow!("it panicked"))))
    })
}

fn submit_each(world: &World, latency: &mut Latency) -> Result<()> {
    let mut tick_at = Instant::now();
    for _ in 0..TICKS {
        for record in records(world, GROUP) {
            let group = vec![record];
            let begin = Instant::now();
            let ticket = world.submit(group)?;
            latency.record(begin.elapsed());
            drop(ticket);
        }
        tick_at += TICK;
        std::thread::park_timeout(tick_at - Instant::now());
    }
    Ok(())
}

fn records(world: &World, count: usize) -> Vec<WorldRecord> {
    vec![WorldRecord::new(world.id().clone(), vec![b'x'; SUBMIT_BYTES], 0); count]
}
