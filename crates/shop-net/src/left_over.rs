//! Which connections of a shared socket nobody else wants.
//!
//! A process that can do little for a client had better leave it to another, but it can't know whether there is one. So
//! it watches the queue of connections: if that is empty at any moment, somebody takes them; if it isn't for a while,
//! nobody does, and a poor answer is better than none.

use std::net::TcpListener;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::turn::Turn;

const LOOK: Duration = Duration::from_millis(2);
/// Together, this is how long others have.
const LOOKS: u32 = 75;
/// How many connections may be taken once it is clear that nobody else does.
const BURST_MAX: u32 = 64;

/// What one thread of a reluctant process knows.
#[derive(Debug, Default)]
pub(crate) struct LeftOver {
    burst_left: u32,
}

impl LeftOver {
    /// Whether the connection that waits is for this process after all. Takes its time to find out.
    pub(crate) async fn is_ours(&mut self, listener: &TcpListener, turn: &Turn) -> bool {
        self.is_unwanted(|| has_waiting(listener), || turn.is_reluctant()).await
    }

    async fn is_unwanted(&mut self, mut has_waiting: impl FnMut() -> bool, is_reluctant: impl Fn() -> bool) -> bool {
        if let Some(left) = self.burst_left.checked_sub(1) {
            self.burst_left = left;
            return true;
        }
        for _ in 0..LOOKS {
            if !is_reluctant() {
                return true;
            }
            if !has_waiting() {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        let is_unwanted = has_waiting();
        if is_unwanted {
            self.burst_left = BURST_MAX;
        }
        is_unwanted
    }

    /// Somebody else was faster.
    pub(crate) fn missed(&mut self) {
        self.burst_left = 0;
    }
}

/// What can't be told is left to accept to find out.
fn has_waiting(listener: &TcpListener) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut sockets = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut sockets, Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_a_while_is_wanted_by_nobody() {
        let mut left_over = LeftOver::default();
        let began = Instant::now();
        assert!(left_over.is_unwanted(|| true, || true).await);
        let patience = began.elapsed();
        assert!(patience >= LOOK * LOOKS && patience < 2 * LOOK * LOOKS, "{patience:?}");
        // Those behind it need not wait as long.
        assert!(left_over.is_unwanted(|| true, || true).await);
        assert_eq!(began.elapsed(), patience);
        left_over.missed();
        assert!(left_over.is_unwanted(|| true, || true).await);
        assert_eq!(began.elapsed(), 2 * patience);
    }

    #[tokio::test(start_paused = true)]
    async fn one_look_at_an_empty_queue_shows_that_somebody_takes_them() {
        for empty_at in [1, 2, LOOKS, LOOKS + 1] {
            let mut looks = 0;
            let has_waiting = || {
                looks += 1;
                looks != empty_at
            };
            assert!(
                !LeftOver::default().is_unwanted(has_waiting, || true).await,
                "{empty_at}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_no_longer_reluctant_waits_no_longer() {
        let began = Instant::now();
        let is_reluctant = || began.elapsed() < 10 * LOOK;
        assert!(LeftOver::default().is_unwanted(|| true, is_reluctant).await);
        assert!(began.elapsed() < 12 * LOOK);
    }
}
