//! What is the SQLite backend's own, and the conformance suite on it.
#![expect(
    clippy::unwrap_used,
    reason = "what a test arranges and cannot have is a test that fails"
)]

mod bad_input;
mod config;
mod files;
mod first_layout;
mod layout;
mod log_size;
mod memory;
mod plans;
mod readers;
mod store;
mod writes;

mod suite {
    conformance::conformance_suite!(conformance::engines::sqlite::SqliteHarness);
}
