//! Which worlds are evicted, and in what order.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::Instant;

use super::config::{CacheConfig, CacheStats};
use super::shelf::Shelf;
use super::slot::Slot;
use crate::{World, WorldId};

/// A world that is to be evicted, as it was when that was decided.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    pub(super) world: World,
    pub(super) why: Why,
    pub(super) used_at: Instant,
    pub(super) order: u64,
}

/// Why a world is evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Age,
    Room,
}

impl<W> Shelf<W> {
    /// The worlds to evict, the one first that was used least recently, without those that were
    /// tried; at most so many.
    pub(super) fn victims(
        &self,
        config: &CacheConfig,
        tried: &HashSet<WorldId>,
        most: usize,
    ) -> Vec<Victim> {
        let mut idle: Vec<&Arc<Slot<W>>> = self
            .here()
            .filter(|slot| is_idle(slot) && !tried.contains(slot.world.id()))
            .collect();
        idle.sort_by_key(|slot| {
            let usage = slot.usage();
            (usage.used_at, usage.order)
        });
        let now = Instant::now();
        let mut left = self.stats();
        let mut victims = Vec::new();
        for slot in idle {
            let usage = slot.usage();
            let age = now.duration_since(usage.used_at);
            let why = match config.idle_max {
                Some(max) if age >= max => Why::Age,
                _ if is_over(&left, config) => Why::Room,
                _ => break,
            };
            left.worlds -= 1;
            left.bytes -= usage.bytes;
            victims.push(Victim {
                world: slot.world.clone(),
                why,
                used_at: usage.used_at,
                order: usage.order,
            });
            if victims.len() == most {
                break;
            }
        }
        victims
    }

    pub(super) fn is_over(&self, config: &CacheConfig) -> bool {
        is_over(&self.stats(), config)
    }
}

/// Whether nobody has a world, not even a handle that is just being dropped.
pub(super) fn is_idle<W>(slot: &Arc<Slot<W>>) -> bool {
    slot.usage().handles == 0 && Arc::strong_count(slot) == 1
}

fn is_over(stats: &CacheStats, config: &CacheConfig) -> bool {
    stats.bytes > config.bytes_max || config.worlds_max.is_some_and(|max| stats.worlds > max)
}
