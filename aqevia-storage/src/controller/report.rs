//! What the controller tells of itself.

use std::sync::Arc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::inbox::Pending;
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
    /// Whether the loop runs and no part waits to be tried again.
    pub ready: bool,
}

/// The figures, written by the flush loop and read by anyone.
#[derive(Debug, Default)]
pub(super) struct Report(Mutex<ControllerStats>);

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
    }

    pub(super) fn set_ready(&self, ready: bool) {
        self.lock().ready = ready;
    }

    pub(super) fn read(&self, pending: Pending) -> ControllerStats {
        ControllerStats {
            pending_records: pending.records,
            pending_bytes: pending.bytes,
            ..self.lock().clone()
        }
    }

    fn lock(&self) -> MutexGuard<'_, ControllerStats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
