//! Waiting for something to become true, however fast the machine is.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again whether `condition` holds. Panics if it doesn't within `deadline`, saying `what` it waited for.
pub async fn wait_until<F, Fut>(what: &str, deadline: Duration, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let end = Instant::now() + deadline;
    while !condition().await {
        assert!(Instant::now() < end, "not within {deadline:?}: {what}");
        sleep(LOOK_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_as_soon_as_the_condition_holds() {
        let start = Instant::now();
        wait_until("half a second", Duration::from_secs(60), || async {
            start.elapsed() >= Duration::from_millis(500)
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "the moon")]
    async fn waiting_in_vain_says_what_it_waited_for() {
        wait_until("the moon", Duration::from_secs(1), || async { false }).await;
    }
}
