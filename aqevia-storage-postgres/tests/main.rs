//! What is the Postgres backend's own, and the conformance suite on it.
#![expect(
    clippy::unwrap_used,
    reason = "what a test arranges and cannot have is a test that fails"
)]

mod proxy;
mod server;

mod bad_input;
mod config;
mod layout;
mod plans;
mod pooler;
mod readers;
mod rights;
mod rivals;
mod sessions;
mod silence;
mod store;
mod tls;
mod writes;

mod suite {
    conformance::conformance_suite!(conformance::engines::postgres::PostgresHarness);
}
