//! What a backend usually takes.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Nothing is said before so many answers: the first ones are of cold caches.
const SAMPLES_MIN: u32 = 32;
/// How far one answer moves the estimate at first, and later.
const STEP_FIRST: f64 = 1.1;
const STEP: f64 = 1.02;
/// Nothing is told apart below this.
const TYPICAL_MIN_US: f64 = 50.0;

/// A running median of latencies: each answer moves it by a step towards itself, however far away it is. So a machine
/// that is late for one answer in ten doesn't show in it, as it does in an estimate that leans to peaks.
///
/// Threads write without asking each other; a step that is lost matters little.
#[derive(Debug, Default)]
pub(crate) struct Typical {
    median_us: AtomicU64,
    samples: AtomicU32,
}

impl Typical {
    pub(crate) fn measured(&self, sample_us: f64, fading: f64) {
        let samples = self.samples.load(Relaxed);
        if samples == 0 {
            self.store(sample_us);
        } else {
            let median_us = self.load();
            let faded_us = median_us * fading;
            let step = if samples < SAMPLES_MIN { STEP_FIRST } else { STEP };
            self.store(if sample_us > median_us {
                median_us * step
            } else if sample_us < faded_us {
                // It has become faster while nobody asked: what has been forgotten by then stays so.
                faded_us / step
            } else {
                median_us / step
            });
        }
        self.samples.store(samples.saturating_add(1), Relaxed);
    }

    /// The median, times what `fading` leaves of it; none before there were enough answers.
    pub(crate) fn known_us(&self, fading: f64) -> Option<f64> {
        (self.samples.load(Relaxed) >= SAMPLES_MIN).then(|| (self.load() * fading).max(TYPICAL_MIN_US))
    }

    /// It is another process now.
    pub(crate) fn forget(&self) {
        self.samples.store(0, Relaxed);
    }

    fn load(&self) -> f64 {
        f64::from_bits(self.median_us.load(Relaxed))
    }

    fn store(&self, median_us: f64) {
        self.median_us.store(median_us.max(1.0).to_bits(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples_us: impl IntoIterator<Item = f64>) -> Typical {
        let typical = Typical::default();
        samples_us
            .into_iter()
            .for_each(|sample_us| typical.measured(sample_us, 1.0));
        typical
    }

    fn is_about(typical: &Typical, expected_us: f64) -> bool {
        typical
            .known_us(1.0)
            .is_some_and(|us| (us / expected_us - 1.0).abs() < 0.1)
    }

    #[test]
    fn a_tenth_of_late_answers_does_not_show() {
        let typical = after((0..2_000).map(|index| if index % 10 == 0 { 50_000.0 } else { 5_000.0 }));
        assert!(is_about(&typical, 5_000.0), "{typical:?}");
    }

    #[test]
    fn first_answers_that_are_slow_are_forgotten_before_anything_is_said() {
        let few = after([60_000.0].into_iter().chain([5_000.0; 30]));
        assert_eq!(few.known_us(1.0), None);
        let enough = after([60_000.0].into_iter().chain([5_000.0; 31]));
        assert!(enough.known_us(1.0).is_some_and(|us| us < 5_600.0), "{enough:?}");
    }

    #[test]
    fn who_is_still_slow_when_asked_again_is_as_slow_as_before() {
        let typical = after([10_000.0; 200]);
        typical.measured(10_000.0, 0.5);
        assert!(is_about(&typical, 10_000.0), "{typical:?}");
    }

    #[test]
    fn who_has_become_faster_is_believed_at_once() {
        let typical = after([10_000.0; 200]);
        typical.measured(4_000.0, 0.5);
        assert!(typical.known_us(1.0).is_some_and(|us| us < 5_000.0), "{typical:?}");
    }

    #[test]
    fn another_process_is_measured_anew() {
        let typical = after([10_000.0; 200]);
        typical.forget();
        assert_eq!(typical.known_us(1.0), None);
        (0..SAMPLES_MIN).for_each(|_| typical.measured(1_000.0, 1.0));
        assert!(is_about(&typical, 1_000.0), "{typical:?}");
    }
}
