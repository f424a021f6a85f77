//! What system tests and `make chaos` have in common, and `make chaos` itself: a running stack is broken in one way after
//! another while customers browse, log in, register, change their carts and buy. They remember every answer, and look it all
//! up at the end.
//!
//! Docker is spoken to by its command line, as in all of these tests: whoever has Compose has it, it finds the engine by
//! itself (context, socket, remote), and agrees with engines old and new on a version of their interface. A library would
//! be one more thing to build, and would know less.
//!
//! Traffic goes to 127.0.0.1 only, and faults only to containers of the named compose project.

pub mod customer;
pub mod fault;
pub mod fill;
pub mod inject;
pub mod ledger;
pub mod load;
pub mod lookup;
pub mod marks;
pub mod plan;
pub mod pulse;
pub mod report;
pub mod run;
pub mod screen;
pub mod settings;
pub mod slow;
pub mod stack;
pub mod timeline;
pub mod topology;

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
