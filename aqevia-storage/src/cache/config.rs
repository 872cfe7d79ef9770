//! What a cache bounds, and what it tells of itself.

use std::time::Duration;

/// How much a [`WorldCache`](super::WorldCache) keeps in memory that nobody uses.
///
/// A world in use is never let go of, nor one with unsaved changes: with more of those than the
/// bounds allow, the cache is larger.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheConfig {
    /// The most bytes, as [`WorldLoader::bytes`](super::WorldLoader::bytes) estimates them. With
    /// zero, nothing is kept that is not in use. Default 256 MiB.
    pub bytes_max: usize,
    /// The most worlds; `None` for as many as the bytes allow. Default `None`.
    pub worlds_max: Option<usize>,
    /// How long a world is kept that nobody uses; `None` for as long as there is room. Default
    /// `None`.
    pub idle_max: Option<Duration>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            bytes_max: 256 << 20,
            worlds_max: None,
            idle_max: None,
        }
    }
}

/// What a cache holds, and what it did since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Worlds in memory, used or not.
    pub worlds: usize,
    /// Their bytes, as they were estimated last.
    pub bytes: usize,
    /// Calls of `get` that found their world in memory.
    pub hits: u64,
    /// Calls of `get` that waited for a load.
    pub misses: u64,
    /// Worlds that were loaded.
    pub loads: u64,
    /// Loads that failed.
    pub load_failures: u64,
    /// Worlds that were evicted.
    pub evictions: u64,
}

/// What a pass of eviction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted {
    /// Worlds that were evicted.
    pub worlds: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Worlds that were to be evicted and stay: they were used meanwhile, or could not be saved.
    pub kept: usize,
}
