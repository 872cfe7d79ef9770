#![doc = include_str!("../README.md")]

mod backend;
mod checkpoint;
mod config;
mod error;
mod inspect;
mod layout;
mod permissions;
mod pool;
mod read;
mod snapshot;
mod store;
mod upgrade;
mod world;
mod write;
mod writer;

pub use backend::Sqlite;
pub use config::{Location, Permissions, SqliteConfig, Synchronous};
