//! What the system tests are written with: the running stack, a customer, a crowd that remembers
//! every answer it got, and a browser.
//!
//! The stack is started by `scripts/test`, which says by environment variables where it is. Traffic
//! goes to 127.0.0.1 only, and faults only to containers of the named compose project.

pub mod browser;
pub mod crowd;
pub mod customer;
pub mod failover;
pub mod stack;

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// Polls until the condition holds; fails with the last thing it saw when the deadline passes.
pub async fn wait_until<F, Fut>(what: &str, deadline: Duration, condition: F) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    poll_until(what, deadline, Duration::from_millis(200), condition).await
}

/// [`wait_until`] with an interval of the caller's choice.
pub async fn poll_until<F, Fut>(
    what: &str,
    deadline: Duration,
    interval: Duration,
    mut condition: F,
) -> anyhow::Result<()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<(), String>>,
{
    let started = Instant::now();
    loop {
        match condition().await {
            Ok(()) => return Ok(()),
            Err(seen) if started.elapsed() >= deadline => {
                anyhow::bail!("gave up after {deadline:?} waiting until {what}; last seen: {seen}")
            }
            Err(_) => tokio::time::sleep(interval).await,
        }
    }
}
