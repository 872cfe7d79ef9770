//! The clauses: one function or several for each id of CONTRACT.md.
//!
//! Each takes a harness over a new, empty store, and panics if the store breaks the clause; the
//! message then has the id. A panic with another message means that the store broke before the
//! clause's own question.

pub mod batches;
pub mod bootstrap;
pub mod capture;
pub mod claims;
pub mod controller;
pub mod errors;
pub mod fidelity;
pub mod isolation;
pub mod reads;
pub mod shutdown;
pub mod stats;
pub mod trouble;
pub mod writers;
