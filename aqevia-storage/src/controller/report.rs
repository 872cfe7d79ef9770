//! What the controller tells of itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

#[cfg(feature = "metrics")]
use super::figures::Figures;
use super::health::Health;
use super::inbox::Inbox;
use super::lane::LaneId;
use crate::{Error, ErrorCounts, Part, Receipt, Result};

/// What a controller did since it started, and how it stands.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ControllerStats {
    /// Flushes that persisted at least one part.
    pub flush_count: u64,
    /// When the newest part that was persisted had been formed, in milliseconds since 1970.
    pub last_flush_at_ms: Option<i64>,
    /// How long the last flush took.
    pub last_flush_duration: Option<Duration>,
    /// Records that were persisted.
    pub records: u64,
    /// Bytes of those records, as [`crate::WorldRecord::bytes`] counts them.
    pub bytes: u64,
    /// Records that are accepted and not yet persisted.
    pub pending_records: usize,
    /// Bytes of those records.
    pub pending_bytes: usize,
    /// Errors that the backend answered to parts, by kind.
    pub errors: ErrorCounts,
    /// The last of those errors.
    pub last_error: Option<Error>,
    /// Answers after which a part was to be handed to the backend again.
    pub retries: u64,
    /// Records whose place a newer one of their key took before they were persisted.
    pub coalesced: u64,
    /// Dirty entities whose state was captured.
    pub captured: u64,
    /// Records that the store refused and that stand in the collection `_dead_letters`.
    pub dead_letters: u64,
    /// Worlds that are open and not stopped.
    pub open_worlds: usize,
    /// Whether the loop runs and nothing waits to be tried again.
    pub ready: bool,
}

/// The figures, written by the flush loop and read by anyone.
#[derive(Debug)]
pub(super) struct Report {
    stats: Mutex<ControllerStats>,
    health: watch::Sender<Health>,
    open_worlds: AtomicUsize,
    #[cfg(feature = "metrics")]
    figures: Mutex<Figures>,
}

impl Default for Report {
    fn default() -> Self {
        Self {
            stats: Mutex::default(),
            health: watch::Sender::new(Health::Healthy),
            open_worlds: AtomicUsize::new(0),
            #[cfg(feature = "metrics")]
            figures: Mutex::default(),
        }
    }
}

impl Report {
    pub(super) fn flushed(
        &self,
        parts: &[(LaneId, Arc<Part>)],
        answers: &[Result<Receipt>],
        duration: Duration,
    ) {
        let mut stats = self.lock();
        let mut persisted = false;
        for ((_, part), answer) in parts.iter().zip(answers) {
            match answer {
                Err(error) => {
                    stats.errors.add(error.kind());
                    stats.retries += u64::from(error.kind().is_retryable());
                    stats.last_error = Some(error.clone());
                }
                Ok(_) => {
                    persisted = true;
                    stats.records += part.records().len() as u64;
                    stats.bytes += part.bytes() as u64;
                    stats.last_flush_at_ms = stats.last_flush_at_ms.max(Some(part.at_ms()));
                }
            }
        }
        stats.flush_count += u64::from(persisted);
        stats.last_flush_duration = Some(duration);
        #[cfg(feature = "metrics")]
        super::figures::flushed(duration);
    }

    pub(super) fn captured(&self, entities: usize) {
        self.lock().captured += entities as u64;
    }

    pub(super) fn dead_letters(&self, count: u64) {
        self.lock().dead_letters += count;
    }

    pub(super) fn open_worlds(&self, count: usize) {
        self.open_worlds.store(count, Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// Tells that the controller has ended as it was asked to, which is no news.
    pub(super) fn ended(&self, cause: Error) {
        self.health.send_replace(Health::Stopped { cause });
    }

    /// Tells how the controller stands now, and logs it if that is news.
    pub(super) fn stand(&self, health: Health) {
        if health.is_healthy() && self.health.borrow().is_healthy() {
            return;
        }
        let news = health.is_news_after(&self.health.borrow());
        match &health {
            _ if !news => {}
            Health::Healthy => {
                tracing::info!(target: "aqevia_storage::controller", "healthy again");
            }
            Health::Degraded { cause, .. } => {
                tracing::warn!(target: "aqevia_storage::controller", %cause, "degraded");
            }
            Health::Stopped { cause } => {
                tracing::error!(target: "aqevia_storage::controller", %cause, "stopped");
            }
        }
        self.health.send_replace(health);
    }

    pub(super) fn read(&self, inbox: &Inbox) -> ControllerStats {
        let exposure = inbox.exposure();
        ControllerStats {
            pending_records: exposure.records,
            pending_bytes: exposure.bytes,
            coalesced: inbox.coalesced_so_far(),
            open_worlds: self.open_worlds.load(Ordering::Relaxed),
            ready: self.health.borrow().is_healthy(),
            ..self.lock().clone()
        }
    }

    /// Gives the recorder of the crate `metrics` how the controller stands.
    #[cfg(feature = "metrics")]
    pub(super) fn record_metrics(&self, inbox: &Inbox) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        // Order matters: whoever is here alone reads counts that are no older than those told.
        let (stats, health) = (self.read(inbox), self.health.borrow().clone());
        figures.tell(stats, &inbox.exposure(), &health);
    }

    fn lock(&self) -> MutexGuard<'_, ControllerStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
