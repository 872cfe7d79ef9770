//! What is shown on a terminal while the engine runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::watch::Sample;
use crate::replay::report::{Count, readable};

/// A line that is written anew with each sample; elsewhere than on a terminal nothing.
#[derive(Debug)]
pub struct Line {
    bar: ProgressBar,
    worst: Arc<AtomicU64>,
}

impl Line {
    /// A line that shows the longest tick since it was written last.
    #[must_use]
    pub fn new(worst: Arc<AtomicU64>) -> Self {
        let bar = ProgressBar::new_spinner();
        let bar = match ProgressStyle::with_template("{msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        };
        Self { bar, worst }
    }

    /// Shows a sample.
    pub fn show(&self, phase: &str, sample: &Sample) {
        let worst = Duration::from_nanos(self.worst.swap(0, Ordering::Relaxed));
        let health = if sample.healthy {
            "healthy"
        } else {
            "degraded"
        };
        let memory = sample.memory_bytes.map_or(0, |bytes| bytes >> 20);
        self.bar.set_message(format!(
            "{:6.1} s  {phase:10}  tick {:>7}  pending {:>7}  dirty {:>6}  exposed {:>4.1} s  \
             {health:8}  {memory} MiB",
            sample.at_s,
            readable(worst),
            Count(sample.pending_records as u64),
            Count(sample.dirty as u64),
            sample.exposure_age_s,
        ));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
