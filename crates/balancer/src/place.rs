//! Places at backends. Each backend has so many requests at a time, over all threads, and since behind this process a
//! request has a connection of its own, so many connections. Who finds all of them taken waits in a short queue.

use std::sync::Arc;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout_at;

use crate::backend::Backend;
use crate::choice::{Choice, Wanted, choose};
use crate::service::Service;

/// A place may also come about without being given back, by a backend that comes up: so who waits looks by himself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How often the last place may be snatched away before it is taken for full.
const SNATCHED_MAX: u32 = 8;

/// What one backend, and the queue for the backends of one service, may hold.
#[derive(Clone, Copy, Debug)]
pub struct BackendLimits {
    /// Requests at one backend at a time, and so connections to it.
    pub in_flight_max: u32,
    /// Requests that wait for one of a service's backends.
    pub waiting_max: u32,
    /// How long each of them waits.
    pub wait_max: Duration,
}

impl Default for BackendLimits {
    fn default() -> Self {
        Self {
            in_flight_max: 512,
            waiting_max: 64,
            wait_max: Duration::from_secs(1),
        }
    }
}

/// One of the requests that a backend may have at a time. Free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) backend: Arc<Backend>,
    service: Arc<Service>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.backend.end();
        self.service.queue.place_freed();
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// All backends are full.
    Full,
    /// There is no backend.
    Nobody,
}

/// Requests that wait for a place at a service's backends.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: AtomicU32,
    freed: Notify,
    /// Requests that had to wait, for /metrics.
    pub(crate) entered: AtomicU64,
    /// Those that found even the queue full.
    pub(crate) refused: AtomicU64,
    /// Those that waited in vain.
    pub(crate) expired: AtomicU64,
}

/// Counts a request that waits.
struct Waiting<'a>(&'a Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

impl Queue {
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    fn enter(&self, waiting_max: u32) -> Option<Waiting<'_>> {
        // Counted first, so that two at once can't both take the last place.
        let before = self.waiting.fetch_add(1, SeqCst);
        let waiting = Waiting(self);
        if before >= waiting_max {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.entered.fetch_add(1, Relaxed);
        Some(waiting)
    }

    /// Costs next to nothing where nobody waits. Who begins to wait counts itself and then looks for a place once more;
    /// here a place is freed and then the count looked at: one of them sees the other.
    fn place_freed(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

impl Service {
    /// A place at the backend that suits best.
    pub(crate) fn take_place(self: &Arc<Self>, wanted: &Wanted<'_>) -> Result<Place, NoPlace> {
        let backends = self.load_backends();
        for _ in 0..SNATCHED_MAX {
            match choose(&backends, wanted) {
                Choice::Backend(backend) if backend.try_begin(wanted.in_flight_max) => {
                    return Ok(Place {
                        backend: backend.clone(),
                        service: self.clone(),
                    });
                }
                Choice::Backend(_) => {}
                Choice::Full => return Err(NoPlace::Full),
                Choice::Nobody => return Err(NoPlace::Nobody),
            }
        }
        Err(NoPlace::Full)
    }

    /// Waits in the queue for a place, and at the end makes do with a backend in a worse state.
    pub(crate) async fn wait_for_place(
        self: &Arc<Self>,
        wanted: Wanted<'_>,
        limits: &BackendLimits,
        deadline: Instant,
    ) -> Result<Place, NoPlace> {
        let Some(_waiting) = self.queue.enter(limits.waiting_max) else {
            return Err(NoPlace::Full);
        };
        let deadline = deadline.min(Instant::now() + limits.wait_max);
        loop {
            match self.take_place(&wanted) {
                Err(NoPlace::Full) => {}
                outcome => return outcome,
            }
            let now = Instant::now();
            if now >= deadline {
                break;
            }
            let _ = timeout_at(deadline.min(now + LOOK_AGAIN).into(), self.queue.freed.notified()).await;
        }
        let any = Wanted {
            takes_worse: true,
            ..wanted
        };
        let outcome = self.take_place(&any);
        if outcome.is_err() {
            self.queue.expired.fetch_add(1, Relaxed);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Health;
    use crate::balance::Algorithm;

    const ONE_AT_A_TIME: Wanted<'static> = Wanted {
        tried: &[],
        algorithm: &Algorithm::P2c,
        key: None,
        in_flight_max: 1,
        takes_worse: false,
    };

    fn service() -> Arc<Service> {
        let service = Service::new("inventory".to_owned());
        service.set_addresses(&[([127, 0, 0, 1], 1).into()]);
        service.backends()[0].set_health(Health::Up);
        Arc::new(service)
    }

    fn limits(wait_max: Duration) -> BackendLimits {
        BackendLimits {
            in_flight_max: 1,
            waiting_max: 2,
            wait_max,
        }
    }

    async fn wait(service: &Arc<Service>, wait_max: Duration) -> Result<Place, NoPlace> {
        let deadline = Instant::now() + Duration::from_secs(20);
        service.wait_for_place(ONE_AT_A_TIME, &limits(wait_max), deadline).await
    }

    #[tokio::test]
    async fn a_place_that_is_given_back_goes_to_who_waits() {
        let service = service();
        let place = service.take_place(&ONE_AT_A_TIME).expect("a place");
        assert_eq!(service.take_place(&ONE_AT_A_TIME).err(), Some(NoPlace::Full));
        let waiting = {
            let service = service.clone();
            tokio::spawn(async move { wait(&service, Duration::from_secs(20)).await.is_ok() })
        };
        while service.queue.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        drop(place);
        assert!(waiting.await.expect("ran"));
        assert_eq!((service.queue.waiting(), service.backends()[0].in_flight()), (0, 0));
    }

    #[tokio::test]
    async fn waiting_ends_and_the_queue_is_short() {
        let service = service();
        let _place = service.take_place(&ONE_AT_A_TIME).expect("a place");
        let short = Duration::from_millis(20);
        let outcomes = tokio::join!(wait(&service, short), wait(&service, short), wait(&service, short));
        for outcome in [outcomes.0, outcomes.1, outcomes.2] {
            assert_eq!(outcome.err(), Some(NoPlace::Full));
        }
        let counts = [&service.queue.entered, &service.queue.refused, &service.queue.expired];
        assert_eq!(counts.map(|count| count.load(Relaxed)), [2, 1, 2]);
        assert_eq!(service.queue.waiting(), 0);
    }

    #[tokio::test]
    async fn who_has_waited_in_vain_takes_a_backend_in_a_worse_state() {
        let service = service();
        let addresses = [1, 2].map(|port| ([127, 0, 0, 1], port).into());
        service.set_addresses(&addresses);
        service.backends()[1].set_health(Health::Slow);
        let _place = service.take_place(&ONE_AT_A_TIME).expect("a place");
        let place = wait(&service, Duration::from_millis(20)).await.expect("a place");
        assert_eq!(place.backend.address, addresses[1]);
    }
}
