//! How the controller stands with its store.

use tokio::time::Instant;

use crate::Error;

/// How a controller stands with its store.
///
/// Memory goes on in each of these: what the engine reads and changes there is its own.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Health {
    /// What was tried last succeeded, and nothing waits for an answer for long.
    #[default]
    Healthy,
    /// Something is tried again, or the store has not answered for five seconds: records are
    /// accepted up to the bound of the buffer, and persisted when the store is back. Nobody has to do
    /// anything for that.
    Degraded {
        /// Since when.
        since: Instant,
        /// What went wrong the last time.
        cause: Error,
        /// How often something was tried in vain since then.
        attempts: u32,
    },
    /// Nothing is written any more: the store is damaged, of another layout, or closed. What was
    /// accepted is handed back by [`World::take_unpersisted`](crate::World::take_unpersisted) and
    /// by `shutdown`.
    Stopped {
        /// Why.
        cause: Error,
    },
}

impl Health {
    /// Whether what was tried last succeeded.
    #[must_use]
    pub const fn is_healthy(&self) -> bool {
        matches!(self, Self::Healthy)
    }

    /// Whether this is another state than the one before, not the same with other figures.
    pub(super) fn is_news_after(&self, before: &Self) -> bool {
        std::mem::discriminant(self) != std::mem::discriminant(before)
    }
}
