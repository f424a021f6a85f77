//! Getting from the origin what is not in the cache: once, however many ask for it.
//!
//! A *flight* is one request to the origin. It runs in a task of its own, so that the client who caused it may go away
//! while others wait for it. Whoever asks for the same thing meanwhile joins the flight.

mod fill;
mod flight;
pub mod headers;
mod receive;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::Instrument as _;

pub use self::fill::{Fill, Incomplete};
use self::flight::{Flight, Landing};
use self::headers::OriginNotes;
use crate::body::EdgeBody;
use crate::config::Config;
use crate::http_cache::freshness::{NotStored, OriginFailure};
use crate::http_cache::vary::Selection;
use crate::origin::{Origin, OriginError};
use crate::store::{CacheKey, Entry, Store};

/// What those who joined a flight wait longer than its own deadline.
const GRACE: Duration = Duration::from_millis(500);

/// What is asked of the origin.
#[derive(Clone)]
pub struct Ask {
    /// What for.
    pub key: CacheKey,
    /// The headers of the client's request, or of the one client's whose request this is.
    pub request: HeaderMap,
    /// The headers that the origin gets.
    pub forwarded: HeaderMap,
    /// The variant that is wanted, if the URL is known to have several.
    pub variant: Option<Selection>,
    /// What is there already, to be asked about.
    pub stale: Option<Arc<Entry>>,
}

/// What came of it.
#[derive(Clone)]
pub enum Outcome {
    /// What is stored is still right.
    Revalidated {
        /// It, with its new lifetime.
        entry: Arc<Entry>,
        /// How the origin made this answer.
        notes: OriginNotes,
    },
    /// The body is arriving; it is being stored.
    Arriving(Arc<Fill>),
    /// The answer may not be stored.
    Pass(Arc<Pass>),
    /// There is no answer, or a server error.
    Failed(Arc<Failure>),
}

/// An answer that is not stored: for the one who takes it first, of those whose request it answers.
pub struct Pass {
    /// Why it is not stored.
    pub reason: NotStored,
    /// Whose requests it answers; none where nobody can tell but for the one who asked.
    selection: Option<Selection>,
    answer: Mutex<Option<Response<EdgeBody>>>,
}

impl Pass {
    fn new(reason: NotStored, selection: Option<Selection>, answer: Response<EdgeBody>) -> Self {
        metrics::counter!("edge_not_stored_total", "reason" => reason.name()).increment(1);
        Self {
            reason,
            selection,
            answer: Mutex::new(Some(answer)),
        }
    }

    /// The answer, unless somebody else has it, or `request` was `collapsed` with somebody else's that may have chosen
    /// another one.
    pub fn take_for(&self, request: &HeaderMap, collapsed: bool) -> Option<Response<EdgeBody>> {
        let is_theirs = || {
            self.selection
                .as_ref()
                .is_some_and(|selection| selection.matches(request))
        };
        if collapsed && !is_theirs() {
            return None;
        }
        self.answer.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Why the origin did not help.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No answer came.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// It answered with a server error, which everybody who waited for it gets.
    #[error("the origin answered {}", .0.status())]
    Status(Response<Bytes>),
    /// Too many requests are under way to it.
    #[error("too many requests are under way to the origin")]
    Busy,
    /// Somebody else's request for the same took too long.
    #[error("the request that this one joined took too long")]
    JoinTimeout,
    /// It said "not modified" to somebody who has nothing, or broke off within its answer.
    #[error("the origin's answer makes no sense")]
    Nonsense,
}

impl Failure {
    /// What may be done about it.
    pub fn kind(&self) -> OriginFailure {
        match self {
            Self::Status(_) => OriginFailure::Status,
            _ => OriginFailure::Unreachable,
        }
    }

    /// What a client is told.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Status(answer) => answer.status(),
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::JoinTimeout | Self::Origin(OriginError::Timeout) => StatusCode::GATEWAY_TIMEOUT,
            Self::Origin(_) | Self::Nonsense => StatusCode::BAD_GATEWAY,
        }
    }
}

/// An outcome, and whether it was somebody else's request that brought it.
pub struct Fetched {
    /// What came of it.
    pub outcome: Outcome,
    /// The request was joined to one that was under way.
    pub collapsed: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct FlightKey {
    key: CacheKey,
    variant: String,
}

/// All flights.
pub struct Fetcher {
    store: Arc<Store>,
    origin: Origin,
    flights: Mutex<HashMap<FlightKey, Arc<Flight>>>,
    /// One for each request to the origin.
    permits: Arc<Semaphore>,
    /// One for each KiB that is arriving.
    room: Arc<Semaphore>,
    object_bytes_max: u64,
    deadline: Duration,
    body_pause: Duration,
    runtime: Handle,
}

impl Fetcher {
    /// To be called within the runtime that the flights are to run on.
    pub fn new(config: &Config, store: Arc<Store>) -> Self {
        Self {
            store,
            origin: Origin::new(config),
            flights: Mutex::default(),
            permits: Arc::new(Semaphore::new(config.fetches_max)),
            room: Arc::new(Semaphore::new(
                usize::try_from(config.arriving_bytes_max / 1024).unwrap_or(usize::MAX >> 3),
            )),
            object_bytes_max: config.object_bytes_max,
            deadline: config.origin_deadline(),
            body_pause: config.origin_body_pause(),
            runtime: Handle::current(),
        }
    }

    /// Asks the origin, or joins whoever is asking it for the same.
    pub async fn fetch(self: &Arc<Self>, ask: Ask) -> Fetched {
        let (flight, collapsed) = self.join(ask);
        let landed = timeout(self.deadline + GRACE, flight.landed()).await;
        let outcome = landed.unwrap_or_else(|_| Outcome::Failed(Arc::new(Failure::JoinTimeout)));
        Fetched { outcome, collapsed }
    }

    /// Asks the origin about something stale while that is being served.
    pub fn refresh(self: &Arc<Self>, ask: Ask) {
        self.join(ask);
    }

    /// How many requests to the origin are under way that others may join. One ends only when what it brought is
    /// stored: until then whoever asks gets what it brought.
    pub fn flights(&self) -> usize {
        self.lock().len()
    }

    /// Whether the origin has not answered lately.
    pub fn origin_is_failing(&self) -> bool {
        self.origin.is_failing()
    }

    /// Looks whether the origin takes connections, so that customers don't have to find out that it doesn't.
    pub async fn look_at_origin(&self) {
        self.origin.look().await;
    }

    /// Asks the origin for this client alone, because what others get is not theirs to share.
    pub async fn fetch_alone(&self, ask: &Ask) -> Result<Response<EdgeBody>, Failure> {
        flight::fetch_alone(self, ask).await
    }

    /// Forgets a URL; says how many responses that were. What is just arriving will not be kept.
    pub async fn purge_key(&self, key: &CacheKey) -> usize {
        self.ground(|flight_key| flight_key.key == *key);
        self.store.purge_key(key).await
    }

    /// Forgets all that carries a tag. Nobody knows yet what tags something carries that is just arriving: none of it
    /// is kept.
    pub async fn purge_tag(&self, tag: &str) -> usize {
        self.ground(|_| true);
        self.store.purge_tag(tag).await
    }

    fn join(self: &Arc<Self>, ask: Ask) -> (Arc<Flight>, bool) {
        let key = FlightKey {
            key: ask.key.clone(),
            variant: ask.variant.as_ref().map_or_else(String::new, Selection::fingerprint),
        };
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&key) {
            metrics::counter!("edge_collapsed_total").increment(1);
            return (Arc::clone(flight), true);
        }
        let flight = Arc::new(Flight::default());
        flights.insert(key.clone(), Arc::clone(&flight));
        drop(flights);
        let landing = Landing::new(Arc::clone(self), key, Arc::clone(&flight));
        let span = tracing::info_span!("fetch", path = %ask.key);
        shop_telemetry::propagation::set_parent(&span, |name| Some(ask.forwarded.get(name)?.to_str().ok()?.to_owned()));
        self.runtime
            .spawn(flight::fly(Arc::clone(self), ask, landing).instrument(span));
        (flight, false)
    }

    /// Lets flights land without keeping what they bring; whoever asks from now on starts another one.
    fn ground(&self, which: impl Fn(&FlightKey) -> bool) {
        self.lock().retain(|key, flight| {
            let grounded = which(key);
            if grounded {
                flight.taint();
            }
            !grounded
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<FlightKey, Arc<Flight>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, VARY};
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::body;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    fn pass(vary: &'static str, request: &HeaderMap) -> Pass {
        let selection = Selection::of(&headers(VARY, vary), request).ok();
        Pass::new(NotStored::TooLarge, selection, Response::new(body::empty()))
    }

    #[test]
    fn an_answer_that_is_not_stored_goes_to_nobody_whose_variant_is_another() {
        let (webp, jpeg) = (headers(ACCEPT, "image/webp"), headers(ACCEPT, "image/jpeg"));
        let answer = pass("accept", &webp);
        assert!(answer.take_for(&jpeg, true).is_none());
        assert!(answer.take_for(&webp, true).is_some());
        assert!(answer.take_for(&webp, false).is_none(), "it is for one only");
    }

    #[test]
    fn what_varies_by_something_unknown_is_for_the_one_who_asked() {
        let request = headers(ACCEPT, "image/webp");
        let answer = pass("cookie", &request);
        assert!(answer.take_for(&request, true).is_none());
        assert!(answer.take_for(&request, false).is_some());
    }
}
