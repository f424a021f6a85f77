//! When a backend is taken out for failing, and for how long.
//!
//! Three things give cause: failures in a row, errors answered in a row, and too large a share of failures within the
//! last seconds. Whether the cause is followed is up to the service, which never does without more than half of its
//! backends (see `Service::eject`).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

const FAILURES_IN_A_ROW: u32 = 3;
/// Errors that a service answers may be its clients' doing, or its database's: more of them are needed.
const SERVER_ERRORS_IN_A_ROW: u32 = 10;
/// The share of failures that is too large.
const FAILURE_RATE: f64 = 0.5;
/// Fewer requests than this say nothing about a rate.
const REQUESTS_MIN: u32 = 20;
const WINDOW_SECONDS: usize = 10;
const EJECTION_FIRST: Duration = Duration::from_secs(5);
const DOUBLINGS_MAX: u32 = 3;
/// Each time that a backend has been back for so long takes one doubling away.
const GOOD_CONDUCT: Duration = Duration::from_secs(30);

/// Why a backend should be taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Several failures without a success between them.
    InARow,
    /// Too many of its requests failed lately. It counts only where the others do better: if they don't, the cause lies
    /// behind all of them.
    Rate,
}

impl Cause {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::InARow => "in a row",
            Self::Rate => "rate",
        }
    }
}

/// How a backend has failed lately. All figures are approximate: threads write them without waiting for each other.
#[derive(Debug, Default)]
pub(crate) struct Outlier {
    failures_in_a_row: AtomicU32,
    server_errors_in_a_row: AtomicU32,
    ejected_until_us: AtomicU64,
    doublings: AtomicU32,
    window: Window,
}

impl Outlier {
    pub(crate) fn succeeded(&self, now_us: u64) {
        self.window.record(now_us, false);
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
        if self.server_errors_in_a_row.load(Relaxed) != 0 {
            self.server_errors_in_a_row.store(0, Relaxed);
        }
    }

    /// No answer came.
    pub(crate) fn failed(&self, now_us: u64) -> Option<Cause> {
        self.window.record(now_us, true);
        let in_a_row = self.failures_in_a_row.fetch_add(1, Relaxed) + 1;
        self.cause(now_us, in_a_row >= FAILURES_IN_A_ROW)
    }

    /// An error was answered.
    pub(crate) fn erred(&self, now_us: u64) -> Option<Cause> {
        self.window.record(now_us, true);
        self.failures_in_a_row.store(0, Relaxed);
        let in_a_row = self.server_errors_in_a_row.fetch_add(1, Relaxed) + 1;
        self.cause(now_us, in_a_row >= SERVER_ERRORS_IN_A_ROW)
    }

    fn cause(&self, now_us: u64, is_in_a_row: bool) -> Option<Cause> {
        if is_in_a_row {
            return Some(Cause::InARow);
        }
        let rate = self.failure_rate(now_us)?;
        (rate >= FAILURE_RATE).then_some(Cause::Rate)
    }

    /// The share of failures within the last seconds, if there were enough requests to tell.
    pub(crate) fn failure_rate(&self, now_us: u64) -> Option<f64> {
        let (requests, failures) = self.recently(now_us);
        (requests >= REQUESTS_MIN).then(|| f64::from(failures) / f64::from(requests))
    }

    /// Requests and failures within the last seconds.
    pub(crate) fn recently(&self, now_us: u64) -> (u32, u32) {
        self.window.sum(now_us)
    }

    pub(crate) fn is_ejected(&self, now_us: u64) -> bool {
        self.ejected_until_us() > now_us
    }

    /// When the last time out ends or ended; 0 if there was none.
    pub(crate) fn ejected_until_us(&self) -> u64 {
        self.ejected_until_us.load(Relaxed)
    }

    /// Takes the backend out, for twice as long as the last time unless it did well since. Returns how long.
    pub(crate) fn eject(&self, now_us: u64) -> Duration {
        let good_conducts = now_us.saturating_sub(self.ejected_until_us()) / GOOD_CONDUCT.as_micros() as u64;
        let good_conducts = u32::try_from(good_conducts).unwrap_or(u32::MAX);
        let doublings = self.doublings.load(Relaxed).saturating_sub(good_conducts);
        let duration = EJECTION_FIRST * (1 << doublings);
        self.doublings.store((doublings + 1).min(DOUBLINGS_MAX), Relaxed);
        self.ejected_until_us
            .store(now_us + duration.as_micros() as u64, Relaxed);
        self.begin_anew();
        duration
    }

    /// It is another process now: it doesn't pay for its predecessor.
    pub(crate) fn forgive(&self) {
        self.ejected_until_us.store(0, Relaxed);
        self.doublings.store(0, Relaxed);
        self.begin_anew();
    }

    fn begin_anew(&self) {
        self.failures_in_a_row.store(0, Relaxed);
        self.server_errors_in_a_row.store(0, Relaxed);
        self.window.clear();
    }
}

/// Requests and failures of the last seconds, one slot for each.
#[derive(Debug, Default)]
struct Window {
    seconds: [Second; WINDOW_SECONDS],
}

#[derive(Debug, Default)]
struct Second {
    /// Which second the slot is about, from 1; 0 for none.
    number: AtomicU64,
    requests: AtomicU32,
    failures: AtomicU32,
}

impl Window {
    fn record(&self, now_us: u64, is_failure: bool) {
        let number = now_us / 1_000_000 + 1;
        let second = &self.seconds[number as usize % WINDOW_SECONDS];
        let before = second.number.load(Relaxed);
        // Whoever comes first in a second empties the slot; what others count at that very moment may be lost.
        if before != number && second.number.compare_exchange(before, number, Relaxed, Relaxed).is_ok() {
            second.requests.store(0, Relaxed);
            second.failures.store(0, Relaxed);
        }
        second.requests.fetch_add(1, Relaxed);
        if is_failure {
            second.failures.fetch_add(1, Relaxed);
        }
    }

    fn sum(&self, now_us: u64) -> (u32, u32) {
        let number = now_us / 1_000_000 + 1;
        let recent = self.seconds.iter().filter(|second| {
            let of = second.number.load(Relaxed);
            of != 0 && of + WINDOW_SECONDS as u64 > number
        });
        recent.fold((0, 0), |(requests, failures), second| {
            (
                requests + second.requests.load(Relaxed),
                failures + second.failures.load(Relaxed),
            )
        })
    }

    fn clear(&self) {
        for second in &self.seconds {
            second.number.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    #[test]
    fn failures_in_a_row_give_cause_and_a_success_between_them_begins_anew() {
        let flaky = Outlier::default();
        for turn in 0..9 {
            assert_eq!(flaky.failed(turn * 20 * SECOND_US), None);
            assert_eq!(flaky.failed(turn * 20 * SECOND_US), None);
            flaky.succeeded(turn * 20 * SECOND_US);
        }
        let dead = Outlier::default();
        let causes: Vec<_> = (0..3).map(|_| dead.failed(0)).collect();
        assert_eq!(causes, [None, None, Some(Cause::InARow)]);
    }

    #[test]
    fn a_rate_gives_cause_once_there_are_enough_requests() {
        let flaky = Outlier::default();
        let mut first_cause = None;
        for request in 1..=30 {
            flaky.succeeded(0);
            if flaky.failed(0).is_some() && first_cause.is_none() {
                first_cause = Some(2 * request);
            }
        }
        assert_eq!(first_cause, Some(REQUESTS_MIN));
    }

    #[test]
    fn a_rate_below_the_limit_gives_none_and_what_is_long_ago_is_forgotten() {
        let fair = Outlier::default();
        for _ in 0..50 {
            fair.succeeded(0);
            fair.succeeded(0);
            assert_eq!(fair.failed(0), None);
        }
        let rate = fair.failure_rate(9 * SECOND_US).expect("enough requests");
        assert!((rate - 1.0 / 3.0).abs() < 1e-9, "{rate}");
        assert_eq!(fair.failure_rate(10 * SECOND_US), None);
    }

    #[test]
    fn the_time_out_doubles_up_to_a_limit_and_shrinks_again() {
        let outlier = Outlier::default();
        let mut now_us = 0;
        let mut again_after = |pause: Duration| {
            now_us = outlier.ejected_until_us().max(now_us) + pause.as_micros() as u64;
            outlier.eject(now_us).as_secs()
        };
        let soon = Duration::from_secs(1);
        assert_eq!([(); 5].map(|()| again_after(soon)), [5, 10, 20, 40, 40]);
        assert_eq!(again_after(2 * GOOD_CONDUCT), 10);
        assert_eq!(again_after(10 * GOOD_CONDUCT), 5);
    }

    #[test]
    fn it_is_out_until_its_time_is_over_and_a_new_process_is_not() {
        let outlier = Outlier::default();
        assert!(!outlier.is_ejected(0));
        outlier.eject(0);
        assert!(outlier.is_ejected(4 * SECOND_US));
        assert!(!outlier.is_ejected(5 * SECOND_US));
        outlier.forgive();
        assert!(!outlier.is_ejected(4 * SECOND_US));
    }
}
