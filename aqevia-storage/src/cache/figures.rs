//! A cache's figures, through the crate `metrics`.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use super::config::CacheStats;
use crate::metric;

/// What the counters were given so far. They are given what came since: several caches of a program
/// count together.
#[derive(Debug, Default)]
pub(super) struct Figures {
    told: CacheStats,
}

impl Figures {
    /// Gives the recorder what came since the last time, and how things stand.
    pub(super) fn tell(&mut self, stats: CacheStats) {
        let told = &self.told;
        for (name, now, before) in [
            (metric::CACHE_HITS, stats.hits, told.hits),
            (metric::CACHE_MISSES, stats.misses, told.misses),
            (metric::CACHE_LOADS, stats.loads, told.loads),
            (
                metric::CACHE_LOAD_FAILURES,
                stats.load_failures,
                told.load_failures,
            ),
            (metric::CACHE_EVICTIONS, stats.evictions, told.evictions),
        ] {
            // Also of nothing: who reads the figures is to find each of them.
            counter!(name).increment(now.saturating_sub(before));
        }
        gauge!(metric::CACHE_WORLDS).set(stats.worlds as f64);
        gauge!(metric::CACHE_BYTES).set(stats.bytes as f64);
        self.told = stats;
    }
}

/// A world was loaded, or could not be.
pub(super) fn loaded(duration: Duration) {
    histogram!(metric::CACHE_LOAD_SECONDS).record(duration);
}
