//! What a child process tells its parent, a line each.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

/// What stands before each line; the program that runs the tests prints lines of its own.
const PREFIX: &str = "aqevia-conformance ";

/// What a child tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line {
    /// It is about to do what it was started for; some jobs wait for a byte here.
    Ready,
    /// It takes a step, on the thread that says so.
    Step { name: String },
    /// It waits for a byte at a step.
    Halted { name: String },
    /// It got that byte, and goes on.
    GoesOn,
    /// It claims a world.
    Claiming { world: String },
    /// It has claimed a world.
    Claimed {
        world: String,
        epoch: u64,
        number: u64,
        head: u64,
        link: String,
    },
    /// It persists the batch of this call.
    Persisting { call: u64 },
    /// It got the receipt of a part.
    Acknowledged {
        world: String,
        number: u64,
        first: u64,
        count: u32,
        digest: String,
    },
    /// It got this answer; `kind` is that of an error.
    Answered {
        kind: Option<String>,
        first: u64,
        repeated: bool,
    },
    /// Its controller has started and its worlds are open, so long after it was ready.
    Opened { micros: u64 },
    /// It has read a world, and goes on at this place of its script.
    Resumed { world: String, from: u64 },
    /// It does what the script of a world has before this place.
    Playing { world: String, until: u64 },
    /// The group at a place of the script is acknowledged, with its first sequence.
    Stored { world: String, at: u64, first: u64 },
    /// The save at a place of the script is acknowledged.
    Saved { world: String, at: u64 },
    /// What its controller did so far.
    Counted { captures: u64, coalesced: u64 },
    /// What it found, as text that its job knows how to read.
    Found { report: String },
    /// The store breaks the contract.
    Violated { message: String },
    /// It has done its job.
    Done,
}

impl Line {
    /// Tells the parent. Ends the process if nobody listens.
    pub(crate) fn say(&self) {
        let text = serde_json::to_string(self).expect("text and numbers have a JSON form");
        let line = format!("{PREFIX}{text}\n");
        let mut out = io::stdout().lock();
        // Order matters: a whole line goes out in one call, so that a kill cuts none in two.
        let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
        if said.is_err() {
            std::process::exit(1);
        }
    }

    /// What a line of the child's output tells, if it is one of ours and whole.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (_, text) = text.split_once(PREFIX)?;
        serde_json::from_str(text).ok()
    }
}

/// Waits for a byte of the parent. Ends the process if the parent is gone.
pub(crate) fn wait_for_byte() {
    let mut byte = [0];
    if !matches!(io::stdin().lock().read(&mut byte), Ok(1)) {
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_behind_what_the_test_runner_prints() {
        let text = serde_json::to_string(&Line::Persisting { call: 7 }).unwrap();
        let line = format!("test suite::child ... {PREFIX}{text}");
        assert_eq!(Line::parse(&line), Some(Line::Persisting { call: 7 }));
    }

    #[test]
    fn a_line_that_was_cut_tells_nothing() {
        assert_eq!(Line::parse(&format!("{PREFIX}{{\"persisting\":{{")), None);
        assert_eq!(Line::parse("test result: ok"), None);
    }
}
