//! The engine: plays turns, one after the other, and hands each to the store.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use aqevia::{
    ErrorKind, Limit, LogRange, Reads, Receipt, Refused, Sequence, StorageController, Ticket,
    World, WorldId, WorldRecord,
};
use tokio::time::Instant;

use super::expected::Expected;
use super::halt::Halt;
use super::played::{Counts, Played};
use super::turns::Turn;
use super::wait::Waiter;

/// How an engine plays.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    /// Whether a turn waits for the one before to be durable.
    pub acknowledge: Acknowledge,
    /// Whether the store may hold the beginning of the stream.
    pub start: Start,
    /// The shortest time from one turn to the next, if there is one.
    pub every: Option<Duration>,
}

/// When the engine hears that a turn is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// Turn by turn: the next one begins when the last one is durable.
    EachTurn,
    /// Once, at the end.
    End,
}

/// Where the engine begins in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At its first turn; the world must be empty.
    First,
    /// Behind the last turn that is stored.
    Stored,
}

/// Plays turns into the worlds of a store.
#[derive(Debug)]
pub struct Engine<'a> {
    controller: &'a StorageController,
    waiter: &'a Waiter,
    play: Play,
    worlds: HashMap<WorldId, World>,
    next_at: Option<Instant>,
    played: Played,
}

impl<'a> Engine<'a> {
    /// An engine that has played nothing.
    #[must_use]
    pub fn new(controller: &'a StorageController, waiter: &'a Waiter, play: Play) -> Self {
        Self {
            controller,
            waiter,
            play,
            worlds: HashMap::new(),
            next_at: None,
            played: Played::default(),
        }
    }

    /// What it played so far.
    #[must_use]
    pub fn into_played(self) -> Played {
        self.played
    }

    /// Plays all turns and adds each to `expected`. When the turns have ended, or one could not be
    /// read, those before are durable; after another error, those that were accepted are so once
    /// the controller is shut down.
    ///
    /// # Errors
    /// What ended the turns, the store, or the waiting.
    pub fn play(
        &mut self,
        turns: impl Iterator<Item = Result<Turn>>,
        expected: &mut Expected,
    ) -> Result<(), Halt> {
        let begin = Instant::now();
        let played = self.play_turns(turns, expected);
        // What was played of a stream that breaks off is to be durable as well.
        let flushed = match &played {
            Ok(()) | Err(Halt::Stream(_)) => self.flush(),
            Err(_) => Ok(()),
        };
        self.played.time = begin.elapsed();
        let heads = self.check_heads(expected);
        self.played.behind = heads.is_err();
        flushed.and(played).and(heads)
    }

    fn play_turns(
        &mut self,
        turns: impl Iterator<Item = Result<Turn>>,
        expected: &mut Expected,
    ) -> Result<(), Halt> {
        for turn in turns {
            self.waiter.check()?;
            let turn = turn.map_err(Halt::Stream)?;
            expected.add(&turn);
            let world = self.world(&turn.world)?;
            if is_stored(&turn, &world)? {
                self.played.skipped += 1;
                continue;
            }
            self.pace()?;
            self.play_turn(&world, turn)?;
        }
        Ok(())
    }

    fn play_turn(&mut self, world: &World, turn: Turn) -> Result<(), Halt> {
        let (number, first, counts) = (turn.number, turn.first, Counts::of(&turn));
        let begin = Instant::now();
        let ticket = self.submit(world, turn.records)?;
        self.played.accepted(world.id(), number, counts);
        tracing::debug!(target: "replay", world = %world.id(), turn = number, "submitted");
        if self.play.acknowledge == Acknowledge::End {
            drop(ticket);
            return Ok(());
        }
        // A group without records asks for a flush at once, and ends when it is done.
        self.waiter.wait(world.commit(Vec::new()))??;
        let receipt = self.waiter.wait(ticket)??;
        self.played.commit.record(begin.elapsed());
        tracing::debug!(target: "replay", world = %world.id(), turn = number, "durable");
        check_receipt(world, receipt, first)
    }

    /// Hands over a turn. When the buffer is full, flushes and hands the same records over again.
    fn submit(&mut self, world: &World, mut records: Vec<WorldRecord>) -> Result<Ticket, Halt> {
        loop {
            let begin = Instant::now();
            let submitted = world.submit(records);
            self.played.submit.record(begin.elapsed());
            match submitted {
                Ok(ticket) => return Ok(ticket),
                Err(Refused {
                    error,
                    records: back,
                }) if error.kind() == ErrorKind::Backpressure => {
                    records = back;
                    self.flush()?;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    fn flush(&self) -> Result<(), Halt> {
        Ok(self.waiter.wait(self.controller.flush())??)
    }

    fn world(&mut self, id: &WorldId) -> Result<World, Halt> {
        if let Some(world) = self.worlds.get(id) {
            return Ok(world.clone());
        }
        // Order matters: a claim stops whoever else plays this world, so look first.
        self.refuse_records(id, self.stored_head(id)?)?;
        let world = self.waiter.wait(self.controller.open_world(id.clone()))??;
        self.refuse_records(id, world.opened_at().get())?;
        self.worlds.insert(id.clone(), world.clone());
        Ok(world)
    }

    fn refuse_records(&self, id: &WorldId, head: u64) -> Result<(), Halt> {
        if self.play.start == Start::First && head > 0 {
            return Err(Halt::Store(has_records(id, head)));
        }
        Ok(())
    }

    /// The head of a world that may not be open, read without claiming it.
    fn stored_head(&self, id: &WorldId) -> Result<u64, Halt> {
        let behind = LogRange::after(Sequence::MAX);
        let page = self.controller.log(id, behind, Limit::items(1));
        Ok(self.waiter.wait(page)??.head.get())
    }

    /// Waits until the next turn may begin. A turn that is late does not hurry those after it.
    fn pace(&mut self) -> Result<(), Halt> {
        let Some(every) = self.play.every else {
            return Ok(());
        };
        if let Some(at) = self.next_at {
            self.waiter.wait_until(at)?;
        }
        self.next_at = Some(Instant::now() + every);
        Ok(())
    }

    /// Checks that no world of the store goes on behind the end of the stream.
    fn check_heads(&self, expected: &Expected) -> Result<(), Halt> {
        for (id, world) in &self.worlds {
            let head = world.opened_at().get();
            let lines = expected.worlds.get(id).map_or(0, |world| world.head);
            if head > lines {
                return Err(Halt::Store(anyhow!(
                    "world {id:?} holds {head} records, the stream has {lines}: the store was not \
                     made from this stream"
                )));
            }
        }
        Ok(())
    }
}

/// Says of a world that it is not empty, and what to do.
#[must_use]
pub fn has_records(world: &WorldId, head: u64) -> anyhow::Error {
    anyhow!(
        "world {world:?} holds {head} records already; go on behind them with --resume, or name \
         another store with --store"
    )
}

/// Whether a turn is in the store. Groups are never split, so it is as a whole or not at all.
fn is_stored(turn: &Turn, world: &World) -> Result<bool, Halt> {
    let head = world.opened_at().get();
    if turn.first <= head && head < turn.last() {
        let (id, number) = (&turn.world, turn.number);
        return Err(Halt::Store(anyhow!(
            "world {id:?} holds {head} records, which ends within turn {number} of the stream: the \
             store was not made from this stream"
        )));
    }
    Ok(turn.last() <= head)
}

/// Checks that the records stand where the stream has them.
fn check_receipt(world: &World, receipt: Receipt, first: u64) -> Result<(), Halt> {
    if receipt.first.get() == first {
        return Ok(());
    }
    let (id, at) = (world.id(), receipt.first);
    Err(Halt::Store(anyhow!(
        "world {id:?}: records that belong at sequence {first} were stored at {at}"
    )))
}
