//! A replay that is killed at any moment, and one that resumes it.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, ensure};

use crate::program::{Folder, Running};
use crate::stored::Stored;
use crate::stream::{self, SHORT_TURNS};

/// How many kills that hit the program while it runs make a test.
const KILLS: usize = 25;
/// How many rounds that may take. A kill that comes too late does not count.
const ROUNDS_MAX: u64 = 60;
/// Change it to try other moments.
const SEED: u64 = 1207;

#[test]
fn a_replay_that_was_killed_resumes_to_the_same_end() -> Result<()> {
    kill_and_resume(&[], 2 * SHORT_TURNS)
}

#[test]
fn a_replay_that_does_not_wait_and_was_killed_resumes_to_the_same_end() -> Result<()> {
    kill_and_resume(&["--fire-and-forget"], SHORT_TURNS)
}

/// Kills the program after a random number of the lines in which it tells what it does, again and
/// again on the same store, and then lets it finish.
fn kill_and_resume(mode: &[&str], lines: usize) -> Result<()> {
    let undisturbed = Folder::new()?;
    let input = undisturbed.write("game.jsonl", stream::short()?)?;
    let dump = undisturbed.dump(&input)?;
    let logs = Stored::read(&undisturbed.store())?.logs;

    let mut kills = 0;
    for round in 0..ROUNDS_MAX {
        let folder = Folder::new()?;
        let arguments = [&["--input", &input, "--resume"], mode].concat();
        for step in 0..3 {
            let mut running = Running::start(folder.command(&arguments))?;
            let after = random(round, step) % lines;
            kills += usize::from(running.wait_for_lines(after)? && running.kill()?);
        }
        folder.succeed(&arguments)?;
        let at = format!("seed {SEED}, round {round}");
        assert_eq!(Stored::read(&folder.store())?.logs, logs, "{at}");
        ensure!(folder.dump(&input)? == dump, "{at}: the state differs");
        if kills >= KILLS {
            return Ok(());
        }
    }
    anyhow::bail!("only {kills} kills hit the program while it ran");
}

fn random(round: u64, step: u64) -> usize {
    let mut hasher = DefaultHasher::new();
    (SEED, round, step).hash(&mut hasher);
    usize::try_from(hasher.finish() >> 32).unwrap_or(0)
}
