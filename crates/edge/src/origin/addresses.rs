//! The addresses that DNS gives for the origin, and what is known of each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shop_net::discovery::Discovery;
use tokio::time::Instant;

/// An address that failed is left alone for so long, if there is another one.
const PENALTY: Duration = Duration::from_secs(5);

/// Chooses among the origin's addresses: of two random ones the less busy, and one that failed lately last.
pub(super) struct Addresses {
    discovery: Discovery,
    known: Mutex<HashMap<SocketAddr, Arc<State>>>,
    epoch: Instant,
}

#[derive(Default)]
struct State {
    in_flight: AtomicUsize,
    /// Milliseconds after the epoch.
    penalty_until_ms: AtomicU64,
}

/// An address while it is being asked.
pub(super) struct Asked {
    socket: SocketAddr,
    state: Arc<State>,
    epoch: Instant,
}

impl Addresses {
    pub(super) fn new(discovery: Discovery) -> Self {
        Self {
            discovery,
            known: Mutex::default(),
            epoch: Instant::now(),
        }
    }

    /// Waits for the first answer of DNS.
    pub(super) async fn known(&self) {
        self.discovery.clone().known().await;
    }

    /// Whether all addresses have failed lately.
    pub(super) fn are_failing(&self) -> bool {
        let now = millis_since(self.epoch);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        !known.is_empty()
            && known
                .values()
                .all(|state| state.penalty_until_ms.load(Ordering::Relaxed) > now)
    }

    /// An address to ask, preferably none of those that were tried. None if DNS never gave any.
    pub(super) fn pick(&self, tried: &[SocketAddr]) -> Option<Asked> {
        let current = self.discovery.addresses();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|address, _| current.contains(address));
        for address in current.iter() {
            known.entry(*address).or_default();
        }
        let now = millis_since(self.epoch);
        let healthy = |state: &State| state.penalty_until_ms.load(Ordering::Relaxed) <= now;
        let of = |wanted: &dyn Fn(&SocketAddr, &State) -> bool| -> Vec<SocketAddr> {
            current
                .iter()
                .filter(|address| known.get(address).is_some_and(|state| wanted(address, state)))
                .copied()
                .collect()
        };
        let mut candidates = of(&|address, state| !tried.contains(address) && healthy(state));
        if candidates.is_empty() {
            candidates = of(&|address, _| !tried.contains(address));
        }
        if candidates.is_empty() {
            candidates = current.to_vec();
        }
        let random = || candidates.get(rand::random_range(0..candidates.len().max(1)));
        let (first, second) = (random()?, random()?);
        let load = |address| {
            known
                .get(address)
                .map_or(0, |state| state.in_flight.load(Ordering::Relaxed))
        };
        let socket = if load(second) < load(first) { *second } else { *first };
        let state = Arc::clone(known.get(&socket)?);
        state.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Asked {
            socket,
            state,
            epoch: self.epoch,
        })
    }
}

impl Asked {
    pub(super) fn socket(&self) -> SocketAddr {
        self.socket
    }

    pub(super) fn answered(&self) {
        self.state.penalty_until_ms.store(0, Ordering::Relaxed);
    }

    /// Says whether that is news.
    pub(super) fn failed(&self) -> bool {
        let now = millis_since(self.epoch);
        let until = now.saturating_add(u64::try_from(PENALTY.as_millis()).unwrap_or(u64::MAX));
        self.state.penalty_until_ms.swap(until, Ordering::Relaxed) <= now
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

fn millis_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> (Addresses, [SocketAddr; 2]) {
        let sockets = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        (Addresses::new(Discovery::fixed(sockets)), sockets)
    }

    #[tokio::test]
    async fn a_retry_goes_to_an_address_that_was_not_tried() {
        let (addresses, sockets) = two();
        for _ in 0..20 {
            assert_eq!(addresses.pick(&sockets[..1]).unwrap().socket(), sockets[1]);
        }
        assert!(
            addresses.pick(&sockets).is_some(),
            "the only ones left are better than none"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_failed_is_left_alone_for_a_while() {
        let (addresses, sockets) = two();
        assert!(
            addresses.pick(&sockets[1..]).unwrap().failed(),
            "the first failure is news"
        );
        assert!(!addresses.pick(&sockets[1..]).unwrap().failed());
        assert!(!addresses.are_failing());
        for _ in 0..20 {
            assert_eq!(addresses.pick(&[]).unwrap().socket(), sockets[1]);
        }
        tokio::time::advance(PENALTY + Duration::from_millis(1)).await;
        let asked: Vec<Asked> = (0..20).filter_map(|_| addresses.pick(&[])).collect();
        assert!(asked.iter().any(|asked| asked.socket() == sockets[0]));
    }

    #[tokio::test]
    async fn without_addresses_there_is_nothing_to_pick() {
        assert!(Addresses::new(Discovery::fixed([])).pick(&[]).is_none());
    }
}
