//! How often a client may ask: token buckets in a table of fixed size, without locks.
//!
//! A bucket is one number, the time at which it will be full again (the generic cell rate algorithm): a request moves it
//! on by one interval, and is refused if that would lead further than a whole burst ahead. Only a keyed hash of the
//! client is kept. Where there are more clients than places, the bucket that is nearest to full makes room: with it the
//! least is forgotten, and whoever is being refused stays refused.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Sixteen bytes each: one mebibyte.
const PLACES: usize = 64 * 1024;
/// A client's bucket is in one of these.
const PLACES_OF_A_CLIENT: usize = 8;

/// How often, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    interval_ns: u64,
    burst_ns: u64,
}

impl Rate {
    /// None where there is no limit.
    pub(crate) fn new(per_s: f64, burst: u32) -> Option<Self> {
        if per_s <= 0.0 {
            return None;
        }
        let interval_ns = ((1e9 / per_s) as u64).max(1);
        Some(Self {
            interval_ns,
            burst_ns: interval_ns.saturating_mul(u64::from(burst.max(1))),
        })
    }
}

/// The bucket of a client, perhaps at one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketKey(u64);

/// All buckets of the process.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    places: Box<[Place]>,
    hasher: RandomState,
    began: Instant,
}

#[derive(Debug, Default)]
struct Place {
    /// 0 while nobody has used it.
    key: AtomicU64,
    full_at_ns: AtomicU64,
}

impl RateLimiter {
    /// All buckets full.
    pub(crate) fn new() -> Self {
        Self::with_places(PLACES)
    }

    fn with_places(places: usize) -> Self {
        Self {
            places: (0..places).map(|_| Place::default()).collect(),
            hasher: RandomState::new(),
            began: Instant::now(),
        }
    }

    /// The hash is keyed anew in each process, so that nobody can aim at another's bucket.
    pub(crate) fn key(&self, kind: &str, route: &str, client: impl Hash) -> BucketKey {
        BucketKey(self.hasher.hash_one((kind, route, client)).max(1))
    }

    /// Takes a token, or says how long until there is one.
    pub(crate) fn take(&self, key: BucketKey, rate: Rate, now: Instant) -> Result<(), Duration> {
        let now_ns = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX / 2);
        let place = self.place(key);
        let mut wait_ns = 0;
        let taken = place.full_at_ns.fetch_update(Relaxed, Relaxed, |full_at_ns| {
            let next_ns = full_at_ns.max(now_ns).saturating_add(rate.interval_ns);
            wait_ns = (next_ns - now_ns).saturating_sub(rate.burst_ns);
            (wait_ns == 0).then_some(next_ns)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(Duration::from_nanos(wait_ns)),
        }
    }

    /// Two threads that make room at once may put two clients into one bucket for a moment, or give one client two:
    /// that errs by a request or two.
    fn place(&self, key: BucketKey) -> &Place {
        let set_count = self.places.len() / PLACES_OF_A_CLIENT;
        // The upper half chooses the set: the remainder fits a usize.
        let set = (key.0 >> 32) as usize % set_count;
        let places = &self.places[set * PLACES_OF_A_CLIENT..(set + 1) * PLACES_OF_A_CLIENT];
        let mut fullest = &places[0];
        for place in places {
            let owner = place.key.load(Relaxed);
            if owner == key.0 {
                return place;
            }
            if place.full_at_ns.load(Relaxed) < fullest.full_at_ns.load(Relaxed) {
                fullest = place;
            }
        }
        fullest.full_at_ns.store(0, Relaxed);
        fullest.key.store(key.0, Relaxed);
        fullest
    }
}

/// Whole seconds, at least one, as `Retry-After` has it.
pub(crate) fn whole_seconds(wait: Duration) -> u32 {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    u32::try_from(seconds.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_s: f64, burst: u32) -> Rate {
        Rate::new(per_s, burst).expect("a limit")
    }

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let limiter = RateLimiter::new();
        let start = Instant::now();
        let key = limiter.key("session", "/cart", "a");
        let passed = (0..10)
            .filter(|_| limiter.take(key, rate(2.0, 4), start).is_ok())
            .count();
        assert_eq!(passed, 4);
        let wait = limiter.take(key, rate(2.0, 4), start).expect_err("empty");
        assert!(
            wait <= Duration::from_millis(500) && wait > Duration::from_millis(490),
            "{wait:?}"
        );
        let later = start + Duration::from_millis(501);
        assert_eq!(limiter.take(key, rate(2.0, 4), later), Ok(()));
        assert!(limiter.take(key, rate(2.0, 4), later).is_err());
        let much_later = start + Duration::from_secs(3600);
        let passed = (0..10)
            .filter(|_| limiter.take(key, rate(2.0, 4), much_later).is_ok())
            .count();
        assert_eq!(passed, 4, "a bucket never holds more than its burst");
    }

    #[test]
    fn clients_and_routes_have_buckets_of_their_own() {
        let limiter = RateLimiter::new();
        let now = Instant::now();
        for (route, client) in [("/cart", "a"), ("/cart", "b"), ("/login", "a")] {
            let key = limiter.key("session", route, client);
            assert_eq!(limiter.take(key, rate(1.0, 1), now), Ok(()), "{route} {client}");
            assert!(limiter.take(key, rate(1.0, 1), now).is_err(), "{route} {client}");
        }
    }

    #[test]
    fn who_is_refused_is_not_forgotten_for_a_flood_of_new_clients() {
        let limiter = RateLimiter::with_places(PLACES_OF_A_CLIENT);
        let now = Instant::now();
        let greedy = limiter.key("address", "", "greedy");
        while limiter.take(greedy, rate(0.1, 5), now).is_ok() {}
        for client in 0..1000 {
            let _ = limiter.take(limiter.key("session", "/", client), rate(10.0, 5), now);
        }
        assert!(limiter.take(greedy, rate(0.1, 5), now).is_err());
    }

    #[test]
    fn waits_are_told_in_whole_seconds_and_never_none() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(1001)), 2);
        assert_eq!(whole_seconds(Duration::from_secs(7)), 7);
    }
}
