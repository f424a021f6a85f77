//! What tests of services have in common: the testbed's databases, a server on a port of its own, a network that can
//! be broken, and waiting without sleeping.
//!
//! Everything here panics when it fails, with a message that says what to do: it is for tests only.

mod database;
mod proxy;
pub mod release;
mod server;
mod testbed;
mod wait;

pub use database::FreshDatabase;
pub use proxy::FaultyProxy;
pub use server::TestServer;
pub use testbed::{amqp_url, cache_url, database_url, etcd_host, redis_url, sentinel, unique};
pub use wait::wait_until;
