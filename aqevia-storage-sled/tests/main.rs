//! What is the sled backend's own, and the conformance suite on it.
#![expect(
    clippy::unwrap_used,
    reason = "what a test arranges and cannot have is a test that fails"
)]

mod config;
mod damage;
mod files;
mod layout;
mod payloads;
mod processes;
mod readers;
mod room;
mod store;
mod writes;

mod suite {
    conformance::conformance_suite!(conformance::engines::sled::SledHarness);
}
