//! A service: its backends as discovery finds them, and the choice among them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use tracing::info;

use crate::backend::{Backend, Health};
use crate::overload::AdaptiveLimit;

/// Two costs within this factor of each other are the same: the difference is noise, and following it would send
/// everything to one of two equals.
const NOISE: f64 = 1.5;

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
    backends: ArcSwap<Vec<Arc<Backend>>>,
}

impl Service {
    /// A service without known instances.
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            in_flight: AtomicU32::new(0),
            limit: AdaptiveLimit::default(),
            backends: ArcSwap::default(),
        }
    }

    /// The instances known just now.
    pub(crate) fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.backends.load_full()
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

    /// Chooses a backend that was not tried yet: the cheaper of two random ones among those in the best state.
    ///
    /// Those that are down are never chosen, ejected and slow ones only when there is nobody better: when all of
    /// them look bad, perhaps it is this process that has no time.
    pub(crate) fn choose(&self, tried: &[u64]) -> Option<Arc<Backend>> {
        let backends = self.backends.load();
        let mut best_rank = u8::MAX;
        let mut candidates = 0;
        for backend in backends.iter() {
            if let Some(rank) = rank(backend, tried) {
                if rank < best_rank {
                    best_rank = rank;
                    candidates = 0;
                }
                candidates += usize::from(rank == best_rank);
            }
        }
        let nth = |n: usize| {
            backends
                .iter()
                .filter(|backend| rank(backend, tried) == Some(best_rank))
                .nth(n)
        };
        match candidates {
            0 => None,
            1 => nth(0).cloned(),
            _ => {
                let first_index = rand::random_range(0..candidates);
                let offset = rand::random_range(1..candidates);
                // Ranks may change between the passes; then the first that is left will do.
                let first = nth(first_index).or_else(|| nth(0))?;
                let second = nth((first_index + offset) % candidates).unwrap_or(first);
                let first_is_fine = first.cost() <= second.cost() * NOISE;
                Some(if first_is_fine { first.clone() } else { second.clone() })
            }
        }
    }

    /// Whether another try would find somebody.
    pub(crate) fn has_untried(&self, tried: &[u64]) -> bool {
        self.backends
            .load()
            .iter()
            .any(|backend| rank(backend, tried).is_some_and(|rank| rank <= 1))
    }
}

/// Lower is better; none at all for those that are out of the question.
fn rank(backend: &Backend, tried: &[u64]) -> Option<u8> {
    if tried.contains(&backend.id) {
        return None;
    }
    match (backend.health(), backend.is_ejected()) {
        (Health::Up, false) => Some(0),
        (Health::Up, true) => Some(1),
        (Health::Unknown, _) => Some(2),
        (Health::Slow, _) => Some(3),
        (Health::Down, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::FailureKind;

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
            let chosen = service.choose(&[]).expect("somebody");
            counts[usize::from(chosen.address.port()) - 1] += 1;
        }
        counts
    }

    #[test]
    fn equals_share_the_work() {
        let counts = counts(&service(3), 3000);
        assert!(counts.iter().all(|count| (700..=1300).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_busy_one_gets_less() {
        let service = service(2);
        (0..9).for_each(|_| service.backends()[0].begin());
        let counts = counts(&service, 100);
        assert_eq!(counts, [0, 100]);
    }

    #[test]
    fn a_backend_that_fails_is_not_preferred_for_being_idle() {
        let service = service(2);
        (0..9).for_each(|_| service.backends()[1].begin());
        service.backends()[0].failed(FailureKind::Reset);
        assert_eq!(counts(&service, 100), [0, 100]);
    }

    #[test]
    fn what_was_tried_and_what_is_down_is_not_chosen() {
        let service = service(3);
        let ids: Vec<u64> = service.backends().iter().map(|backend| backend.id).collect();
        service.backends()[2].set_health(Health::Down);
        for _ in 0..50 {
            assert_eq!(service.choose(&ids[..1]).expect("somebody").id, ids[1]);
        }
        assert!(service.choose(&ids[..2]).is_none());
        assert!(!service.has_untried(&ids[..2]));
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
}
