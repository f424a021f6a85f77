//! How long a client may keep its answer waiting.
//!
//! While a client takes nothing, hyper asks neither the body nor anything else of ours for more, so that the only place
//! to notice is the write itself. What is bounded is not the time that an answer takes, since lines may be slow, but how
//! long this process is made to wait for each part of it: a client that reads a byte now and then holds a place among
//! the requests in work, and a connection to a backend, no longer than one that reads nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// What has to be taken before patience begins anew.
const PROGRESS_BYTES: usize = 32 * 1024;

/// Follows the writes to one client.
#[derive(Debug)]
pub(crate) struct Patience {
    stall_max: Duration,
    /// What is left of it; only time during which the client took nothing is spent.
    left: Duration,
    taken_bytes: usize,
    stalled_since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// A client may stall for so long in each [`PROGRESS_BYTES`].
    pub(crate) fn new(stall_max: Duration) -> Self {
        Self {
            stall_max,
            left: stall_max,
            taken_bytes: 0,
            stalled_since: None,
            sleep: None,
        }
    }

    /// Judges what became of a write; an error once patience is at its end.
    pub(crate) fn after_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.took(bytes);
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => {
                ready!(self.poll_stalled(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    fn took(&mut self, bytes: usize) {
        if let Some(since) = self.stalled_since.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        self.taken_bytes += bytes;
        if self.taken_bytes >= PROGRESS_BYTES {
            self.taken_bytes = 0;
            self.left = self.stall_max;
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_new = self.stalled_since.is_none();
        let deadline = *self.stalled_since.get_or_insert_with(Instant::now) + self.left;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if is_new {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const STALL_MAX: Duration = Duration::from_secs(30);

    /// The client takes nothing for so long, then some bytes; whether it is still borne with then.
    async fn is_borne(patience: &mut Patience, stall: Duration, bytes: usize) -> bool {
        let stalled = poll_fn(|cx| patience.after_write(cx, Poll::Pending));
        if tokio::time::timeout(stall, stalled).await.is_ok() {
            return false;
        }
        let taken = poll_fn(|cx| patience.after_write(cx, Poll::Ready(Ok(bytes)))).await;
        taken.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_but_honest_line_is_borne_for_ever() {
        let mut patience = Patience::new(STALL_MAX);
        for _ in 0..100 {
            assert!(is_borne(&mut patience, Duration::from_secs(25), PROGRESS_BYTES).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_buys_no_time() {
        let mut patience = Patience::new(STALL_MAX);
        let began = Instant::now();
        while is_borne(&mut patience, Duration::from_secs(1), 100).await {}
        assert!(began.elapsed() <= STALL_MAX + Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_stream_may_be_silent_for_as_long_as_it_likes() {
        let mut patience = Patience::new(STALL_MAX);
        for _ in 0..100 {
            assert!(is_borne(&mut patience, Duration::from_millis(10), 20).await);
            tokio::time::advance(Duration::from_secs(60)).await;
        }
    }
}
