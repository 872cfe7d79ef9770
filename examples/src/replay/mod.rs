//! Plays a recorded game as an engine would and persists it: what `src/bin/replay.rs` does.

pub mod dump;
pub mod expected;
pub mod fingerprint;
pub mod fresh;
pub mod halt;
pub mod input;
pub mod line;
pub mod locate;
pub mod options;
pub mod play;
pub mod played;
pub mod report;
mod run;
pub mod stored;
pub mod turns;
pub mod verify;
pub mod wait;

pub use run::run;
