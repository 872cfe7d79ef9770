#![doc = include_str!("../README.md")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a clause that does not hold is a panic, and so is a store that breaks on the way"
)]

pub mod clauses;
mod contents;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "sled"))]
pub mod engines;
mod fault;
mod harness;
mod history;
mod model;
mod run;
mod sample;
mod suite;
mod writer;

pub use contents::render;
pub use harness::{FirstRow, Harness, Scene};
pub use history::histories;
pub use suite::{Clause, certify};
