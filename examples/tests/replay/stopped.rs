//! A replay that a signal stops in order.

use anyhow::Result;

use crate::program::{Folder, Running};
use crate::stored::Stored;
use crate::stream;

#[test]
fn sigterm_stores_what_was_played() -> Result<()> {
    stop("TERM", 143, &[])
}

#[test]
fn sigint_stores_what_was_played() -> Result<()> {
    stop("INT", 130, &[])
}

#[test]
fn a_signal_stores_what_was_played_without_waiting() -> Result<()> {
    stop("TERM", 143, &["--fire-and-forget"])
}

/// Stops the program after its first turn, behind which it waits for long.
fn stop(signal: &str, code: i32, mode: &[&str]) -> Result<()> {
    let folder = Folder::new()?;
    let input = folder.write("game.jsonl", stream::short()?)?;
    let mut command = folder.command(&["--input", &input, "--rate", "0.0001"]);
    // Nothing but a commit or the end starts a flush.
    command.env("PERSIST_FLUSH_INTERVAL_MS", "3600000");
    command.env("PERSIST_BATCH_CAPACITY", "1000000").args(mode);
    command.env("PERSIST_BATCH_CAPACITY_BYTES", "1000000000");
    let mut running = Running::start(command)?;
    assert!(running.wait_for_lines(1)?);
    let (status, said) = running.signal(signal)?;
    assert_eq!(status.code(), Some(code), "{said}");
    let stopped = format!(
        "replay: stopped by SIG{signal}; stored up to turn 1 of world \"freeciv-1207\"; go on with \
         --resume\n"
    );
    assert!(said.ends_with(&stopped), "{said}");
    assert_eq!(
        Stored::read(&folder.url())?.heads(),
        [("freeciv-1207", 1_784)]
    );
    let done = folder.succeed(&["--input", &input, "--resume"])?;
    assert_eq!(done.row("turns"), "14 (1 more were stored already)");
    Ok(())
}
