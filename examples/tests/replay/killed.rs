//! A replay that is killed at any moment, and one that resumes it.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, ensure};

use crate::engine::Engine;
use crate::program::{Folder, Running};
use crate::stored::Stored;
use crate::stream::{self, SHORT_TURNS};

/// How many rounds the kills may take. A kill that comes too late does not count.
const ROUNDS_MAX: u64 = 60;
/// Change it to try other moments.
const SEED: u64 = 1207;

const WAITING: &[&str] = &[];
const NOT_WAITING: &[&str] = &["--fire-and-forget"];

/// One test an engine and mode: how many kills have to hit the program while it runs.
macro_rules! killed {
    ($($name:ident: $engine:ident $mode:ident $kills:literal;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            kill_and_resume(Engine::$engine, $mode, $kills)
        }
    )*};
}

killed! {
    a_replay_that_was_killed_resumes_to_the_same_end: Sqlite WAITING 25;
    a_replay_that_does_not_wait_and_was_killed_resumes_to_the_same_end: Sqlite NOT_WAITING 25;
    a_replay_into_sled_that_was_killed_resumes_to_the_same_end: Sled WAITING 10;
    a_replay_into_sled_that_does_not_wait_resumes_to_the_same_end: Sled NOT_WAITING 10;
    a_replay_into_postgres_that_was_killed_resumes_to_the_same_end: Postgres WAITING 10;
    a_replay_into_postgres_that_does_not_wait_resumes_to_the_same_end: Postgres NOT_WAITING 10;
}

/// Kills the program after a random number of the lines in which it tells what it does, again and
/// again on the same store, and then lets it finish. The end is that of an undisturbed store in
/// SQLite, whatever the engine.
fn kill_and_resume(engine: Engine, mode: &[&str], kills_min: usize) -> Result<()> {
    let undisturbed = Folder::new()?;
    let store = Engine::Sqlite.store(&undisturbed)?.url;
    let input = undisturbed.write("game.jsonl", stream::short()?)?;
    let dump = undisturbed.dump(&input, &store)?;
    let logs = Stored::read(&store)?.logs;
    // A program that waits tells of each turn twice: when it is handed over and when it is stored.
    let lines = SHORT_TURNS * if mode.is_empty() { 2 } else { 1 };

    let mut kills = 0;
    for round in 0..ROUNDS_MAX {
        let folder = Folder::new()?;
        let store = engine.store(&folder)?;
        let options = ["--input", &input, "--store", &store.url, "--resume"];
        let arguments = [&options, mode].concat();
        for step in 0..3 {
            let mut running = Running::start(folder.command(&arguments))?;
            let after = random(round, step) % lines;
            kills += usize::from(running.wait_for_lines(after)? && running.kill()?);
        }
        folder.succeed(&arguments)?;
        let at = format!("seed {SEED}, round {round}");
        assert_eq!(Stored::read(&store.url)?.logs, logs, "{at}");
        ensure!(
            folder.dump(&input, &store.url)? == dump,
            "{at}: the state differs"
        );
        if kills >= kills_min {
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
