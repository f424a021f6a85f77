//! Passing a listening socket from the gateway to the processes that serve it (SCM_RIGHTS over a Unix socket).
//!
//! The gateway sends the descriptor to whoever connects, and keeps the Unix connection open: when that drops, the
//! gateway is gone and so is the network that the socket belongs to. Everything accepted from it is then dead
//! without having been reset, and the next gateway's socket is fetched.

mod client;
mod server;

pub use client::follow;
pub use server::{HandoverError, serve};

/// Goes with the descriptor, so that both sides notice if they speak different versions.
const GREETING: &[u8] = b"zillion-handover 1\n";

#[cfg(test)]
mod tests;
