//! Streams to play.

use anyhow::{Context, Result};
use examples::replay::input::Input;
use indicatif::ProgressBar;

use crate::program::shipped;

/// The lines of the first turns of the shipped game: 3,366.
const SHORT_LINES: usize = 3_366;
/// The number of those turns.
pub(crate) const SHORT_TURNS: usize = 15;

/// The shipped game as text.
pub(crate) fn game() -> Result<String> {
    let mut input = Input::open(&shipped(), &ProgressBar::hidden())?;
    let mut text = String::new();
    while let Some(line) = input.next_line()? {
        text.push_str(std::str::from_utf8(line)?);
        text.push('\n');
    }
    Ok(text)
}

/// The first turns of the shipped game.
pub(crate) fn short() -> Result<String> {
    let game = game()?;
    let (end, _) = game
        .match_indices('\n')
        .nth(SHORT_LINES - 1)
        .context("the game is short")?;
    Ok(game.get(..=end).unwrap_or_default().to_owned())
}

/// A line with a payload, or without one if it is empty, in a collection named after the change:
/// puts and deletes share one.
pub(crate) fn line(world: &str, turn: u64, op: &str, key: &str, payload: &str) -> String {
    let collection = if op == "event" { "events" } else { "puts" };
    let payload = match payload {
        "" => String::new(),
        payload => format!(r#""payload":{payload},"#),
    };
    format!(
        r#"{{"collection":"{collection}","key":"{key}","op":"{op}",{payload}"ts":{turn},"turn":{turn},"world":"{world}"}}"#
    ) + "\n"
}

/// A turn of a world: an entity of its own, one that changes each turn, one that goes, an event.
pub(crate) fn turn(world: &str, turn: u64) -> Vec<String> {
    let payload = format!(r#"{{"turn":{turn}}}"#);
    let before = turn.saturating_sub(1);
    vec![
        line(world, turn, "put", &format!("k{turn}"), &payload),
        line(world, turn, "put", "always", &payload),
        line(world, turn, "delete", &format!("k{before}"), ""),
        line(world, turn, "event", &format!("e{turn}"), &payload),
    ]
}

/// Worlds whose lines stand between each other, each with its own number of turns.
pub(crate) fn interleaved(worlds: usize) -> String {
    let world = |index: usize| {
        let turns = 1..=(index as u64 % 5 + 2);
        let lines = turns.flat_map(move |number| turn(&format!("w{index:02}"), number));
        lines.collect::<Vec<_>>().into_iter()
    };
    let mut left: Vec<_> = (0..worlds).map(world).collect();
    let mut text = String::new();
    while !left.is_empty() {
        left.retain_mut(|lines| lines.next().map(|line| text.push_str(&line)).is_some());
    }
    text
}
