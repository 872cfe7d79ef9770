//! What an engine holds of a group until it is durable.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::entity::Entity;
use crate::{Error, Receipt, Result, WorldId, WorldRecord};

/// The pending answer to a submitted group: a future of its receipt.
///
/// It resolves when the group, and everything accepted before it in its world, is durable
/// (clause C1), or when that can no longer be. It can be awaited on any runtime.
///
/// # Cancel safety
/// Dropping a ticket gives up the answer, not the group.
#[derive(Debug)]
#[must_use = "a ticket that is dropped tells nobody whether its group was persisted"]
pub struct Ticket(oneshot::Receiver<Result<Receipt>>);

impl Ticket {
    pub(super) fn new() -> (oneshot::Sender<Result<Receipt>>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }

    /// Waits on this thread, which may be any.
    ///
    /// # Errors
    /// Those of [`super::World::commit`].
    pub fn wait_blocking(self) -> Result<Receipt> {
        super::block_on(self)
    }
}

impl Future for Ticket {
    type Output = Result<Receipt>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| {
            let ended = || Error::closed("the controller ended before the group was persisted");
            answer.unwrap_or_else(|_| Err(ended()))
        })
    }
}

/// Records that were not accepted, handed back with the reason.
#[derive(Clone)]
pub struct Refused {
    /// Why.
    pub error: Error,
    /// The records, as they were given.
    pub records: Vec<WorldRecord>,
}

impl Refused {
    pub(super) const fn new(error: Error, records: Vec<WorldRecord>) -> Self {
        Self { error, records }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.error, f)
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.records.len();
        write!(f, "{:?} ({count} records handed back)", self.error)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// What `shutdown` could not persist.
#[derive(Clone)]
pub struct Unflushed {
    /// What stood in the way. With nothing pending or in doubt: why the store did not close.
    pub error: Error,
    /// The records that were accepted and are not in the store, world by world in their order.
    pub pending: Vec<WorldRecord>,
    /// The records of which it is not known whether they are in the store.
    pub in_doubt: Vec<WorldRecord>,
    /// The entities that were marked as dirty and whose state was not captured.
    pub dirty: Vec<(WorldId, Entity)>,
}

impl Unflushed {
    pub(super) const fn nothing(error: Error) -> Self {
        Self {
            error,
            pending: Vec::new(),
            in_doubt: Vec::new(),
            dirty: Vec::new(),
        }
    }
}

impl fmt::Display for Unflushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pending, in_doubt) = (self.pending.len(), self.in_doubt.len());
        write!(
            f,
            "shut down: {pending} records not persisted, {in_doubt} in doubt"
        )?;
        match self.dirty.len() {
            0 => Ok(()),
            dirty => write!(f, ", {dirty} dirty entities not captured"),
        }
    }
}

impl fmt::Debug for Unflushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}; caused by: {:?}", self.error)
    }
}

impl std::error::Error for Unflushed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Unflushed> for Error {
    fn from(unflushed: Unflushed) -> Self {
        let message = unflushed.to_string();
        Self::new(unflushed.error.kind(), message).with_source(unflushed.error)
    }
}
