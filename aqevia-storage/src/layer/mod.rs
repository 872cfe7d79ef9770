//! Layers: each wraps a backend, and is one itself.
//!
//! | layer | what it adds |
//! | --- | --- |
//! | [`Timeout`] | a bound on how long a caller waits |
//! | [`Fault`] | faults by a seed, and outages on demand, for tests |
//! | [`Trace`] | a span and an event of `tracing` for each call |
//! | `Metrics` | figures through the crate `metrics`; needs the feature `metrics` |
//!
//! # The order
//! What is outside sees what is inside as its store. [`Trace`] and `Metrics` go outside, so that
//! they tell what callers were told, and how long they waited. [`Fault`] goes inside, in the place
//! of a store that fails:
//!
//! ```
//! use std::time::Duration;
//!
//! use aqevia_storage::layer::{Fault, FaultPlan, Timeout, Timeouts, Trace};
//! use aqevia_storage::{Memory, SchemaPolicy, StorageBackend};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqevia_storage::Result<()> {
//! let store = Fault::new(Memory::new(), FaultPlan::new(7))?;
//! let faults = store.handle();
//! let store = Timeout::new(store, Timeouts::all(Duration::from_secs(30)))?;
//! let store = Trace::new(store);
//! store.init(SchemaPolicy::Upgrade).await?;
//! faults.begin_outage(); // from now on every call is `Unavailable`
//! # Ok(())
//! # }
//! ```
//!
//! [`Timeout`] inside of [`Fault`] bounds nothing: a call that hangs in the outer layer never comes
//! to the inner one. `Metrics` inside of [`Timeout`] measures how long the store took, and does not
//! count what the timeout answered.
//!
//! # What they have in common
//! A layer is generic over its backend; an `Arc<dyn StorageBackend>` is a backend as well. What a
//! layer does to reads it does to the reads of a snapshot. A layer never retries: the controller
//! alone does.

mod fault;
#[cfg(feature = "metrics")]
mod metrics;
mod timeout;
mod trace;

#[cfg(test)]
mod held;
#[cfg(test)]
mod tests;

pub use self::fault::{Fault, FaultCounts, FaultHandle, FaultPlan, FaultRates};
#[cfg(feature = "metrics")]
pub use self::metrics::Metrics;
pub use self::timeout::{Timeout, Timeouts};
pub use self::trace::Trace;
