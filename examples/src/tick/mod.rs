//! An engine at 60 ticks a second whose store fails: what `src/bin/tick.rs` does.

pub mod container;
pub mod engine;
pub mod galaxy;
pub mod harm;
pub mod json;
pub mod line;
pub mod options;
pub mod plot;
pub mod report;
pub mod room;
mod run;
pub mod verify;
pub mod watch;

pub use run::run;
