#![doc = include_str!("../README.md")]

mod backend;
mod config;
mod connect;
mod error;
mod inspect;
mod layout;
mod location;
mod notice;
mod parts;
mod pool;
mod read;
mod reply;
mod rights;
mod snapshot;
mod standing;
mod store;
mod world;
mod write;
mod writer;

pub use backend::Postgres;
pub use config::{PostgresConfig, SslMode, Tls};
