//! How many requests a service may have in work: as many as configured, and fewer while it is slower than it used to be.
//!
//! Once a second the median time to an answer is compared with what is usual, a minimum that rises slowly. Where
//! requests wait, more of them would only wait longer: after two slow seconds in a row the limit falls by a fifth a
//! second, from what was in work, and when it is fast again it rises by a tenth. Only answers to ordinary readers are
//! looked at: what hashes passwords, takes pictures or waits for payments is slow without anything being wrong.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::routes::Class;

/// Looked at so often.
pub(crate) const WINDOW: Duration = Duration::from_secs(1);
/// Below this nothing is called slow: a queue that is so short is no reason to turn anybody away.
const SLOW_MIN: Duration = Duration::from_millis(500);
/// So many times what is usual is slow.
const SLOW_FACTOR: f64 = 5.0;
/// However slow a service always is, more than this is never usual.
const USUAL_MAX: Duration = Duration::from_millis(300);
/// One slow second may be a backend that died, or a database that changed its primary.
const SLOW_WINDOWS_BEFORE_CUT: u32 = 2;
const CUT: f64 = 0.8;
const RISE: f64 = 0.1;
/// The minimum rises by so much in each window, so that a service that has become slower for good is accepted as it is.
const USUAL_RISE: f64 = 0.01;
const USUAL_RISE_WHILE_SLOW: f64 = 0.001;
/// Fewer answers than this say nothing yet, unless no more come.
const SAMPLES_MIN: u32 = 10;
const WINDOWS_WAITED_MAX: u32 = 5;
/// Never fewer, whatever happens.
const FLOOR: u32 = 32;

/// Four buckets to a doubling, from a microsecond to more than a minute.
const BUCKETS: usize = 27 * 4;

/// The limit of one service in this process.
#[derive(Debug)]
pub(crate) struct AdaptiveLimit {
    /// At the beginning without effect: higher than any ceiling.
    limit: AtomicU32,
    peak_in_flight: AtomicU32,
    latencies: [AtomicU32; BUCKETS],
    /// Taken once a second, never by a request.
    trend: Mutex<Trend>,
}

#[derive(Debug, Default)]
struct Trend {
    usual: Option<Duration>,
    slow_windows: u32,
    windows_waited: u32,
}

impl Default for AdaptiveLimit {
    fn default() -> Self {
        Self {
            limit: AtomicU32::new(u32::MAX),
            peak_in_flight: AtomicU32::new(0),
            latencies: [const { AtomicU32::new(0) }; BUCKETS],
            trend: Mutex::default(),
        }
    }
}

impl AdaptiveLimit {
    /// How many may be in work for a request of this class to be let in. Crawlers go first, and who pays may use twice
    /// what the others may, since there are few of them.
    pub(crate) fn for_class(&self, class: Class, ceiling: u32) -> u32 {
        let limit = self.limit.load(Relaxed).min(ceiling);
        match class {
            Class::Background => limit / 2,
            Class::Normal => limit,
            Class::Checkout => limit.saturating_mul(2).min(ceiling),
        }
    }

    /// The limit just now.
    pub(crate) fn current(&self, ceiling: u32) -> u32 {
        self.limit.load(Relaxed).min(ceiling)
    }

    /// So many are in work.
    pub(crate) fn saw_in_flight(&self, in_flight: u32) {
        // Mostly this only reads, which threads can do at once.
        if in_flight > self.peak_in_flight.load(Relaxed) {
            self.peak_in_flight.store(in_flight, Relaxed);
        }
    }

    /// An ordinary reader was answered.
    pub(crate) fn record(&self, latency: Duration) {
        self.latencies[bucket(latency)].fetch_add(1, Relaxed);
    }

    /// Judges the last window. Called every [`WINDOW`].
    pub(crate) fn adjust(&self, ceiling: u32) {
        let mut trend = self.trend.lock().unwrap_or_else(PoisonError::into_inner);
        let samples: u32 = self.latencies.iter().map(|count| count.load(Relaxed)).sum();
        if (1..SAMPLES_MIN).contains(&samples) && trend.windows_waited < WINDOWS_WAITED_MAX {
            trend.windows_waited += 1;
            return;
        }
        trend.windows_waited = 0;
        let peak = self.peak_in_flight.swap(0, Relaxed);
        let limit = self.limit.load(Relaxed).min(ceiling);
        let is_slow = self.median().is_some_and(|median| trend.is_slow(median));
        if !is_slow {
            trend.slow_windows = 0;
            let risen = limit + (f64::from(limit) * RISE) as u32 + 1;
            self.limit.store(risen.min(ceiling), Relaxed);
            return;
        }
        trend.slow_windows += 1;
        if trend.slow_windows >= SLOW_WINDOWS_BEFORE_CUT {
            let cut = (f64::from(limit.min(peak)) * CUT) as u32;
            self.limit.store(cut.max(FLOOR).min(limit), Relaxed);
        }
    }

    /// Of what was recorded since the last time; None if that is nothing.
    fn median(&self) -> Option<Duration> {
        let counts = self.latencies.each_ref().map(|count| count.swap(0, Relaxed));
        let half = counts.iter().sum::<u32>().div_ceil(2);
        let mut seen = 0;
        let index = counts.iter().position(|count| {
            seen += count;
            seen >= half && half > 0
        })?;
        Some(Duration::from_micros(upper_bound_us(index)))
    }
}

impl Trend {
    /// Compares with what is usual, and remembers.
    fn is_slow(&mut self, median: Duration) -> bool {
        let usual = self.usual.unwrap_or(median).min(USUAL_MAX);
        let is_slow = median > SLOW_MIN.max(usual.mul_f64(SLOW_FACTOR));
        let rise = if is_slow { USUAL_RISE_WHILE_SLOW } else { USUAL_RISE };
        self.usual = Some(median.min(usual.mul_f64(1.0 + rise)).min(USUAL_MAX));
        is_slow
    }
}

fn bucket(latency: Duration) -> usize {
    let us = latency.as_micros().clamp(1, u128::from(u32::MAX)) as u32;
    let doublings = us.ilog2();
    let quarter = (u64::from(us) << 2 >> doublings) & 3;
    (doublings as usize * 4 + quarter as usize).min(BUCKETS - 1)
}

fn upper_bound_us(bucket: usize) -> u64 {
    let (doublings, quarter) = (bucket / 4, bucket as u64 % 4);
    ((quarter + 5) << doublings) / 4
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILING: u32 = 768;

    /// One window in which so many answers took so long.
    fn window(limit: &AdaptiveLimit, answers: u32, latency_ms: u64, in_flight: u32) -> u32 {
        limit.saw_in_flight(in_flight);
        (0..answers).for_each(|_| limit.record(Duration::from_millis(latency_ms)));
        limit.adjust(CEILING);
        limit.current(CEILING)
    }

    /// A service that does so many a second: what comes above that waits. Returns how long the last ones took.
    fn serve_for(limit: &AdaptiveLimit, windows: u32, arrivals: u32, capacity: u32, queue: &mut u32) -> Duration {
        let mut latency_ms = 0;
        for _ in 0..windows {
            let room = (limit.for_class(Class::Normal, CEILING) + capacity).saturating_sub(*queue);
            *queue = (*queue + arrivals.min(room)).saturating_sub(capacity);
            latency_ms = 5 + 1000 * u64::from(*queue) / u64::from(capacity);
            window(limit, capacity.min(arrivals), latency_ms, *queue);
        }
        Duration::from_millis(latency_ms)
    }

    #[test]
    fn latencies_fall_into_buckets_that_hold_them() {
        for us in [1, 2, 3, 7, 100, 999, 5_000, 89_000, 1_000_000, 60_000_000] {
            let bound = upper_bound_us(bucket(Duration::from_micros(us)));
            assert!(us <= bound && bound <= us + us / 4 + 2, "{us} {bound}");
        }
        assert_eq!(bucket(Duration::from_secs(1_000_000)), BUCKETS - 1);
    }

    #[test]
    fn a_busy_shop_that_still_answers_is_left_alone() {
        let limit = AdaptiveLimit::default();
        for _ in 0..30 {
            window(&limit, 100, 3, 10);
        }
        for latency_ms in [20, 60, 89, 150, 300, 400] {
            for _ in 0..20 {
                assert_eq!(window(&limit, 1600, latency_ms, 600), CEILING, "{latency_ms} ms");
            }
        }
    }

    #[test]
    fn one_slow_second_is_forgiven() {
        let limit = AdaptiveLimit::default();
        for _ in 0..10 {
            assert_eq!(window(&limit, 500, 4, 20), CEILING);
            assert_eq!(window(&limit, 500, 4000, 700), CEILING);
        }
    }

    #[test]
    fn under_lasting_overload_the_wait_stays_short_and_the_service_busy() {
        let limit = AdaptiveLimit::default();
        let mut queue = 0;
        serve_for(&limit, 30, 150, 200, &mut queue);
        let without = Duration::from_millis(5 + 1000 * u64::from(CEILING) / 200);
        let with = serve_for(&limit, 120, 2000, 200, &mut queue);
        assert!(
            with < Duration::from_secs(1) && with < without / 3,
            "{with:?} of {without:?}"
        );
        assert!(queue > 0, "it is never idle");
        queue = 0;
        serve_for(&limit, 60, 150, 200, &mut queue);
        assert_eq!(limit.current(CEILING), CEILING, "and it comes back");
    }

    #[test]
    fn the_floor_holds_and_little_traffic_is_waited_for() {
        let limit = AdaptiveLimit::default();
        (0..10).for_each(|_| {
            window(&limit, 50, 10, 5);
        });
        for _ in 0..100 {
            window(&limit, 2, 9000, 500);
        }
        assert_eq!(limit.current(CEILING), FLOOR);
    }

    #[test]
    fn crawlers_go_first_and_checkout_last() {
        let limit = AdaptiveLimit::default();
        window(&limit, 50, 10, 5);
        while limit.current(CEILING) > 100 {
            window(&limit, 50, 3000, 700);
        }
        let of = |class| limit.for_class(class, CEILING);
        assert!(of(Class::Background) < of(Class::Normal) && of(Class::Normal) < of(Class::Checkout));
        assert_eq!(limit.for_class(Class::Checkout, 60), 60, "and nobody above the ceiling");
    }
}
