//! The controller's figures, through the crate `metrics`.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::exposure::Exposure;
use super::health::Health;
use super::report::ControllerStats;
use crate::metric;

/// What the counters were given so far. They are given what came since: several controllers of a
/// program count together.
#[derive(Debug, Default)]
pub(super) struct Figures {
    told: ControllerStats,
}

impl Figures {
    /// Gives the recorder what came since the last time, and how things stand.
    pub(super) fn tell(&mut self, stats: ControllerStats, exposure: &Exposure, health: &Health) {
        let told = &self.told;
        for (name, now, before) in [
            (
                metric::CONTROLLER_FLUSHES,
                stats.flush_count,
                told.flush_count,
            ),
            (metric::CONTROLLER_RETRIES, stats.retries, told.retries),
            (
                metric::CONTROLLER_COALESCED,
                stats.coalesced,
                told.coalesced,
            ),
            (metric::CONTROLLER_CAPTURED, stats.captured, told.captured),
            (
                metric::CONTROLLER_DEAD_LETTERS,
                stats.dead_letters,
                told.dead_letters,
            ),
        ] {
            // Also of nothing: who reads the figures is to find each of them.
            counter!(name).increment(now.saturating_sub(before));
        }
        let age = exposure.oldest.unwrap_or_default();
        gauge!(metric::CONTROLLER_PENDING_RECORDS).set(exposure.records as f64);
        gauge!(metric::CONTROLLER_PENDING_BYTES).set(exposure.bytes as f64);
        gauge!(metric::CONTROLLER_DIRTY_ENTITIES).set(exposure.dirty as f64);
        gauge!(metric::CONTROLLER_EXPOSURE_AGE).set(age.as_secs_f64());
        gauge!(metric::CONTROLLER_HEALTH).set(number(health));
        gauge!(metric::CONTROLLER_OPEN_WORLDS).set(stats.open_worlds as f64);
        self.told = stats;
    }
}

/// A flush has been answered.
pub(super) fn flushed(duration: Duration) {
    histogram!(metric::CONTROLLER_FLUSH_SECONDS).record(duration);
}

const fn number(health: &Health) -> f64 {
    match health {
        Health::Healthy => 0.0,
        Health::Degraded { .. } => 1.0,
        Health::Stopped { .. } => 2.0,
    }
}
