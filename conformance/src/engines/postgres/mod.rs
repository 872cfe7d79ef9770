//! The suite's way to stores in Postgres, and what is Postgres' own to be shown.

mod abandoned;
mod cancelled_wait;
mod certified;
mod container;
mod encrypted;
mod harness;
mod image;
mod message;
mod no_room;
mod outages;
mod own;
mod owner;
mod proxy;
mod proxy_case;
mod proxy_faults;
mod restartable;
mod server;
mod session;
mod sharing;

pub use abandoned::paused_server_is_removed;
pub use cancelled_wait::server_whose_wait_is_cancelled;
pub use certified::own_checks;
pub use encrypted::EncryptedServer;
pub use harness::PostgresHarness;
pub use no_room::{NoRoomReport, server_without_room};
pub use outages::{Outage, OutageReport, server_outages};
pub use proxy::Harm;
pub use proxy_faults::{Operation, ProxyReport, proxy_faults};
pub use restartable::RestartableServer;
pub use server::{look_for_engine, test_on};
pub use sharing::shared_server_ends;
