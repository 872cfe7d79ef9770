#![doc = include_str!("../README.md")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::panic,
    reason = "a clause that does not hold is a panic, and so is a store that breaks on the way"
)]

pub mod certificate;
pub mod clauses;
mod contents;
pub mod engines;
mod equivalence;
mod fault;
mod faults;
mod harness;
mod history;
mod model;
pub mod process;
mod run;
mod sample;
mod suite;
mod writer;

pub use contents::render;
pub use equivalence::{SEEDS as EQUIVALENCE_SEEDS, canonical_hash, equivalence};
pub use faults::{FaultReport, faults};
pub use harness::{FirstRow, Harness, Scene};
pub use history::{histories, histories_of};
pub use suite::{Clause, run_clause};
