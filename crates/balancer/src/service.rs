//! A service: its backends as discovery finds them, and how many of them it can do without.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use arc_swap::{ArcSwap, Guard};
use tracing::{info, warn};

use crate::backend::{Backend, Health};
use crate::choice::rank;
use crate::outlier::Cause;
use crate::overload::AdaptiveLimit;
use crate::place::Queue;

/// One that fails at the same rate as the others is no exception. It has to fail so many times as often.
const RATE_FACTOR: f64 = 2.0;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// All instances of one service.
#[derive(Debug)]
pub(crate) struct Service {
    /// `inventory`
    pub(crate) name: String,
    /// Requests at all of its backends together, waiting for one included.
    pub(crate) in_flight: AtomicU32,
    /// How many may be at them, as fast as they are just now.
    pub(crate) limit: AdaptiveLimit,
    /// Where requests wait while all backends are full.
    pub(crate) queue: Queue,
    /// Times that a backend stayed in although it gave cause to be taken out, for /metrics.
    pub(crate) ejections_denied: AtomicU64,
    is_ejecting: AtomicBool,
    backends: ArcSwap<Vec<Arc<Backend>>>,
}

impl Service {
    /// A service without known instances.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            in_flight: AtomicU32::new(0),
            limit: AdaptiveLimit::default(),
            queue: Queue::default(),
            ejections_denied: AtomicU64::new(0),
            is_ejecting: AtomicBool::new(false),
            backends: ArcSwap::default(),
        }
    }

    /// The instances known just now.
    pub(crate) fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.backends.load_full()
    }

    /// The same, for a short look.
    pub(crate) fn load_backends(&self) -> Guard<Arc<Vec<Arc<Backend>>>> {
        self.backends.load()
    }

    /// Takes over what discovery has found; backends that stay keep what is known about them.
    pub(crate) fn set_addresses(&self, addresses: &[SocketAddr]) {
        let before = self.backends.load();
        let after: Vec<Arc<Backend>> = addresses
            .iter()
            .map(
                |&address| match before.iter().find(|backend| backend.address == address) {
                    Some(known) => known.clone(),
                    None => Arc::new(Backend::new(NEXT_ID.fetch_add(1, Relaxed), address)),
                },
            )
            .collect();
        info!(service = %self.name, backends = ?addresses, "Backends changed");
        self.backends.store(Arc::new(after));
    }

    /// Whether another try would find somebody who isn't full.
    pub(crate) fn has_untried(&self, tried: &[u64], in_flight_max: u32) -> bool {
        self.backends
            .load()
            .iter()
            .any(|backend| rank(backend, tried).is_some_and(|rank| rank <= 1) && backend.in_flight() < in_flight_max)
    }

    /// Takes out a backend that gave cause, unless half of those that could work are out already: what is wrong with
    /// more of them than that is wrong with something else, and the rest couldn't carry the load.
    pub(crate) fn eject(&self, backend: &Backend, cause: Option<Cause>) {
        let Some(cause) = cause else { return };
        // Two threads that each take out the last one allowed would be one too many. Whoever finds the other at it lets
        // it be: the next failure gives cause again.
        if backend.is_ejected() || self.is_ejecting.swap(true, Acquire) {
            return;
        }
        if self.can_do_without(backend, cause) {
            let duration = backend.eject();
            warn!(
                service = %self.name,
                backend = %backend.name(),
                cause = cause.as_str(),
                seconds = duration.as_secs(),
                "Backend taken out for failing"
            );
        } else {
            self.ejections_denied.fetch_add(1, Relaxed);
        }
        self.is_ejecting.store(false, Release);
    }

    fn can_do_without(&self, backend: &Backend, cause: Cause) -> bool {
        let backends = self.backends.load();
        let able = || backends.iter().filter(|other| other.health() != Health::Down);
        let ejected = able().filter(|other| other.is_ejected()).count();
        if ejected >= able().count() / 2 {
            return false;
        }
        if cause == Cause::InARow {
            return true;
        }
        let (requests, failures) = able()
            .filter(|other| other.id != backend.id)
            .map(|other| other.recently())
            .fold((0, 0), |sum, others| (sum.0 + others.0, sum.1 + others.1));
        let rate_of_others = f64::from(failures) / f64::from(requests.max(1));
        backend
            .failure_rate()
            .is_some_and(|rate| rate >= RATE_FACTOR * rate_of_others)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::FailureKind;
    use crate::balance::Algorithm;
    use crate::choice::{Choice, Wanted, choose};

    fn service(count: u16) -> Service {
        let service = Service::new("inventory".to_owned());
        let addresses: Vec<SocketAddr> = (1..=count).map(|port| ([127, 0, 0, 1], port).into()).collect();
        service.set_addresses(&addresses);
        for backend in service.backends().iter() {
            backend.set_health(Health::Up);
            backend.succeeded(Duration::from_millis(2));
        }
        service
    }

    fn counts(service: &Service, choices: u32) -> Vec<u32> {
        let mut counts = vec![0; service.backends().len()];
        for _ in 0..choices {
            let address = chosen(service, &[]).expect("somebody");
            counts[usize::from(address.port()) - 1] += 1;
        }
        counts
    }

    fn chosen(service: &Service, tried: &[u64]) -> Option<SocketAddr> {
        let wanted = Wanted {
            tried,
            algorithm: &Algorithm::P2c,
            key: None,
            in_flight_max: u32::MAX,
            takes_worse: false,
        };
        match choose(&service.backends(), &wanted) {
            Choice::Backend(backend) => Some(backend.address),
            Choice::Full | Choice::Nobody => None,
        }
    }

    /// Lets a backend fail until it gives cause, and says whether it was taken out.
    fn fails(service: &Service, index: usize) -> bool {
        let backend = &service.backends()[index];
        for _ in 0..3 {
            service.eject(backend, backend.failed(FailureKind::Reset));
        }
        backend.is_ejected()
    }

    #[test]
    fn equals_share_the_work() {
        let counts = counts(&service(3), 3000);
        assert!(counts.iter().all(|count| (700..=1300).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_busy_one_gets_less() {
        let service = service(2);
        (0..9).for_each(|_| assert!(service.backends()[0].try_begin(u32::MAX)));
        let counts = counts(&service, 100);
        assert_eq!(counts, [0, 100]);
    }

    #[test]
    fn a_backend_that_fails_is_not_preferred_for_being_idle() {
        let service = service(2);
        (0..9).for_each(|_| assert!(service.backends()[1].try_begin(u32::MAX)));
        service.backends()[0].failed(FailureKind::Reset);
        assert_eq!(counts(&service, 100), [0, 100]);
    }

    #[test]
    fn what_was_tried_and_what_is_down_is_not_chosen() {
        let service = service(3);
        let ids: Vec<u64> = service.backends().iter().map(|backend| backend.id).collect();
        service.backends()[2].set_health(Health::Down);
        for _ in 0..50 {
            assert_eq!(chosen(&service, &ids[..1]), Some(service.backends()[1].address));
        }
        assert!(chosen(&service, &ids[..2]).is_none());
        assert!(!service.has_untried(&ids[..2], u32::MAX));
    }

    #[test]
    fn slow_ones_are_better_than_nobody() {
        let service = service(2);
        service.backends()[0].set_health(Health::Slow);
        assert_eq!(counts(&service, 20), [0, 20]);
        service.backends()[1].set_health(Health::Down);
        assert_eq!(counts(&service, 20), [20, 0]);
    }

    #[test]
    fn backends_that_stay_keep_their_history() {
        let service = service(2);
        let kept = service.backends()[1].clone();
        service.set_addresses(&[kept.address, ([127, 0, 0, 1], 9).into()]);
        assert!(Arc::ptr_eq(&service.backends()[0], &kept));
        assert_eq!(service.backends()[1].health(), Health::Unknown);
    }

    fn errs_mostly(service: &Service, backend: &Backend) {
        backend.answered();
        for _ in 0..2 {
            service.eject(backend, backend.erred(Duration::from_millis(1)));
        }
    }

    #[test]
    fn never_more_than_half_are_taken_out() {
        for (count, allowed) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let service = service(count);
            let taken_out = (0..usize::from(count)).filter(|&index| fails(&service, index)).count();
            assert_eq!(taken_out, allowed, "of {count}");
        }
        let service = service(4);
        service.backends()[2].set_health(Health::Down);
        service.backends()[3].set_health(Health::Down);
        assert!(fails(&service, 0));
        assert!(!fails(&service, 1), "those that are down can't take over");
        assert_eq!(service.ejections_denied.load(Relaxed), 1);
    }

    #[test]
    fn a_bad_rate_takes_out_the_exception_and_not_one_of_many() {
        let service = service(3);
        let backends = service.backends();
        for other in &backends[1..] {
            (0..30).for_each(|_| other.answered());
        }
        (0..10).for_each(|_| errs_mostly(&service, &backends[0]));
        assert!(backends[0].is_ejected());

        let service = self::service(3);
        let backends = service.backends();
        for _ in 0..10 {
            backends.iter().for_each(|backend| errs_mostly(&service, backend));
        }
        assert!(backends.iter().all(|backend| !backend.is_ejected()));
    }
}
