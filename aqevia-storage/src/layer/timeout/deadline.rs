//! When a call's time is over, and what is answered then.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::{Error, ErrorKind, Result};

/// The end of a call's time.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    limit: Duration,
}

impl Deadline {
    /// The end of a time that begins now.
    pub(super) fn after(limit: Duration) -> Self {
        Self {
            at: Instant::now() + limit,
            limit,
        }
    }

    /// What a future comes to; `None` if its time is over before.
    pub(super) async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        timeout_at(self.at, work).await.ok()
    }

    /// The answer of a call that goes on by itself, or an error of this kind in its place. The call
    /// answers `None` if it was too late to begin.
    pub(super) async fn answer<T>(
        self,
        call: oneshot::Receiver<Option<T>>,
        kind: ErrorKind,
    ) -> Result<T> {
        match self.bound(call).await {
            Some(Ok(Some(answer))) => Ok(answer),
            Some(Err(_)) => Err(Error::new(kind, NO_ANSWER)),
            Some(Ok(None)) | None => Err(self.late(kind)),
        }
    }

    /// The answer to a call whose time is over.
    pub(super) fn late(self, kind: ErrorKind) -> Error {
        let limit = self.limit;
        Error::new(kind, format!("the store gave no answer within {limit:?}"))
    }
}

/// The message when a call panics, or answers for fewer parts than it was given.
pub(super) const NO_ANSWER: &str = "the store's call ended without an answer";
