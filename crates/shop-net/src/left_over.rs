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
        if let Some(left) = self.burst_left.checked_sub(1) {
            self.burst_left = left;
            return true;
        }
        for _ in 0..LOOKS {
            if !turn.is_reluctant() {
                return true;
            }
            if !has_waiting(listener) {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        let is_ours = has_waiting(listener);
        if is_ours {
            self.burst_left = BURST_MAX;
        }
        is_ours
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
