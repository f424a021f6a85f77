//! How processes find each other and how they get their listening sockets.
//!
//! - [`discovery`] follows a DNS name and keeps the last good answer.
//! - [`handover`] passes listening sockets from the gateway to whoever serves.
//! - [`listen`] accepts connections from a socket that several threads and processes share.
//! - [`instance`] finds out which instance this process is (`inventory-2`).
//! - [`readable`] waits for a descriptor that tokio has no type for.

pub mod discovery;
mod dns;
pub mod handover;
pub mod instance;
mod left_over;
pub mod listen;
pub mod readable;
mod turn;
