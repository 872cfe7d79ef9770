#![doc = include_str!("../README.md")]

mod backend;
mod batch;
mod cache;
mod clock;
mod config;
mod controller;
mod counter;
mod digest;
mod error;
pub mod layer;
mod memory;
#[cfg(feature = "metrics")]
pub mod metric;
mod name;
mod null;
mod page;
mod record;
mod schema;
mod stats;
mod step;
mod url;
mod writer;

pub use backend::{Capabilities, Durability, Reads, SchemaPolicy, StorageBackend, StoreInfo};
pub use batch::{Batch, BatchRecord, Claim, Part, Receipt, StateChange, StatePut};
pub use cache::{CacheConfig, CacheStats, Cached, Evicted, WorldCache, WorldLoader, WorldPeek};
pub use clock::Clock;
pub use config::{ControllerConfig, PoolConfig, StorageConfig, unknown_variables};
pub use controller::{
    Captured, ControllerStats, Cut, Entities, Entity, Exposure, Health, IntoEntities, Refused,
    Saved, StateSource, StorageController, Ticket, Unflushed, Unpersisted, World, block_on,
};
pub use counter::{BatchNumber, Epoch, Sequence};
pub use digest::{Digest, Link};
pub use error::{Error, ErrorKind, Result};
pub use memory::Memory;
pub use name::{Collection, Key, Owner, WorldId};
pub use null::Null;
pub use page::{
    Limit, LogRange, LogRow, Meter, Page, StateRange, StateRow, StateScope, WorldHead, WorldPage,
    WorldRange,
};
pub use record::{Change, Form, Payload, WorldRecord};
pub use schema::{Fingerprint, History, Schema};
pub use stats::{ErrorCounts, StatsCounter, StorageStats, Usage};
pub use step::{STEP_TARGET, step};
pub use url::{Parameters, StoreUrl};
pub use writer::{Phase, WriterCheck, check_snapshot};

#[doc = include_str!("../CONTRACT.md")]
pub mod contract {}
