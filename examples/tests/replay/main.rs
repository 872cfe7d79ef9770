//! The program `replay`, run as a user runs it: played to the end, killed, stopped, refused.

mod bad_input;
mod engine;
mod killed;
mod program;
mod refused;
mod stopped;
mod stored;
mod stream;
mod undisturbed;
