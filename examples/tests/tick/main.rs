//! The program `tick`: whatever befalls the store, everything is in it in the end, once.
//!
//! Times are bounded generously: other programs run beside a test.

use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use conformance::engines::postgres::RestartableServer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

const ENTITIES: u64 = 2000;
/// A small engine, and a short fault.
const SMALL: &[&str] = &[
    "--entities",
    "2000",
    "--dirty",
    "200",
    "--auto-save",
    "250",
    "--before",
    "1",
    "--lasts",
    "3",
    "--after",
    "1",
];
/// A tick that takes so long has waited for the store.
const WHOLE_MAX_US: f64 = 1e6;
/// A fault that lasts for 3 s, and what it takes to recover on a busy machine.
const EXPOSURE_MAX_S: f64 = 30.0;
/// Events of as many seconds.
const PENDING_MAX: f64 = 20.0 * 60.0 * EXPOSURE_MAX_S + ENTITIES as f64;
/// What an empty server takes up for its data, and some more.
const ROOM_BYTES: i64 = 192 << 20;
/// The variable that opts out of small file systems, with the value `off`.
const NO_ROOM: &str = "AQEVIA_TEST_NO_ROOM";

fn tick(arguments: &[&str]) -> Result<Output> {
    Ok(command(arguments).output()?)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tick"));
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("AQEVIA_") || shown.starts_with("PERSIST_") {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// Runs the program to its end; its report.
fn report(store: &str, fault: &str) -> Result<Value> {
    let arguments = [&["--store", store, "--fault", fault, "--json"], SMALL].concat();
    let output = tick(&arguments)?;
    ensure!(output.status.success(), "{fault}: {output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn number(report: &Value, path: &str) -> Result<f64> {
    let number = report.pointer(path).and_then(Value::as_f64);
    number.with_context(|| format!("no number {path} in {report:#}"))
}

/// Checks what has to hold whatever befell the store.
fn check(report: &Value) -> Result<()> {
    assert_eq!(number(report, "/stored/differences")?, 0.0, "{report:#}");
    assert_eq!(number(report, "/stored/entities")?, ENTITIES as f64);
    let accepted = number(report, "/stored/events_accepted")?;
    assert_eq!(number(report, "/stored/events")?, accepted);
    assert!(accepted > 1000.0, "{report:#}");
    assert_eq!(number(report, "/dead_letters")?, 0.0);
    // Each entity once, and once more while it is being captured.
    assert!(
        number(report, "/most/dirty")? <= 2.0 * ENTITIES as f64,
        "{report:#}"
    );
    assert!(
        number(report, "/most/pending_records")? < PENDING_MAX,
        "{report:#}"
    );
    assert!(
        number(report, "/most/exposure_age_s")? < EXPOSURE_MAX_S,
        "{report:#}"
    );
    assert!(number(report, "/tick_us/max")? < WHOLE_MAX_US, "{report:#}");
    Ok(())
}

/// Checks that the controller noticed the fault, went on, and came back.
fn check_recovery(report: &Value) -> Result<()> {
    check(report)?;
    assert_eq!(
        report.get("degraded"),
        Some(&Value::Bool(true)),
        "{report:#}"
    );
    assert!(number(report, "/retries")? > 0.0, "{report:#}");
    assert!(
        number(report, "/recovered_s")? < EXPOSURE_MAX_S,
        "{report:#}"
    );
    Ok(())
}

fn sqlite(parameters: &str) -> Result<(TempDir, String)> {
    let folder = tempfile::tempdir()?;
    let url = format!(
        "sqlite:{}/store/tick.sqlite{parameters}",
        folder.path().display()
    );
    std::fs::create_dir(folder.path().join("store"))?;
    Ok((folder, url))
}

#[test]
fn an_engine_that_nothing_befalls_is_stored_and_drawn() -> Result<()> {
    let (folder, url) = sqlite("")?;
    let plot = folder.path().join("tick.svg");
    let plot = plot.to_str().context("a path in UTF-8")?;
    let arguments = [&["--store", &url, "--plot", plot], SMALL].concat();
    let output = tick(&arguments)?;
    let said = String::from_utf8(output.stdout)?;
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("all stored: 2,000 entities in their last state"),
        "{said}"
    );
    assert!(said.contains("calls, p99.9"), "{said}");
    let drawn = std::fs::read_to_string(plot)?;
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"));
    assert_eq!(drawn.matches("<polyline").count(), 6);
    // A world of its own: the same store serves again.
    check(&report(&url, "none")?)
}

#[test]
fn another_process_that_holds_the_write_lock_stalls_and_loses_nothing() -> Result<()> {
    let (_folder, url) = sqlite("?busy_timeout_ms=200")?;
    check_recovery(&report(&url, "lock")?)
}

#[test]
fn a_full_disk_stalls_and_loses_nothing() -> Result<()> {
    if std::env::var(NO_ROOM).is_ok_and(|value| value == "off") {
        return Ok(());
    }
    let (_folder, url) = sqlite("")?;
    check_recovery(&report(&url, "full")?)
}

/// Runs the program on a server that is harmed.
async fn on_server(fault: &'static str) -> Result<Value> {
    let room = (fault == "full").then_some(ROOM_BYTES);
    let server = RestartableServer::start(room).await;
    let url = format!("{}?reply_timeout_ms=1000", server.url());
    // The server is kept in use by a task meanwhile.
    let report = spawn_blocking(move || report(&url, fault)).await?;
    server.end().await;
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_paused_stalls_and_loses_nothing() -> Result<()> {
    check_recovery(&on_server("pause").await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_stalls_and_loses_nothing() -> Result<()> {
    check_recovery(&on_server("kill").await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_is_full_stalls_and_loses_nothing() -> Result<()> {
    check_recovery(&on_server("full").await?)
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() -> Result<()> {
    let (folder, url) = sqlite("")?;
    let taken = folder.path().join("store/taken");
    std::fs::write(taken, "")?;
    for (store, fault, code, said) in [
        (&*url, "pause", 2, "only a server can be paused"),
        ("memory:", "lock", 2, "only SQLite has a write lock"),
        ("memory:", "full", 2, "on no disk"),
        (
            "postgres://u:secret@elsewhere/d",
            "kill",
            1,
            "a container of this machine",
        ),
        (
            "postgres://u:secret@localhost:1/d",
            "pause",
            1,
            "no container publishes port 1",
        ),
        (&*url, "full", 1, "is not empty"),
    ] {
        let output = tick(&["--store", store, "--fault", fault])?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{store} {fault}: {told}");
        assert!(told.contains(said) && !told.contains("u:secret"), "{told}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("store"))?.count(), 1);
    Ok(())
}

#[test]
fn a_plot_that_cannot_be_written_and_too_many_changes_are_refused_before_the_run() -> Result<()> {
    let (folder, url) = sqlite("")?;
    let nowhere = folder.path().join("nowhere/tick.svg");
    let nowhere = nowhere.to_str().context("a path in UTF-8")?;
    for (arguments, code, said) in [
        (["--plot", nowhere], 1, nowhere),
        (["--dirty", "20001"], 2, "--entities is 20000"),
        (["--before", "-1"], 2, "invalid value '-1' for '--before"),
    ] {
        let output = tick(&[&["--store", &url], &arguments[..]].concat())?;
        let told = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(said), "{told}");
    }
    assert_eq!(std::fs::read_dir(folder.path().join("store"))?.count(), 0);
    Ok(())
}

#[test]
fn a_signal_ends_the_run_with_what_was_measured() -> Result<()> {
    let (folder, url) = sqlite("")?;
    let mut running = command(&["--store", &url, "--before", "600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let store = folder.path().join("store/tick.sqlite");
    // Signals are caught before the store is made.
    while !store.exists() {
        ensure!(running.try_wait()?.is_none(), "it has ended");
        thread::park_timeout(Duration::from_millis(10));
    }
    let id = running.id().to_string();
    let sent = Command::new("kill").args(["-s", "INT", &id]).status()?;
    ensure!(sent.success(), "kill -s INT {id}: {sent}");
    let output = running.wait_with_output()?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("in our calls"), "{said}");
    assert!(said.contains("stopped by SIGINT before"), "{said}");
    Ok(())
}
