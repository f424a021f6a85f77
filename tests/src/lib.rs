//! What the system tests are written with: the running stack, a customer, a crowd that remembers
//! every answer it got, and a browser.
//!
//! The stack is started by `scripts/test`, which says by environment variables where it is. Traffic
//! goes to 127.0.0.1 only, and faults only to containers of the named compose project.

pub mod browser;
pub mod crowd;
pub mod failover;

pub use chaos::{customer, poll_until, stack, wait_until};
