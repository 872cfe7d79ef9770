//! What the larger of the example programs are made of. Each program is a file in `src/bin`.

pub mod config;
pub mod log;
pub mod prometheus;
pub mod replay;
pub mod tick;
