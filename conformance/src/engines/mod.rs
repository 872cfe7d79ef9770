//! Harnesses for our own backends, each behind a feature, for their tests and for certificates.

#[cfg(feature = "sqlite")]
pub mod sqlite;
