//! What a crash would lose.

use std::time::Duration;

/// What would be lost if the process ended now (clause C3 bounds it).
///
/// Of a part whose fate is not known this counts all records, also if the store has them. What a
/// stopped world left is not in it: that is the engine's, which takes it with
/// [`World::take_unpersisted`](crate::World::take_unpersisted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exposure {
    /// Records that are accepted and not yet persisted.
    pub records: usize,
    /// Bytes of those records, as [`WorldRecord::bytes`](crate::WorldRecord::bytes) counts them.
    pub bytes: usize,
    /// Entities that were marked as dirty and not yet captured; one that is marked again while it is
    /// being captured counts twice.
    pub dirty: usize,
    /// How long the oldest of all these has been waiting; `None` if there is nothing.
    pub oldest: Option<Duration>,
}
