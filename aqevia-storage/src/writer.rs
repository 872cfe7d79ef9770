//! What backends share: the rule who may write a part, and the order of calls.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::{BatchNumber, Epoch, Error, ErrorKind, Owner, Part, Result, WorldId};

/// Where a world stands, as far as it decides whether a part may be written.
#[derive(Clone, Copy, Debug)]
pub struct WriterCheck<'a> {
    /// The epoch of the last claim.
    pub epoch: Epoch,
    /// The number of the last part.
    pub last_number: BatchNumber,
    /// Who claimed last.
    pub owner: Option<&'a Owner>,
}

impl WriterCheck<'_> {
    /// Whether a part that was not persisted before may be written (clauses P6, P7, P9).
    ///
    /// A backend looks for the same part first (clause P5), and writes nothing for an empty one.
    ///
    /// # Errors
    /// `Fenced` if the world was claimed after the part's epoch; `Invalid` if the epoch was never
    /// claimed, or if the number does not follow.
    pub fn check(&self, part: &Part) -> Result<()> {
        if part.epoch() < self.epoch {
            return Err(self.fenced(part));
        }
        // Nobody is given epoch zero, so a world at zero has no writer.
        if part.epoch() > self.epoch || self.epoch == Epoch::ZERO {
            let (epoch, last) = (part.epoch().get(), self.epoch.get());
            return Err(Error::invalid(format!(
                "epoch {epoch} has not been claimed, the last claim is {last}"
            )));
        }
        let next = self.last_number.advance(1)?;
        if part.number() == next || part.records().is_empty() {
            return Ok(());
        }
        if part.number() < next {
            return Err(Error::invalid("other content stands under this number"));
        }
        Err(Error::invalid(format!("the next number is {next}")))
    }

    fn fenced(&self, part: &Part) -> Error {
        let (epoch, now) = (part.epoch().get(), self.epoch.get());
        let owner = self.owner.map_or("another writer", Owner::as_str);
        Error::new(
            ErrorKind::Fenced,
            format!("the writer of epoch {epoch} is fenced: {owner} claimed epoch {now}"),
        )
    }
}

/// Checks that a snapshot is asked for its own world.
///
/// # Errors
/// `Invalid` if it is not.
pub fn check_snapshot(of: &WorldId, asked: &WorldId) -> Result<()> {
    if of == asked {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "read world {asked:?}: the snapshot is of world {of:?}"
    )))
}

/// Where a backend is between `init` and `close` (clause B7).
#[derive(Debug, Default)]
pub struct Phase(AtomicU8);

const INITIALISED: u8 = 1;
const CLOSED: u8 = 2;

impl Phase {
    /// Notes that the backend is initialised.
    ///
    /// # Errors
    /// `Closed` if it is closed.
    pub fn init(&self) -> Result<()> {
        if self.0.fetch_or(INITIALISED, Ordering::AcqRel) & CLOSED != 0 {
            return Err(closed());
        }
        Ok(())
    }

    /// Notes that the backend is closed.
    pub fn close(&self) {
        self.0.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether `init` is in order.
    ///
    /// # Errors
    /// `Closed` after `close`.
    pub fn check_open(&self) -> Result<()> {
        if self.0.load(Ordering::Acquire) & CLOSED == 0 {
            return Ok(());
        }
        Err(closed())
    }

    /// Whether calls other than `init` and `close` are in order.
    ///
    /// # Errors
    /// `Invalid` before `init`, `Closed` after `close`.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Acquire) {
            INITIALISED => Ok(()),
            0 => Err(Error::invalid("the store is not initialised: call `init`")),
            _ => Err(closed()),
        }
    }
}

fn closed() -> Error {
    Error::closed("the store is closed")
}
