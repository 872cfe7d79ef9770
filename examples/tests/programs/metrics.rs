//! The program `metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::program::Program;

/// The front page of the core, with the table of all metrics.
const TABLE: &str = include_str!("../../../aqevia-storage/README.md");
/// The longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

fn fetch(address: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").context("no text")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    Ok(text.to_owned())
}

fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

#[test]
fn every_figure_of_the_documented_table_is_served() -> Result<()> {
    let program = Program::start(env!("CARGO_BIN_EXE_metrics"), "memory:", "debug")?;
    let mut text = fetch(&program.address)?;
    // It records ten events a second, and a flush comes after a second.
    while value(&text, "aqevia_controller_flushes_total ") == Some(0.0) {
        text = fetch(&program.address)?;
    }
    let rows = TABLE
        .lines()
        .filter_map(|line| line.strip_prefix("| `aqevia_"));
    let mut count = 0;
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next().unwrap_or_default().trim_end_matches('`');
        let sort = cells
            .next()
            .unwrap_or_default()
            .replace("histogram", "summary");
        let named = format!("# TYPE aqevia_{name} {sort}\n");
        assert!(text.contains(&named), "{named} is not in\n{text}");
        count += 1;
    }
    assert!(count > 20, "{count} rows");
    assert_eq!(value(&text, "aqevia_controller_health "), Some(0.0));
    assert_eq!(value(&text, "aqevia_controller_open_worlds "), Some(1.0));
    assert!(value(&text, "aqevia_backend_records_persisted_total ") > Some(0.0));
    assert!(value(&text, "aqevia_controller_flush_seconds_count ") > Some(0.0));
    let logged = program.stop()?;
    assert!(logged.contains("aqevia_storage::backend"), "{logged}");
    Ok(())
}
