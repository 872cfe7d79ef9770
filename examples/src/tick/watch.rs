//! What is seen from outside while the engine runs.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use aqevia::{Health, StorageController};
use serde::Serialize;
use tokio::time::Instant;

/// How the controller and this process stood at a moment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// When, in seconds.
    pub at_s: f64,
    /// Records accepted and not persisted.
    pub pending_records: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// Entities marked as dirty and not captured.
    pub dirty: usize,
    /// How long the oldest of these has been waiting, in seconds.
    pub exposure_age_s: f64,
    /// Whether what was tried last succeeded.
    pub healthy: bool,
    /// Whether nothing is written any more.
    pub stopped: bool,
    /// Resident memory of this process in bytes, if that is known.
    pub memory_bytes: Option<u64>,
}

/// The time between two samples.
const EVERY: Duration = Duration::from_millis(100);

/// Samples on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    samples: Receiver<Sample>,
    end: Option<Sender<()>>,
    watching: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to sample; times count from `begin`.
    #[must_use]
    pub fn begin(controller: Arc<StorageController>, begin: Instant) -> Self {
        let (sender, samples) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let watching = thread::spawn(move || {
            let mut next_at = begin;
            loop {
                if sender.send(sample(&controller, begin)).is_err() {
                    return;
                }
                next_at += EVERY;
                let left = next_at.saturating_duration_since(Instant::now());
                if ended.recv_timeout(left) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        });
        Self {
            samples,
            end: Some(end),
            watching: Some(watching),
        }
    }

    /// The next sample; `None` if there is none any more.
    #[must_use]
    pub fn sample(&self) -> Option<Sample> {
        self.samples.recv().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.end.take());
        if self.watching.take().is_some_and(|it| it.join().is_err()) {
            tracing::error!(target: "tick", "the thread that samples panicked");
        }
    }
}

fn sample(controller: &StorageController, begin: Instant) -> Sample {
    let exposure = controller.exposure();
    let health = controller.health();
    let health = health.borrow();
    Sample {
        at_s: begin.elapsed().as_secs_f64(),
        pending_records: exposure.records,
        pending_bytes: exposure.bytes,
        dirty: exposure.dirty,
        exposure_age_s: exposure.oldest.unwrap_or_default().as_secs_f64(),
        healthy: health.is_healthy(),
        stopped: matches!(*health, Health::Stopped { .. }),
        memory_bytes: memory_bytes(),
    }
}

/// The resident memory of this process, as Linux tells it.
fn memory_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}
