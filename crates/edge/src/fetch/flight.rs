//! One request to the origin, from take-off to the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{AGE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, Response, StatusCode, response};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::headers::{OriginNotes, freshened, of_object, tags};
use super::receive::{pass_on, passed_on, receive, server_error};
use super::{Ask, Failure, Fetcher, FlightKey, Outcome};
use crate::body::EdgeBody;
use crate::http_cache::freshness::{Lifetime, NotStored, judge};
use crate::http_cache::unix_now;
use crate::http_cache::vary::Selection;
use crate::store::{Entry, Head};

/// How long somebody waits for one of the places on the way to the origin.
const PERMIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A request to the origin that others may join.
pub(super) struct Flight {
    outcome: watch::Sender<Option<Outcome>>,
    tainted: AtomicBool,
}

impl Default for Flight {
    fn default() -> Self {
        Self {
            outcome: watch::Sender::new(None),
            tainted: AtomicBool::new(false),
        }
    }
}

impl Flight {
    /// Waits until it is known what comes of it.
    pub(super) async fn landed(&self) -> Outcome {
        let mut outcome = self.outcome.subscribe();
        match outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(nonsense),
            Err(_) => nonsense(),
        }
    }

    /// What it brings has been purged already.
    pub(super) fn taint(&self) {
        self.tainted.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::SeqCst)
    }
}

/// Takes a flight off the board when its task ends, however it ends.
pub(super) struct Landing {
    fetcher: Arc<Fetcher>,
    key: FlightKey,
    pub(super) flight: Arc<Flight>,
}

impl Landing {
    pub(super) fn new(fetcher: Arc<Fetcher>, key: FlightKey, flight: Arc<Flight>) -> Self {
        Self { fetcher, key, flight }
    }

    /// Tells all who wait.
    pub(super) fn announce(&self, outcome: Outcome) {
        self.flight.outcome.send_replace(Some(outcome));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.fetcher.lock();
        if flights
            .get(&self.key)
            .is_some_and(|flight| Arc::ptr_eq(flight, &self.flight))
        {
            flights.remove(&self.key);
        }
        drop(flights);
        self.flight.outcome.send_if_modified(|outcome| {
            let unknown = outcome.is_none();
            if unknown {
                *outcome = Some(nonsense());
            }
            unknown
        });
    }
}

/// Asks the origin, tells those who wait, and stores what may be stored.
pub(super) async fn fly(fetcher: Arc<Fetcher>, ask: Ask, landing: Landing) {
    match ask_origin(&fetcher, &ask).await {
        Ok(answer) => land(&fetcher, &ask, &landing, answer).await,
        Err(failure) => landing.announce(Outcome::Failed(Arc::new(failure))),
    }
}

/// See [`Fetcher::fetch_alone`].
pub(super) async fn fetch_alone(fetcher: &Fetcher, ask: &Ask) -> Result<Response<EdgeBody>, Failure> {
    let permit = permit(fetcher).await?;
    let answer = fetcher.origin.get(ask.key.as_str(), &outgoing(ask, None)).await?;
    let (parts, incoming) = answer.into_parts();
    Ok(passed_on(&parts, Vec::new(), incoming, permit, fetcher.body_pause))
}

/// An answer of the origin that nobody has judged yet.
pub(super) struct Answer {
    pub(super) parts: response::Parts,
    pub(super) incoming: Incoming,
    pub(super) permit: OwnedSemaphorePermit,
    /// What the origin was asked about.
    stale: Option<Arc<Entry>>,
}

async fn ask_origin(fetcher: &Fetcher, ask: &Ask) -> Result<Answer, Failure> {
    let permit = permit(fetcher).await?;
    let answer = fetcher
        .origin
        .get(ask.key.as_str(), &outgoing(ask, ask.stale.as_deref()))
        .await?;
    let (parts, incoming) = answer.into_parts();
    Ok(Answer {
        parts,
        incoming,
        permit,
        stale: ask.stale.clone(),
    })
}

async fn permit(fetcher: &Fetcher) -> Result<OwnedSemaphorePermit, Failure> {
    match timeout(PERMIT_TIMEOUT, Arc::clone(&fetcher.permits).acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(Failure::Busy),
    }
}

/// The headers of the request to the origin: conditional if there is something to be asked about.
pub(super) fn outgoing(ask: &Ask, stale: Option<&Entry>) -> HeaderMap {
    let mut headers = ask.forwarded.clone();
    for (name, value) in shop_telemetry::propagation::inject() {
        if let (Ok(name), Ok(value)) = (name.parse::<http::HeaderName>(), value.parse()) {
            headers.insert(name, value);
        }
    }
    if let Some(stale) = stale {
        for (from, to) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
            if let Some(value) = stale.head.headers.get(from) {
                headers.insert(to, value.clone());
            }
        }
    }
    headers
}

async fn land(fetcher: &Arc<Fetcher>, ask: &Ask, landing: &Landing, answer: Answer) {
    let notes = OriginNotes::of(&answer.parts.headers);
    if answer.parts.status == StatusCode::NOT_MODIFIED {
        let Some(stale) = answer.stale else {
            return landing.announce(nonsense());
        };
        drop((answer.incoming, answer.permit));
        return revalidated(fetcher, ask, landing, &answer.parts, stale, notes).await;
    }
    if answer.parts.status.is_server_error() {
        let failure = server_error(&answer.parts, answer.incoming, fetcher.body_pause).await;
        return landing.announce(Outcome::Failed(Arc::new(failure)));
    }
    match storable(ask, &answer.parts) {
        Ok((selection, lifetime)) => {
            let head = Head {
                key: ask.key.clone(),
                selection,
                status: answer.parts.status,
                headers: of_object(&answer.parts.headers),
                tags: tags(&answer.parts.headers).unwrap_or_default(),
                lifetime,
                body_bytes: 0,
            };
            receive(fetcher, ask, landing, answer, head, notes).await;
        }
        Err(reason) => pass_on(fetcher, ask, landing, answer, Vec::new(), reason),
    }
}

fn storable(ask: &Ask, parts: &response::Parts) -> Result<(Selection, Lifetime), NotStored> {
    let lifetime = judge(parts.status, &parts.headers, unix_now())?;
    Ok((Selection::of(&parts.headers, &ask.request)?, lifetime))
}

/// The stored response is still right: it gets the new headers and a new lifetime.
async fn revalidated(
    fetcher: &Arc<Fetcher>,
    ask: &Ask,
    landing: &Landing,
    parts: &response::Parts,
    stale: Arc<Entry>,
    notes: OriginNotes,
) {
    let mut head = stale.head.clone();
    head.headers = freshened(&stale.head.headers, &parts.headers);
    head.tags = tags(&parts.headers).unwrap_or(head.tags);
    // These are not among an object's headers, but they count for whether and how long it may be kept.
    let mut judged = head.headers.clone();
    for name in [AGE, SET_COOKIE] {
        judged.extend(parts.headers.get(&name).map(|value| (name, value.clone())));
    }
    match judge(head.status, &judged, unix_now()) {
        Ok(lifetime) => {
            head.lifetime = lifetime;
            // An error means that it was evicted while the origin was asked about it.
            if let Ok(entry) = fetcher.store.freshen(stale, head).await {
                return landing.announce(Outcome::Revalidated { entry, notes });
            }
        }
        // It has become one visitor's own, or may not be kept any more: what was kept is nobody's answer.
        Err(_) => fetcher.store.remove(&stale).await,
    }
    let whole = Ask {
        stale: None,
        ..ask.clone()
    };
    match ask_origin(fetcher, &whole).await {
        Ok(answer) => Box::pin(land(fetcher, &whole, landing, answer)).await,
        Err(failure) => landing.announce(Outcome::Failed(Arc::new(failure))),
    }
}

pub(super) fn nonsense() -> Outcome {
    Outcome::Failed(Arc::new(Failure::Nonsense))
}
