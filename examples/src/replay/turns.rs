//! The turns of a stream: what its worlds do at once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use anyhow::{Result, bail};
use aqevia::{Part, WorldId, WorldRecord};
use indicatif::ProgressBar;

use super::input::Input;
use super::line::Line;

/// All lines of one turn of one world: a group.
#[derive(Debug)]
pub struct Turn {
    /// The world.
    pub world: WorldId,
    /// The number of the turn, which rises within a world and may leave gaps.
    pub number: u64,
    /// Which of the world's lines is the first one here, from 1. Every record takes one sequence,
    /// so this is the sequence of that record in a store that holds the stream.
    pub first: u64,
    /// What happens, in order.
    pub records: Vec<WorldRecord>,
}

impl Turn {
    fn of(line: Line, first: u64) -> Self {
        Self {
            world: line.record.world.clone(),
            number: line.turn,
            first,
            records: vec![line.record],
        }
    }

    /// The sequence of the last record.
    #[must_use]
    pub const fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }

    /// The records with their sequences.
    pub fn sequenced(&self) -> impl Iterator<Item = (u64, &WorldRecord)> {
        (self.first..).zip(&self.records)
    }
}

/// Reads the turns of a stream in which any number of worlds take part, line by line.
///
/// A turn is complete when a line of the same world with a higher turn comes, or when the stream
/// ends. In memory is one turn of each world. After an error there are no more turns: those that
/// were not complete are given up.
#[derive(Debug)]
pub struct Turns {
    input: Input,
    open: BTreeMap<WorldId, Open>,
    phase: Phase,
}

#[derive(Debug)]
struct Open {
    turn: Turn,
    bytes: usize,
}

#[derive(Debug)]
enum Phase {
    Reading,
    /// Every line is read; the turns that are open are complete.
    Draining,
    Ended,
}

impl Turns {
    /// The turns in a file; `progress` moves by the bytes that are read of it.
    ///
    /// # Errors
    /// Those of [`Input::open`].
    pub fn open(path: &Path, progress: &ProgressBar) -> Result<Self> {
        Ok(Self {
            input: Input::open(path, progress)?,
            open: BTreeMap::new(),
            phase: Phase::Reading,
        })
    }

    fn read_turn(&mut self) -> Result<Option<Turn>> {
        while let Some(bytes) = self.input.next_line()? {
            let complete = Line::parse(bytes).and_then(|line| add(&mut self.open, line));
            if let Some(turn) = complete.map_err(|error| self.input.at_line(error))? {
                return Ok(Some(turn));
            }
        }
        Ok(None)
    }
}

impl Iterator for Turns {
    type Item = Result<Turn>;

    fn next(&mut self) -> Option<Result<Turn>> {
        if let Phase::Reading = self.phase {
            match self.read_turn() {
                Ok(Some(turn)) => return Some(Ok(turn)),
                Ok(None) => self.phase = Phase::Draining,
                Err(error) => {
                    self.phase = Phase::Ended;
                    return Some(Err(error));
                }
            }
        }
        match self.phase {
            Phase::Draining => self.open.pop_first().map(|(_, open)| Ok(open.turn)),
            _ => None,
        }
    }
}

/// Adds a line to the open turn of its world; the turn before, if the line completes it.
fn add(open: &mut BTreeMap<WorldId, Open>, line: Line) -> Result<Option<Turn>> {
    let bytes = line.record.bytes();
    match open.entry(line.record.world.clone()) {
        Entry::Vacant(place) => {
            let turn = Turn::of(line, 1);
            place.insert(Open { turn, bytes });
            Ok(None)
        }
        Entry::Occupied(mut place) => {
            let open = place.get_mut();
            if line.turn > open.turn.number {
                let turn = Turn::of(line, open.turn.last() + 1);
                return Ok(Some(place.insert(Open { turn, bytes }).turn));
            }
            open.add(line, bytes).map(|()| None)
        }
    }
}

impl Open {
    fn add(&mut self, line: Line, bytes: usize) -> Result<()> {
        let (world, number) = (&self.turn.world, self.turn.number);
        if line.turn < number {
            let turn = line.turn;
            bail!("turn {turn} of world {world:?} comes after turn {number}; turns never fall");
        }
        self.bytes += bytes;
        if self.turn.records.len() == Part::RECORDS_MAX || self.bytes > Part::BYTES_MAX {
            let (records, bytes) = (Part::RECORDS_MAX, Part::BYTES_MAX);
            bail!(
                "turn {number} of world {world:?} is larger than a group may be: {records} \
                 records, {bytes} bytes"
            );
        }
        self.turn.records.push(line.record);
        Ok(())
    }
}
