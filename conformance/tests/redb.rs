//! A backend on another store, written with what `aqevia_storage` publishes and nothing else.
//!
//! It is the worked example of this crate's README: small enough to be read in an hour, and whole.
#![expect(
    clippy::unwrap_used,
    reason = "what the harness arranges and cannot have is a test that fails"
)]

#[path = "redb/backend.rs"]
mod backend;
#[path = "redb/error.rs"]
mod error;
#[path = "redb/files.rs"]
mod files;
#[path = "redb/harness.rs"]
mod harness;
#[path = "redb/layout.rs"]
mod layout;
#[path = "redb/look.rs"]
mod look;
#[path = "redb/read.rs"]
mod read;
#[path = "redb/snapshot.rs"]
mod snapshot;
#[path = "redb/store.rs"]
mod store;
#[path = "redb/write.rs"]
mod write;

conformance::conformance_suite!(harness::RedbHarness);
