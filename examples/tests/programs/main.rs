//! The small programs, run as a user runs them.

mod game_loop;
mod metrics;
mod program;
mod server;
