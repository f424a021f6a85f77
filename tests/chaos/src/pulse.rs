//! Every request of the load: when it was sent, when it ended, and how.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

/// What a request was for.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Browse,
    Picture,
    LogIn,
    Register,
    Cart,
    Checkout,
    Upload,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Browse,
        Self::Picture,
        Self::LogIn,
        Self::Register,
        Self::Cart,
        Self::Checkout,
        Self::Upload,
    ];

    /// Those whose longest pause is a column of the table.
    pub const MAIN: [Self; 4] = [Self::Browse, Self::LogIn, Self::Cart, Self::Checkout];

    pub fn name(self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::Picture => "picture",
            Self::LogIn => "log in",
            Self::Register => "register",
            Self::Cart => "cart",
            Self::Checkout => "checkout",
            Self::Upload => "upload",
        }
    }
}

/// Why a request has no answer that its customer can use.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    Status(u16),
    TimedOut,
    CouldNotConnect,
    ConnectionLost,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::CouldNotConnect => f.write_str("could not connect"),
            Self::ConnectionLost => f.write_str("connection lost"),
        }
    }
}

impl From<&reqwest::Error> for Failure {
    fn from(error: &reqwest::Error) -> Self {
        if error.is_connect() {
            Self::CouldNotConnect
        } else if error.is_timeout() {
            Self::TimedOut
        } else {
            Self::ConnectionLost
        }
    }
}

/// How a request ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    /// An answer that says to ask again.
    NotYet,
    Failed(Failure),
}

/// A request that has ended.
#[derive(Copy, Clone, Debug)]
pub struct Event {
    pub kind: Kind,
    pub sent: Instant,
    pub ended: Instant,
    pub end: End,
}

/// What happened between two moments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub requests: BTreeMap<Kind, usize>,
    pub failed: BTreeMap<Kind, BTreeMap<Failure, usize>>,
    /// Customers who did not come, because too many were waiting.
    pub not_sent: BTreeMap<Kind, usize>,
    /// The longest time without a success.
    pub longest_pause: BTreeMap<Kind, Duration>,
}

impl Window {
    pub fn failed_of(&self, kind: Kind) -> usize {
        self.failed.get(&kind).map_or(0, |reasons| reasons.values().sum())
    }

    pub fn failed_total(&self) -> usize {
        Kind::ALL.into_iter().map(|kind| self.failed_of(kind)).sum()
    }

    pub fn requests_total(&self) -> usize {
        self.requests.values().sum()
    }

    pub fn not_sent_total(&self) -> usize {
        self.not_sent.values().sum()
    }

    pub fn pause_of(&self, kind: Kind) -> Duration {
        self.longest_pause.get(&kind).copied().unwrap_or_default()
    }
}

/// One second of the run, for pictures.
#[derive(Clone, Debug, Default)]
pub struct Second {
    pub succeeded: u32,
    pub failed: u32,
}

/// The memory of all requests. Bounded by the rate of the load and the length of the run.
#[derive(Debug)]
pub struct Pulse {
    pub started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    events: Vec<Event>,
    in_flight: HashMap<u64, Instant>,
    next: u64,
    not_sent: Vec<(Kind, Instant)>,
}

/// A request that is under way.
#[derive(Debug)]
pub struct Ticket {
    pulse: Arc<Pulse>,
    number: u64,
    kind: Kind,
    pub sent: Instant,
}

impl Ticket {
    pub fn end(self, end: End) {
        let event = Event {
            kind: self.kind,
            sent: self.sent,
            ended: Instant::now(),
            end,
        };
        self.pulse.inner().events.push(event);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.pulse.inner().in_flight.remove(&self.number);
    }
}

impl Pulse {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            inner: Mutex::default(),
        })
    }

    /// A request is sent now.
    pub fn begin(self: &Arc<Self>, kind: Kind) -> Ticket {
        let sent = Instant::now();
        let mut inner = self.inner();
        inner.next += 1;
        let number = inner.next;
        inner.in_flight.insert(number, sent);
        Ticket {
            pulse: self.clone(),
            number,
            kind,
            sent,
        }
    }

    /// A customer who should have come now did not, because too many are waiting.
    pub fn note_not_sent(&self, kind: Kind) {
        self.inner().not_sent.push((kind, Instant::now()));
    }

    /// The kinds of which nothing that was sent after `since` has succeeded.
    pub fn without_success(&self, kinds: &[Kind], since: Instant) -> Vec<Kind> {
        let inner = self.inner();
        let succeeded = |kind: Kind| {
            let newest_first = inner.events.iter().rev().take_while(|event| event.ended >= since);
            newest_first
                .filter(|event| event.kind == kind && event.end == End::Succeeded)
                .any(|event| event.sent >= since)
        };
        kinds.iter().copied().filter(|kind| !succeeded(*kind)).collect()
    }

    /// Whether nothing is under way any more that was sent before `since`.
    pub fn is_settled(&self, since: Instant) -> bool {
        self.inner().in_flight.values().all(|sent| *sent >= since)
    }

    /// Requests so far: succeeded, failed, and how long ago the last success was.
    pub fn totals(&self) -> BTreeMap<Kind, (usize, usize, Option<Duration>)> {
        let inner = self.inner();
        let mut totals = BTreeMap::new();
        for event in &inner.events {
            let total: &mut (usize, usize, Option<Duration>) = totals.entry(event.kind).or_default();
            match event.end {
                End::Succeeded => {
                    total.0 += 1;
                    total.2 = Some(event.ended.elapsed());
                }
                End::NotYet => {}
                End::Failed(_) => total.1 += 1,
            }
        }
        totals
    }

    /// What ended between two moments.
    pub fn window(&self, since: Instant, until: Instant) -> Window {
        let inner = self.inner();
        let mut window = window(&inner.events, since, until);
        for (kind, _) in inner.not_sent.iter().filter(|(_, at)| *at >= since && *at <= until) {
            *window.not_sent.entry(*kind).or_default() += 1;
        }
        window
    }

    /// How many requests failed, by kind, of those that were sent after `since` and ended before `until`.
    pub fn failed_of_those_sent(&self, since: Instant, until: Instant) -> BTreeMap<Kind, usize> {
        let inner = self.inner();
        let mut failed = BTreeMap::new();
        for event in inner.events.iter().filter(|e| e.sent >= since && e.ended <= until) {
            if matches!(event.end, End::Failed(_)) {
                *failed.entry(event.kind).or_default() += 1;
            }
        }
        failed
    }

    /// All of the run, second by second.
    pub fn seconds(&self) -> BTreeMap<Kind, Vec<Second>> {
        let inner = self.inner();
        let mut seconds: BTreeMap<Kind, Vec<Second>> = BTreeMap::new();
        for event in &inner.events {
            let second = (event.ended - self.started).as_secs() as usize;
            let row = seconds.entry(event.kind).or_default();
            if row.len() <= second {
                row.resize(second + 1, Second::default());
            }
            match event.end {
                End::Succeeded => row[second].succeeded += 1,
                End::NotYet => {}
                End::Failed(_) => row[second].failed += 1,
            }
        }
        seconds
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no holder panics")
    }
}

fn window(events: &[Event], since: Instant, until: Instant) -> Window {
    let mut window = Window::default();
    for event in events.iter().filter(|e| e.ended >= since && e.ended <= until) {
        *window.requests.entry(event.kind).or_default() += 1;
        if let End::Failed(failure) = event.end {
            let reasons = window.failed.entry(event.kind).or_default();
            *reasons.entry(failure).or_default() += 1;
        }
    }
    for kind in Kind::ALL {
        let successes = events
            .iter()
            .filter(|event| event.kind == kind && event.end == End::Succeeded && event.ended <= until)
            .map(|event| event.ended);
        if let Some(pause) = longest_pause(successes, since, until) {
            window.longest_pause.insert(kind, pause);
        }
    }
    window
}

/// The longest time between two successes of which the later one is after `since`; the end of the window ends a pause as
/// well. None if nothing ever succeeded.
fn longest_pause(successes: impl Iterator<Item = Instant>, since: Instant, until: Instant) -> Option<Duration> {
    let mut moments: Vec<Instant> = successes.collect();
    if moments.is_empty() {
        return None;
    }
    moments.push(until);
    moments.sort();
    let pauses = moments
        .windows(2)
        .filter(|pair| pair[1] >= since)
        .map(|pair| pair[1] - pair[0]);
    pauses.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind, start: Instant, sent_ms: u64, ended_ms: u64, end: End) -> Event {
        Event {
            kind,
            sent: start + Duration::from_millis(sent_ms),
            ended: start + Duration::from_millis(ended_ms),
            end,
        }
    }

    #[test]
    fn a_pause_begins_with_the_last_success_before_the_fault_and_ends_with_the_window_at_the_latest() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let pause = |since, until| longest_pause([at(900), at(0), at(500), at(600)].into_iter(), at(since), at(until));
        assert_eq!(pause(550, 900), Some(Duration::from_millis(300)));
        assert_eq!(pause(400, 900), Some(Duration::from_millis(500)));
        assert_eq!(pause(550, 1900), Some(Duration::from_secs(1)));
        assert_eq!(longest_pause(std::iter::empty(), at(0), at(9)), None);
    }

    #[test]
    fn a_window_counts_what_ended_in_it() {
        let start = Instant::now();
        let (ok, lost) = (End::Succeeded, End::Failed(Failure::ConnectionLost));
        let events = [
            event(Kind::Cart, start, 0, 100, lost),
            event(Kind::Cart, start, 100, 300, lost),
            event(Kind::Cart, start, 150, 350, End::Failed(Failure::Status(503))),
            event(Kind::Browse, start, 200, 400, ok),
            event(Kind::Checkout, start, 200, 400, End::NotYet),
            event(Kind::Browse, start, 200, 900, ok),
        ];
        let at = |ms| start + Duration::from_millis(ms);
        let window = window(&events, at(200), at(500));
        assert_eq!((window.failed_of(Kind::Cart), window.failed_total()), (2, 2));
        assert_eq!(window.requests_total(), 4);
        assert_eq!(window.pause_of(Kind::Browse), Duration::from_millis(100));
        assert!(!window.longest_pause.contains_key(&Kind::Checkout));
    }

    #[test]
    fn only_what_was_sent_after_the_fault_shows_that_it_is_over() {
        let pulse = Pulse::new();
        let before = pulse.begin(Kind::Browse);
        let fault = Instant::now();
        before.end(End::Succeeded);
        assert_eq!(pulse.without_success(&[Kind::Browse], fault), [Kind::Browse]);
        pulse.begin(Kind::Browse).end(End::Succeeded);
        assert!(pulse.without_success(&[Kind::Browse], fault).is_empty());
    }

    #[test]
    fn what_was_in_flight_when_somebody_was_hurt_is_told_from_what_came_later() {
        let pulse = Pulse::new();
        let in_flight = pulse.begin(Kind::Cart);
        let hurt = Instant::now();
        in_flight.end(End::Failed(Failure::ConnectionLost));
        pulse.begin(Kind::Picture).end(End::Failed(Failure::Status(502)));
        pulse.note_not_sent(Kind::LogIn);
        let until = Instant::now();
        assert_eq!(
            pulse.failed_of_those_sent(hurt, until),
            BTreeMap::from([(Kind::Picture, 1)])
        );
        let window = pulse.window(hurt, until);
        assert_eq!((window.failed_total(), window.not_sent_total()), (2, 1));
    }

    #[test]
    fn a_request_that_is_given_up_is_under_way_no_more() {
        let pulse = Pulse::new();
        let ticket = pulse.begin(Kind::Upload);
        let later = Instant::now() + Duration::from_millis(1);
        assert!(!pulse.is_settled(later));
        drop(ticket);
        assert!(pulse.is_settled(later));
    }
}
