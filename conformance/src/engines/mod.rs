//! Harnesses for our own backends, for their tests and for certificates: those with an engine are
//! each behind a feature.

pub mod memory;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sled")]
pub mod sled;
#[cfg(feature = "sqlite")]
pub mod sqlite;
