#![doc = include_str!("../README.md")]

mod backend;
mod codec;
mod config;
mod disk;
mod engine;
mod error;
mod folder;
mod layout;
mod lock;
mod pool;
mod read;
mod room;
mod row;
mod shared;
mod snapshot;
mod stamp;
mod store;
mod usage;
mod world;
mod write;
mod writer;

pub use backend::Sled;
pub use config::{Permissions, SledConfig};
