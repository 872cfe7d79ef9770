//! What happened since a store was opened.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use crate::{Batch, Error, ErrorKind, Receipt, Result};

/// What a backend did since it was made (clause S1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageStats {
    /// Batches of which at least one part was written. Repeated and empty parts are not written.
    pub flush_count: u64,
    /// When the newest part that was written had been formed, in milliseconds since 1970.
    pub last_flush_at_ms: Option<i64>,
    /// Records written.
    pub records: u64,
    /// Bytes of those records, as [`crate::WorldRecord::bytes`] counts them.
    pub bytes: u64,
    /// Errors answered, one for each part or call that failed.
    pub errors: ErrorCounts,
}

/// How often each kind of error was answered.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorCounts([u64; ErrorKind::ALL.len()]);

impl ErrorCounts {
    /// How often `kind` was answered.
    #[must_use]
    pub fn of(&self, kind: ErrorKind) -> u64 {
        self.0.get(kind as usize).copied().unwrap_or_default()
    }

    /// How many errors were answered.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Takes in what another has counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Counts one error.
    pub fn add(&mut self, kind: ErrorKind) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count += 1;
        }
    }
}

impl fmt::Debug for ErrorCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = ErrorKind::ALL.map(|kind| (kind, self.of(kind)));
        f.debug_map()
            .entries(seen.into_iter().filter(|(_, count)| *count > 0))
            .finish()
    }
}

/// What a world holds, and what its store takes up (clause S2).
///
/// It is counted when it is asked for, row by row: it may take as long as reading the world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Rows of the world's log.
    pub log_records: u64,
    /// Bytes of their payloads.
    pub log_bytes: u64,
    /// Keys of the world's state.
    pub state_keys: u64,
    /// Bytes of their payloads.
    pub state_bytes: u64,
    /// Parts that were persisted and hold records.
    pub parts: u64,
    /// Bytes that the whole store takes up on its medium, with all its worlds, indexes and free
    /// room, as the engine tells; 0 if it has no medium.
    pub store_bytes: u64,
}

/// Counts for a backend, so that all count alike.
#[derive(Debug, Default)]
pub struct StatsCounter(Mutex<StorageStats>);

impl StatsCounter {
    /// Counts what became of a batch, once for each call, whether or not its caller waits for the
    /// answer.
    pub fn count_batch(&self, batch: &Batch, results: &[Result<Receipt>]) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = false;
        for (part, result) in batch.parts().iter().zip(results) {
            match result {
                Err(error) => stats.errors.add(error.kind()),
                Ok(receipt) if receipt.repeated || receipt.count == 0 => {}
                Ok(receipt) => {
                    written = true;
                    stats.records += u64::from(receipt.count);
                    stats.bytes += part.bytes() as u64;
                    stats.last_flush_at_ms = stats.last_flush_at_ms.max(Some(part.at_ms()));
                }
            }
        }
        stats.flush_count += u64::from(written);
    }

    /// Counts the error, if it is one, of a call other than `persist_batch`, and passes it on.
    ///
    /// # Errors
    /// The result's own.
    pub fn count<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.count_error(error))
    }

    /// Counts one error.
    pub fn count_error(&self, error: &Error) {
        let mut stats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stats.errors.add(error.kind());
    }

    /// The counts so far.
    #[must_use]
    pub fn read(&self) -> StorageStats {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
