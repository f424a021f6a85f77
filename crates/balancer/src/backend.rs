//! One instance of a service: how it does, and how dear it is to send it another request.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Half of a latency's weight is forgotten in about two thirds of this.
const LATENCY_MEMORY: Duration = Duration::from_secs(5);
/// What a backend counts as that nobody has measured yet: little, so that somebody does; slow start and what is in
/// flight keep it from being flooded.
const LATENCY_UNKNOWN_US: f64 = 100.0;
/// A failure counts as an answer that took this long. Without it, a dead backend looks best: nothing in flight, and
/// never slower than it was.
const FAILURE_PENALTY_US: f64 = 2_000_000.0;
const FAILURES_BEFORE_EJECTION: u32 = 3;
/// Errors that a service answers may be its clients' doing, or its database's: more of them are needed.
const SERVER_ERRORS_BEFORE_EJECTION: u32 = 10;
/// An error counts as an answer that took at least this long: errors are quick, and would attract more requests.
const SERVER_ERROR_US: f64 = 250_000.0;
const EJECTION_FIRST: Duration = Duration::from_secs(5);
const EJECTION_DOUBLINGS_MAX: u32 = 3;
/// A backend that came up takes its full share only after this.
const SLOW_START: Duration = Duration::from_secs(5);
/// Names of instances come from the services; anything longer is no name.
const INSTANCE_BYTES_MAX: usize = 64;

/// What health checks, and connections that failed, say about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Health {
    /// Not checked yet.
    Unknown = 0,
    /// The last check succeeded.
    Up = 1,
    /// It takes connections but doesn't answer checks in time. Perhaps it, or this machine, is just busy.
    Slow = 2,
    /// It refuses connections, can't be reached, or says that it isn't ready.
    Down = 3,
}

impl Health {
    /// The word for it in metrics and on the operators' page.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Slow => "slow",
            Self::Down => "down",
        }
    }
}

/// How a try failed, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// No connection could be made.
    Connect,
    /// The connection broke before an answer came.
    Reset,
    /// No answer came in time.
    Timeout,
}

/// An instance of a service, found by its address. Shared by all threads; all figures are approximate.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Unique in this process, also when an address comes back.
    pub(crate) id: u64,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    address_text: String,
    epoch: Instant,
    in_flight: AtomicU32,
    latency_us: AtomicU64,
    latency_at_us: AtomicU64,
    health: AtomicU8,
    up_since_us: AtomicU64,
    failures_in_a_row: AtomicU32,
    server_errors_in_a_row: AtomicU32,
    ejected_until_us: AtomicU64,
    ejections_in_a_row: AtomicU32,
    instance: OnceLock<String>,
    /// Counters for /metrics.
    pub(crate) counters: Counters,
}

/// What a backend has done so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Tries that were sent to it.
    pub(crate) requests: AtomicU64,
    /// Answers with a status of 500 and more.
    pub(crate) server_errors: AtomicU64,
    /// Tries without a connection.
    pub(crate) connect_failures: AtomicU64,
    /// Connections that broke.
    pub(crate) resets: AtomicU64,
    /// Tries without an answer in time.
    pub(crate) timeouts: AtomicU64,
    /// Times that it was taken out for failing.
    pub(crate) ejections: AtomicU64,
}

impl Backend {
    /// A backend that nothing is known about yet.
    pub(crate) fn new(id: u64, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            address_text: address.to_string(),
            epoch: Instant::now(),
            in_flight: AtomicU32::new(0),
            latency_us: AtomicU64::new(0f64.to_bits()),
            latency_at_us: AtomicU64::new(0),
            health: AtomicU8::new(Health::Unknown as u8),
            up_since_us: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            server_errors_in_a_row: AtomicU32::new(0),
            ejected_until_us: AtomicU64::new(0),
            ejections_in_a_row: AtomicU32::new(0),
            instance: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What checks say about it.
    pub(crate) fn health(&self) -> Health {
        match self.health.load(Relaxed) {
            1 => Health::Up,
            2 => Health::Slow,
            3 => Health::Down,
            _ => Health::Unknown,
        }
    }

    /// Notes what a check said; returns what was known before.
    pub(crate) fn set_health(&self, health: Health) -> Health {
        let before = self.health();
        self.health.store(health as u8, Relaxed);
        if health == Health::Up && before != Health::Up {
            self.up_since_us.store(self.now_us(), Relaxed);
            self.latency_us.store(0f64.to_bits(), Relaxed);
            if before == Health::Down {
                // It is another process now, or a restarted one: it doesn't pay for its predecessor.
                self.failures_in_a_row.store(0, Relaxed);
                self.ejected_until_us.store(0, Relaxed);
            }
        }
        before
    }

    /// Whether it was taken out for failing, for now.
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected_until_us.load(Relaxed) > self.now_us()
    }

    /// Requests at it just now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    pub(crate) fn begin(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.counters.requests.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// Its recent latency, leaning towards peaks and fading, so that a slow answer is soon given another chance.
    pub(crate) fn latency_us(&self) -> f64 {
        let measured = f64::from_bits(self.latency_us.load(Relaxed));
        if measured == 0.0 {
            return LATENCY_UNKNOWN_US;
        }
        let age_us = self.now_us().saturating_sub(self.latency_at_us.load(Relaxed));
        (measured * fading(age_us)).max(LATENCY_UNKNOWN_US)
    }

    /// A good answer began after this time.
    pub(crate) fn succeeded(&self, latency: Duration) {
        self.measured(latency.as_secs_f64() * 1e6);
        self.server_errors_in_a_row.store(0, Relaxed);
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
            self.ejections_in_a_row.store(0, Relaxed);
        }
    }

    /// An answer with a status of 500 or more began after this time. Returns whether the backend was taken out.
    pub(crate) fn erred(&self, latency: Duration) -> bool {
        self.counters.server_errors.fetch_add(1, Relaxed);
        self.measured((latency.as_secs_f64() * 1e6).max(SERVER_ERROR_US));
        self.failures_in_a_row.store(0, Relaxed);
        let errors = self.server_errors_in_a_row.fetch_add(1, Relaxed) + 1;
        errors >= SERVER_ERRORS_BEFORE_EJECTION && self.eject()
    }

    fn measured(&self, sample_us: f64) {
        let now_us = self.now_us();
        let is_first = f64::from_bits(self.latency_us.load(Relaxed)) == 0.0;
        let before = if is_first { sample_us } else { self.latency_us() };
        let smoothed = if sample_us > before {
            // Peaks count at once, but one of them alone doesn't condemn.
            sample_us.min(before * 4.0)
        } else {
            let weight = fading(now_us.saturating_sub(self.latency_at_us.load(Relaxed)));
            before * weight + sample_us * (1.0 - weight)
        };
        self.latency_us.store(smoothed.max(1.0).to_bits(), Relaxed);
        self.latency_at_us.store(now_us, Relaxed);
    }

    /// A try failed. Returns whether the backend was taken out for it.
    pub(crate) fn failed(&self, kind: FailureKind) -> bool {
        let counter = match kind {
            FailureKind::Connect => &self.counters.connect_failures,
            FailureKind::Reset => &self.counters.resets,
            FailureKind::Timeout => &self.counters.timeouts,
        };
        counter.fetch_add(1, Relaxed);
        let now_us = self.now_us();
        let penalised = self.latency_us().max(FAILURE_PENALTY_US);
        self.latency_us.store(penalised.to_bits(), Relaxed);
        self.latency_at_us.store(now_us, Relaxed);
        let failures = self.failures_in_a_row.fetch_add(1, Relaxed) + 1;
        failures >= FAILURES_BEFORE_EJECTION && self.eject()
    }

    /// Takes the backend out for a while, longer each time; false if it was out already.
    fn eject(&self) -> bool {
        if self.is_ejected() {
            return false;
        }
        let doublings = self
            .ejections_in_a_row
            .fetch_add(1, Relaxed)
            .min(EJECTION_DOUBLINGS_MAX);
        let duration_us = EJECTION_FIRST.as_micros() as u64 * (1 << doublings);
        self.ejected_until_us.store(self.now_us() + duration_us, Relaxed);
        self.failures_in_a_row.store(0, Relaxed);
        self.server_errors_in_a_row.store(0, Relaxed);
        self.counters.ejections.fetch_add(1, Relaxed);
        true
    }

    /// What another request would cost here: those already there, times what each takes.
    pub(crate) fn cost(&self) -> f64 {
        let up_for_us = self.now_us().saturating_sub(self.up_since_us.load(Relaxed)) as f64;
        let slow_start_us = SLOW_START.as_micros() as f64;
        let newness = if up_for_us < slow_start_us {
            (slow_start_us / up_for_us.max(1.0)).min(8.0)
        } else {
            1.0
        };
        f64::from(self.in_flight() + 1) * self.latency_us() * newness
    }

    /// What the instance calls itself, or its address until it has said so.
    pub(crate) fn name(&self) -> &str {
        self.instance.get().unwrap_or(&self.address_text)
    }

    /// Learns the instance's name from the `X-Served-By` of an answer.
    pub(crate) fn learn_name(&self, served_by: &str) {
        if self.instance.get().is_none() {
            let own = served_by.rsplit(',').next().unwrap_or_default().trim();
            if !own.is_empty() && own.len() <= INSTANCE_BYTES_MAX {
                let _ = self.instance.set(own.to_owned());
            }
        }
    }
}

fn fading(age_us: u64) -> f64 {
    (-(age_us as f64) / (LATENCY_MEMORY.as_micros() as f64)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Backend {
        Backend::new(0, ([127, 0, 0, 1], 80).into())
    }

    #[test]
    fn a_failure_makes_a_backend_dearer_than_a_busy_one() {
        let failing = backend();
        failing.succeeded(Duration::from_millis(1));
        failing.failed(FailureKind::Connect);
        let busy = backend();
        busy.succeeded(Duration::from_millis(20));
        (0..50).for_each(|_| busy.begin());
        assert!(failing.cost() > busy.cost());
    }

    #[test]
    fn failures_in_a_row_eject_and_a_success_between_them_does_not() {
        let flaky = backend();
        for _ in 0..10 {
            flaky.failed(FailureKind::Reset);
            flaky.failed(FailureKind::Reset);
            flaky.succeeded(Duration::from_millis(1));
        }
        assert!(!flaky.is_ejected());
        let dead = backend();
        let ejected = (0..3).map(|_| dead.failed(FailureKind::Timeout)).collect::<Vec<_>>();
        assert_eq!(ejected, [false, false, true]);
        assert!(dead.is_ejected());
    }

    #[test]
    fn quick_errors_do_not_attract() {
        let erring = backend();
        let working = backend();
        for _ in 0..5 {
            erring.erred(Duration::from_micros(100));
            working.succeeded(Duration::from_millis(20));
        }
        assert!(erring.cost() > working.cost());
        assert!(!erring.is_ejected());
        (0..5).for_each(|_| _ = erring.erred(Duration::from_micros(100)));
        assert!(erring.is_ejected());
    }

    #[test]
    fn coming_up_again_forgives() {
        let backend = backend();
        (0..3).for_each(|_| _ = backend.failed(FailureKind::Connect));
        backend.set_health(Health::Down);
        assert_eq!(backend.set_health(Health::Up), Health::Down);
        assert!(!backend.is_ejected());
        assert!(backend.latency_us() < FAILURE_PENALTY_US);
    }

    #[test]
    fn one_slow_answer_does_not_condemn() {
        let backend = backend();
        (0..20).for_each(|_| backend.succeeded(Duration::from_millis(1)));
        backend.succeeded(Duration::from_secs(3));
        assert!(backend.latency_us() < 10_000.0);
    }

    #[test]
    fn the_last_of_those_who_served_is_the_instance() {
        let backend = backend();
        assert_eq!(backend.name(), "127.0.0.1:80");
        backend.learn_name("edge-1, inventory-2");
        assert_eq!(backend.name(), "inventory-2");
    }
}
