//! Storage steps: the moments between which a crash leaves a store in different states.

/// The target of the events that announce storage steps.
pub const STEP_TARGET: &str = "aqevia_storage::step";

/// Announces a storage step, on the thread that takes it: `step("part: records written")`.
///
/// A backend calls this wherever it may be killed with a different outcome than a moment before:
/// between the statements of a part, before and after its commit, while it makes its layout. It is
/// an event of level `TRACE` with the field `step`, so it costs next to nothing unless somebody
/// listens. The conformance suite listens, and kills the process at each step in turn.
pub fn step(name: &'static str) {
    tracing::trace!(target: STEP_TARGET, step = name);
}
