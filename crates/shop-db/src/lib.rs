//! Postgres as a cluster of hosts, one of which is primary at a time.
//!
//! Callers say what they need and never see a host: [`Cluster::write`] gives a connection to the primary,
//! [`Cluster::read`] one to a healthy replica that is fresh enough. Which host that is, and what happens when it
//! dies, is decided here. The crate's README says what is guaranteed and what is not.

mod cluster;
mod config;
mod conn;
mod error;
mod host;
mod lag;
mod pool;
mod position;
mod probe;
mod schema;
mod signature;
mod slots;

pub use cluster::{Cluster, Freshness};
pub use config::{ClusterConfig, ConfigError};
pub use conn::{ReadConn, WriteConn};
pub use error::{DbError, is_connection_lost};
pub use host::{HostStatus, Role};
pub use position::{InvalidPosition, Position, Positions};
pub use schema::SchemaWatch;
pub use signature::PositionKey;
pub use slots::{SLOTS, Shards, slot_of, slot_of_key};
