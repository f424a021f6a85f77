//! One instance of a service: how it does, and how dear it is to send it another request.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicBool, AtomicU8, AtomicU32, AtomicU64,
    Ordering::{Relaxed, SeqCst},
};
use std::time::{Duration, Instant};

use crate::balance::hash;
use crate::outlier::{Cause, Outlier};
use crate::typical::Typical;

/// Half of a latency's weight is forgotten in about two thirds of this.
const LATENCY_MEMORY: Duration = Duration::from_secs(5);
/// What a backend counts as that nobody has measured yet, if there is none to compare it with; and the least that one
/// counts as whose measure has faded.
const LATENCY_UNKNOWN_US: f64 = 100.0;
/// A failure counts as an answer that took this long. Without it, a dead backend looks best: nothing in flight, and
/// never slower than it was.
const FAILURE_PENALTY_US: f64 = 2_000_000.0;
/// An error counts as an answer that took at least this long: errors are quick, and would attract more requests.
const SERVER_ERROR_US: f64 = 250_000.0;
/// Where only load counts, a failure counts as so many requests in flight, and an error as so many. Both fade.
const FAILURE_LOAD: f64 = 50.0;
const SERVER_ERROR_LOAD: f64 = 5.0;
const LOAD_MEMORY: Duration = Duration::from_secs(2);
/// For so long after a failure or an error nobody is preferred for being fast.
const TROUBLE_MEMORY: Duration = Duration::from_secs(5);
/// A backend that came up, or back after it was taken out, takes its full share only after this.
const SLOW_START: Duration = Duration::from_secs(5);
/// How much dearer it is at first.
const NEWNESS_MAX: f64 = 8.0;
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
    /// The same in every process.
    pub(crate) address_hash: u64,
    epoch: Instant,
    in_flight: AtomicU32,
    latency_us: AtomicU64,
    latency_at_us: AtomicU64,
    typical: Typical,
    health: AtomicU8,
    is_reached: AtomicBool,
    up_since_us: AtomicU64,
    failed_at_us: AtomicU64,
    erred_at_us: AtomicU64,
    outlier: Outlier,
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

/// How a backend does at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) in_flight: u32,
    /// The median of its recent latencies, fading as well while nobody asks. None while it starts slowly, while there
    /// were too few since, and while it fails: then its cost is what counts.
    pub(crate) typical_us: Option<f64>,
    /// [`Backend::latency_us`]; none while nobody has measured it since it came up or back.
    pub(crate) known_us: Option<f64>,
    newness: f64,
}

impl Standing {
    /// What another request would cost there, if each takes so long: those already there, times that.
    pub(crate) fn cost_at(&self, latency_us: Option<f64>) -> f64 {
        f64::from(self.in_flight + 1) * latency_us.unwrap_or(LATENCY_UNKNOWN_US) * self.newness
    }
}

impl Backend {
    /// A backend that nothing is known about yet.
    pub(crate) fn new(id: u64, address: SocketAddr) -> Self {
        Self {
            id,
            address,
            address_hash: hash(address.to_string().as_bytes()),
            address_text: address.to_string(),
            epoch: Instant::now(),
            in_flight: AtomicU32::new(0),
            latency_us: AtomicU64::new(0f64.to_bits()),
            latency_at_us: AtomicU64::new(0),
            typical: Typical::default(),
            health: AtomicU8::new(Health::Unknown as u8),
            is_reached: AtomicBool::new(false),
            up_since_us: AtomicU64::new(0),
            failed_at_us: AtomicU64::new(0),
            erred_at_us: AtomicU64::new(0),
            outlier: Outlier::default(),
            instance: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// The same, later.
    #[cfg(test)]
    pub(crate) fn older_by(mut self, age: Duration) -> Self {
        self.epoch = self.epoch.checked_sub(age).expect("a machine that is up for longer");
        self
    }

    /// Never 0, which stands for never.
    fn now_us(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_micros()).map_or(u64::MAX, |us| us.saturating_add(1))
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
            self.typical.forget();
            if before == Health::Down {
                // It is another process now, or a restarted one.
                self.outlier.forgive();
                self.failed_at_us.store(0, Relaxed);
                self.erred_at_us.store(0, Relaxed);
            }
        }
        before
    }

    /// Whether the last connection to it was made, whatever it answered then.
    pub(crate) fn is_reached(&self) -> bool {
        self.is_reached.load(Relaxed)
    }

    pub(crate) fn set_reached(&self, is_reached: bool) {
        self.is_reached.store(is_reached, Relaxed);
    }

    /// Whether it was taken out for failing, for now.
    pub(crate) fn is_ejected(&self) -> bool {
        self.outlier.ejected_until_us() != 0 && self.outlier.is_ejected(self.now_us())
    }

    /// For how long it is still out.
    pub(crate) fn ejected_for(&self) -> Duration {
        Duration::from_micros(self.outlier.ejected_until_us().saturating_sub(self.now_us()))
    }

    /// Takes it out for a while. Only its service knows whether it can do without.
    pub(crate) fn eject(&self) -> Duration {
        self.counters.ejections.fetch_add(1, Relaxed);
        self.outlier.eject(self.now_us())
    }

    /// The share of its requests that failed in the last seconds, if there were enough to tell.
    pub(crate) fn failure_rate(&self) -> Option<f64> {
        self.outlier.failure_rate(self.now_us())
    }

    /// Its requests of the last seconds, and those of them that failed.
    pub(crate) fn recently(&self) -> (u32, u32) {
        self.outlier.recently(self.now_us())
    }

    /// Requests at it just now.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(SeqCst)
    }

    /// Counts another request at it, unless there are so many already. `end` takes it back.
    pub(crate) fn try_begin(&self, in_flight_max: u32) -> bool {
        // Counted first, so that two at once can't both take the last place.
        let is_begun = self.in_flight.fetch_add(1, SeqCst) < in_flight_max;
        if !is_begun {
            self.in_flight.fetch_sub(1, SeqCst);
        }
        is_begun
    }

    pub(crate) fn end(&self) {
        self.in_flight.fetch_sub(1, SeqCst);
    }

    /// Its recent latency, leaning towards peaks and fading, so that a slow answer is soon given another chance.
    pub(crate) fn latency_us(&self) -> f64 {
        let now_us = self.now_us();
        let known_us = self.latency_after(self.latency_fading(now_us), now_us);
        known_us.unwrap_or(LATENCY_UNKNOWN_US)
    }

    /// How it does just now.
    pub(crate) fn standing(&self) -> Standing {
        let now_us = self.now_us();
        let fading = self.latency_fading(now_us);
        let newness = self.newness(now_us);
        let troubled_at_us = self.failed_at_us.load(Relaxed).max(self.erred_at_us.load(Relaxed));
        let is_troubled =
            troubled_at_us != 0 && now_us.saturating_sub(troubled_at_us) < TROUBLE_MEMORY.as_micros() as u64;
        let is_typical = !is_troubled && newness <= 1.0;
        Standing {
            in_flight: self.in_flight(),
            typical_us: is_typical.then(|| self.typical.known_us(fading)).flatten(),
            known_us: self.latency_after(fading, now_us),
            newness,
        }
    }

    fn latency_after(&self, fading: f64, now_us: u64) -> Option<f64> {
        let measured = f64::from_bits(self.latency_us.load(Relaxed));
        if measured == 0.0 {
            return None;
        }
        if (self.latency_at_us.load(Relaxed)..=now_us).contains(&self.outlier.ejected_until_us()) {
            // It was out since: whatever was wrong with it then, it gets its slow start now.
            return None;
        }
        Some((measured * fading).max(LATENCY_UNKNOWN_US))
    }

    /// What is left of the last measure.
    fn latency_fading(&self, now_us: u64) -> f64 {
        fading(now_us.saturating_sub(self.latency_at_us.load(Relaxed)), LATENCY_MEMORY)
    }

    /// A good answer began after this time.
    pub(crate) fn succeeded(&self, latency: Duration) {
        let now_us = self.now_us();
        self.measured(latency.as_secs_f64() * 1e6, now_us);
        self.outlier.succeeded(now_us);
    }

    /// A good answer began, after a time that says nothing.
    pub(crate) fn answered(&self) {
        self.outlier.succeeded(self.now_us());
    }

    /// Another backend answered the same request first, when this one had already taken so long.
    pub(crate) fn outrun(&self, elapsed: Duration) {
        let sample_us = elapsed.as_secs_f64() * 1e6;
        if sample_us > self.latency_us() {
            self.measured(sample_us, self.now_us());
        }
    }

    /// An answer with a status of 500 or more began after this time. Returns the cause to take the backend out, if
    /// that is one.
    pub(crate) fn erred(&self, latency: Duration) -> Option<Cause> {
        self.counters.server_errors.fetch_add(1, Relaxed);
        let now_us = self.now_us();
        self.measured((latency.as_secs_f64() * 1e6).max(SERVER_ERROR_US), now_us);
        self.erred_at_us.store(now_us, Relaxed);
        self.outlier.erred(now_us)
    }

    fn measured(&self, sample_us: f64, now_us: u64) {
        let weight = self.latency_fading(now_us);
        let before = self.latency_after(weight, now_us).unwrap_or(sample_us);
        self.typical.measured(sample_us, weight);
        let smoothed = if sample_us > before {
            // Peaks count at once, but one of them alone doesn't condemn.
            sample_us.min(before * 4.0)
        } else {
            before * weight + sample_us * (1.0 - weight)
        };
        self.latency_us.store(smoothed.max(1.0).to_bits(), Relaxed);
        self.latency_at_us.store(now_us, Relaxed);
    }

    /// A try failed. Returns the cause to take the backend out, if that is one.
    pub(crate) fn failed(&self, kind: FailureKind) -> Option<Cause> {
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
        self.failed_at_us.store(now_us, Relaxed);
        self.outlier.failed(now_us)
    }

    /// How much it has to do, whatever each request takes. Failures count as well: who fails has nothing to do.
    pub(crate) fn load(&self) -> f64 {
        let now_us = self.now_us();
        let faded = |load: f64, at: &AtomicU64| match at.load(Relaxed) {
            0 => 0.0,
            at_us => load * fading(now_us.saturating_sub(at_us), LOAD_MEMORY),
        };
        let in_flight = f64::from(self.in_flight() + 1) * self.newness(now_us);
        in_flight + faded(FAILURE_LOAD, &self.failed_at_us) + faded(SERVER_ERROR_LOAD, &self.erred_at_us)
    }

    /// 1 for a backend that takes its full share, more for one that has just come up or back.
    fn newness(&self, now_us: u64) -> f64 {
        let since_us = self.up_since_us.load(Relaxed).max(self.outlier.ejected_until_us());
        let up_for_us = now_us.saturating_sub(since_us) as f64;
        (SLOW_START.as_micros() as f64 / up_for_us.max(1.0)).clamp(1.0, NEWNESS_MAX)
    }

    /// The part of its full share that a backend takes while it starts slowly, up to 1.
    pub(crate) fn weight(&self) -> f64 {
        1.0 / self.newness(self.now_us())
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

fn fading(age_us: u64, memory: Duration) -> f64 {
    (-(age_us as f64) / (memory.as_micros() as f64)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Backend {
        Backend::new(0, ([127, 0, 0, 1], 80).into())
    }

    fn cost(backend: &Backend) -> f64 {
        let standing = backend.standing();
        standing.cost_at(standing.known_us)
    }

    #[test]
    fn a_failure_makes_a_backend_dearer_than_a_busy_one() {
        let failing = backend();
        failing.succeeded(Duration::from_millis(1));
        failing.failed(FailureKind::Connect);
        let busy = backend();
        busy.succeeded(Duration::from_millis(20));
        (0..50).for_each(|_| assert!(busy.try_begin(u32::MAX)));
        assert!(cost(&failing) > cost(&busy));
    }

    #[test]
    fn where_load_alone_counts_a_failure_is_a_load_too() {
        let (failing, erring, busy) = (backend(), backend(), backend());
        failing.failed(FailureKind::Connect);
        erring.erred(Duration::from_micros(100));
        assert!(failing.load() > erring.load() && erring.load() > busy.load());
        (0..7).for_each(|_| assert!(busy.try_begin(u32::MAX)));
        assert!(busy.load() > erring.load());
    }

    #[test]
    fn no_more_requests_begin_than_are_allowed() {
        let backend = backend();
        assert_eq!([(); 3].map(|()| backend.try_begin(2)), [true, true, false]);
        backend.end();
        assert!(backend.try_begin(2));
        assert_eq!(backend.in_flight(), 2);
    }

    #[test]
    fn quick_errors_do_not_attract() {
        let erring = backend();
        let working = backend();
        for _ in 0..5 {
            erring.erred(Duration::from_micros(100));
            working.succeeded(Duration::from_millis(20));
        }
        assert!(cost(&erring) > cost(&working));
    }

    #[test]
    fn coming_up_again_forgives() {
        let backend = backend();
        backend.failed(FailureKind::Connect);
        backend.eject();
        assert!(backend.is_ejected() && backend.weight() < 1.0);
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
    fn nobody_is_preferred_for_being_fast_while_it_is_new_or_fails() {
        let backend = backend();
        backend.set_health(Health::Up);
        let settled = backend.older_by(SLOW_START * 2);
        (0..50).for_each(|_| settled.succeeded(Duration::from_millis(2)));
        assert!(
            settled
                .standing()
                .typical_us
                .is_some_and(|us| (1_800.0..2_200.0).contains(&us))
        );
        settled.failed(FailureKind::Reset);
        assert_eq!(settled.standing().typical_us, None);
        settled.set_health(Health::Down);
        settled.set_health(Health::Up);
        (0..50).for_each(|_| settled.succeeded(Duration::from_millis(2)));
        assert_eq!(settled.standing().typical_us, None, "it has just come back");
    }

    #[test]
    fn the_last_of_those_who_served_is_the_instance() {
        let backend = backend();
        assert_eq!(backend.name(), "127.0.0.1:80");
        backend.learn_name("edge-1, inventory-2");
        assert_eq!(backend.name(), "inventory-2");
    }
}
