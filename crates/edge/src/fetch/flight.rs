//! One request to the origin, from take-off to the cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::{ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Response, StatusCode, response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

use super::headers::{OriginNotes, announced_length, end_to_end, freshened, of_object, tags};
use super::{Ask, Failure, Fetcher, Fill, FlightKey, Incomplete, Outcome, Pass};
use crate::body::{self, EdgeBody};
use crate::http_cache::conditional::same_bytes;
use crate::http_cache::freshness::{Lifetime, NotStored, judge};
use crate::http_cache::unix_now;
use crate::http_cache::vary::Selection;
use crate::store::{Entry, Head};

/// A page that says that something is wrong is not longer than this.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

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

    fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::SeqCst)
    }
}

/// Takes a flight off the board when its task ends, however it ends.
pub(super) struct Landing {
    fetcher: Arc<Fetcher>,
    key: FlightKey,
    flight: Arc<Flight>,
}

impl Landing {
    pub(super) fn new(fetcher: Arc<Fetcher>, key: FlightKey, flight: Arc<Flight>) -> Self {
        Self {
            fetcher,
            key,
            flight,
        }
    }

    fn announce(&self, outcome: Outcome) {
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
pub(super) async fn fetch_alone(
    fetcher: &Fetcher,
    ask: &Ask,
) -> Result<Response<EdgeBody>, Failure> {
    let permit = permit(fetcher).await?;
    let answer = fetcher
        .origin
        .get(ask.key.as_str(), &outgoing(ask, None))
        .await?;
    let (parts, incoming) = answer.into_parts();
    Ok(passed_on(
        &parts,
        Vec::new(),
        incoming,
        permit,
        fetcher.body_pause,
    ))
}

/// An answer of the origin that nobody has judged yet.
struct Answer {
    parts: response::Parts,
    incoming: Incoming,
    permit: OwnedSemaphorePermit,
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
fn outgoing(ask: &Ask, stale: Option<&Entry>) -> HeaderMap {
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
        Err(reason) => pass_on(fetcher, landing, answer, Vec::new(), reason),
    }
}

fn storable(ask: &Ask, parts: &response::Parts) -> Result<(Selection, Lifetime), NotStored> {
    let lifetime = judge(parts.status, &parts.headers, unix_now())?;
    Ok((Selection::of(&parts.headers, &ask.request)?, lifetime))
}

fn pass_on(
    fetcher: &Fetcher,
    landing: &Landing,
    answer: Answer,
    start: Vec<Bytes>,
    reason: NotStored,
) {
    let response = passed_on(
        &answer.parts,
        start,
        answer.incoming,
        answer.permit,
        fetcher.body_pause,
    );
    landing.announce(Outcome::Pass(Arc::new(Pass::new(reason, response))));
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
    // Age is not among an object's headers, but it counts for the lifetime.
    let mut judged = head.headers.clone();
    judged.extend(
        parts
            .headers
            .get(http::header::AGE)
            .map(|age| (http::header::AGE, age.clone())),
    );
    let now = unix_now();
    head.lifetime = judge(head.status, &judged, now).unwrap_or(Lifetime {
        received: now,
        initial_age_seconds: 0,
        fresh_seconds: 0,
        stale_while_revalidate_seconds: 0,
        stale_if_error_seconds: None,
        never_stale: true,
    });
    match fetcher.store.freshen(stale, head).await {
        Ok(entry) => landing.announce(Outcome::Revalidated { entry, notes }),
        Err(_) => {
            // It was evicted while the origin was asked about it, so all of it is needed again.
            let whole = Ask {
                stale: None,
                ..ask.clone()
            };
            match ask_origin(fetcher, &whole).await {
                Ok(answer) => Box::pin(land(fetcher, &whole, landing, answer)).await,
                Err(failure) => landing.announce(Outcome::Failed(Arc::new(failure))),
            }
        }
    }
}

/// Takes the body in, for those who wait and for the cache.
async fn receive(
    fetcher: &Arc<Fetcher>,
    ask: &Ask,
    landing: &Landing,
    mut answer: Answer,
    mut head: Head,
    notes: OriginNotes,
) {
    if let Some(length) = announced_length(&answer.parts.headers) {
        if length > fetcher.object_bytes_max {
            return pass_on(fetcher, landing, answer, Vec::new(), NotStored::TooLarge);
        }
        let Some(room) = room(fetcher, length) else {
            return pass_on(fetcher, landing, answer, Vec::new(), NotStored::NoRoom);
        };
        head.body_bytes = length;
        let fill = Arc::new(Fill::new(head, notes, room));
        landing.announce(Outcome::Arriving(Arc::clone(&fill)));
        match pump(fetcher, ask, &fill, answer).await {
            Ok(()) => fill.complete(),
            Err(Incomplete) => return fill.break_off(),
        }
        return keep(fetcher, landing, &fill).await;
    }
    // Without a length nobody can be told how long the body is, and whether it is too long shows only as it arrives.
    let Some(mut held) = room(fetcher, 1) else {
        return pass_on(fetcher, landing, answer, Vec::new(), NotStored::NoRoom);
    };
    let (mut chunks, mut length) = (Vec::new(), 0_u64);
    loop {
        match next_chunk(&mut answer.incoming, fetcher.body_pause).await {
            Ok(Some(chunk)) => {
                length += chunk.len() as u64;
                let more = room(fetcher, chunk.len() as u64);
                chunks.push(chunk);
                if length > fetcher.object_bytes_max {
                    return pass_on(fetcher, landing, answer, chunks, NotStored::TooLarge);
                }
                let Some(more) = more else {
                    return pass_on(fetcher, landing, answer, chunks, NotStored::NoRoom);
                };
                held.merge(more);
            }
            Ok(None) => break,
            Err(Incomplete) => return landing.announce(nonsense()),
        }
    }
    head.body_bytes = length;
    let fill = Arc::new(Fill::new(head, notes, held));
    for chunk in chunks {
        fill.push(chunk);
    }
    fill.complete();
    landing.announce(Outcome::Arriving(Arc::clone(&fill)));
    keep(fetcher, landing, &fill).await;
}

/// Stores what has arrived, unless it was purged meanwhile.
async fn keep(fetcher: &Arc<Fetcher>, landing: &Landing, fill: &Fill) {
    let not_stored = |reason: NotStored| {
        metrics::counter!("edge_not_stored_total", "reason" => reason.name()).increment(1);
    };
    if landing.flight.is_tainted() {
        return not_stored(NotStored::Purged);
    }
    match fetcher.store.insert(fill.head.clone(), fill.chunks()).await {
        Ok(entry) => {
            // A purge that came between the two looks has not found this entry.
            if landing.flight.is_tainted() {
                fetcher.store.remove(&entry).await;
                not_stored(NotStored::Purged);
            }
        }
        Err(reason) => not_stored(reason),
    }
}

/// Moves the body from the origin to the readers. If one address of the origin breaks off, another one is asked for
/// the rest, as long as it has the same bytes for certain.
async fn pump(fetcher: &Fetcher, ask: &Ask, fill: &Fill, answer: Answer) -> Result<(), Incomplete> {
    let Answer {
        parts,
        mut incoming,
        permit: _permit,
        ..
    } = answer;
    let (mut received, mut may_resume) = (0_u64, true);
    let mut skip = 0_u64;
    loop {
        match next_chunk(&mut incoming, fetcher.body_pause).await {
            Ok(Some(mut chunk)) => {
                let skipped = skip.min(chunk.len() as u64);
                skip -= skipped;
                let chunk = chunk.split_off(usize::try_from(skipped).unwrap_or_default());
                received += chunk.len() as u64;
                if received > fill.head.body_bytes {
                    return Err(Incomplete);
                }
                if !chunk.is_empty() {
                    fill.push(chunk);
                }
            }
            Ok(None) if received == fill.head.body_bytes => return Ok(()),
            Ok(None) | Err(Incomplete) if may_resume => {
                may_resume = false;
                metrics::counter!("edge_origin_resumed_total").increment(1);
                let again = fetcher
                    .origin
                    .get(ask.key.as_str(), &outgoing(ask, None))
                    .await;
                let (resumed, rest) = again.map_err(|_| Incomplete)?.into_parts();
                let same = resumed.status == parts.status
                    && same_bytes(&resumed.headers, &parts.headers)
                    && announced_length(&resumed.headers) == Some(fill.head.body_bytes);
                if !same {
                    return Err(Incomplete);
                }
                incoming = rest;
                skip = received;
            }
            Ok(None) | Err(Incomplete) => return Err(Incomplete),
        }
    }
}

/// The next piece of a body; an error if it breaks off or pauses for too long.
async fn next_chunk(
    incoming: &mut Incoming,
    pause_max: Duration,
) -> Result<Option<Bytes>, Incomplete> {
    loop {
        match timeout(pause_max, incoming.frame()).await {
            Ok(Some(Ok(frame))) => {
                // Trailers are not passed on: nothing here uses them.
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(_))) | Err(_) => return Err(Incomplete),
        }
    }
}

/// Room for some bytes among all that is arriving.
fn room(fetcher: &Fetcher, bytes: u64) -> Option<OwnedSemaphorePermit> {
    let kib = u32::try_from(bytes.div_ceil(1024).max(1)).ok()?;
    Arc::clone(&fetcher.room).try_acquire_many_owned(kib).ok()
}

/// An answer as it is, piece by piece. `start` are the pieces that were read already.
fn passed_on(
    parts: &response::Parts,
    start: Vec<Bytes>,
    incoming: Incoming,
    permit: OwnedSemaphorePermit,
    pause_max: Duration,
) -> Response<EdgeBody> {
    let state = (start.into_iter(), incoming, permit);
    let pieces = stream::try_unfold(state, move |(mut start, mut incoming, permit)| async move {
        let chunk = match start.next() {
            Some(chunk) => Some(chunk),
            None => next_chunk(&mut incoming, pause_max).await?,
        };
        Ok::<_, Incomplete>(chunk.map(|chunk| (chunk, (start, incoming, permit))))
    });
    let mut response = Response::new(body::streamed(pieces));
    *response.status_mut() = parts.status;
    *response.headers_mut() = end_to_end(&parts.headers);
    if let Some(length) = announced_length(&parts.headers) {
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, length.into());
    }
    response
}

async fn server_error(parts: &response::Parts, incoming: Incoming, pause_max: Duration) -> Failure {
    let limited = Limited::new(incoming, ERROR_BODY_BYTES_MAX).collect();
    let Ok(Ok(collected)) = timeout(pause_max, limited).await else {
        return Failure::Nonsense;
    };
    let mut answer = Response::new(collected.to_bytes());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = of_object(&parts.headers);
    Failure::Status(answer)
}

fn nonsense() -> Outcome {
    Outcome::Failed(Arc::new(Failure::Nonsense))
}
