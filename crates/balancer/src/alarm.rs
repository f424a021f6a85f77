//! A timer that is used again. Making one for each request costs a lock and a place in tokio's wheel; to set one later
//! that is already there costs next to nothing, and most are: what is waited for usually comes.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Instant;

use tokio::time::Sleep;

/// Made when somebody first has to wait.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Pin<Box<Sleep>>>);

/// It was waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elapsed;

impl Alarm {
    /// Waits, but not for longer than until the deadline.
    pub(crate) async fn bound<T>(&mut self, deadline: Instant, wanted: impl Future<Output = T>) -> Result<T, Elapsed> {
        let mut wanted = pin!(wanted);
        let mut is_set = false;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = wanted.as_mut().poll(cx) {
                return Poll::Ready(Ok(outcome));
            }
            let sleep = self.0.get_or_insert_with(|| {
                is_set = true;
                Box::pin(tokio::time::sleep_until(deadline.into()))
            });
            if !is_set {
                is_set = true;
                sleep.as_mut().reset(deadline.into());
            }
            sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_rings_at_the_last_deadline_that_was_set_and_again() {
        let mut alarm = Alarm::default();
        let from_now = |ms| tokio::time::Instant::now() + Duration::from_millis(ms);
        assert_eq!(alarm.bound(from_now(50).into(), ready(7)).await, Ok(7));
        for ms in [50, 500, 5] {
            let deadline = from_now(ms);
            assert_eq!(alarm.bound(deadline.into(), pending::<()>()).await, Err(Elapsed));
            let late = tokio::time::Instant::now() - deadline;
            assert!(late < Duration::from_millis(5), "{late:?}");
        }
    }
}
