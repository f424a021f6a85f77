//! Taking in the origin's answer: for those who wait, for the cache, or for one client alone.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::header::CONTENT_LENGTH;
use http::{Response, response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::flight::{Answer, Landing, nonsense, outgoing};
use super::headers::{OriginNotes, announced_length, end_to_end, of_object};
use super::{Ask, Failure, Fetcher, Fill, Incomplete, Outcome, Pass};
use crate::body::{self, EdgeBody};
use crate::http_cache::conditional::same_bytes;
use crate::http_cache::freshness::NotStored;
use crate::http_cache::vary::Selection;
use crate::store::Head;

/// A page that says that something is wrong is not longer than this.
const ERROR_BODY_BYTES_MAX: usize = 64 * 1024;

/// Takes the body in, for those who wait and for the cache.
pub(super) async fn receive(
    fetcher: &Arc<Fetcher>,
    ask: &Ask,
    landing: &Landing,
    mut answer: Answer,
    mut head: Head,
    notes: OriginNotes,
) {
    if let Some(length) = announced_length(&answer.parts.headers) {
        if length > fetcher.object_bytes_max {
            return pass_on(fetcher, ask, landing, answer, Vec::new(), NotStored::TooLarge);
        }
        let Some(room) = room(fetcher, length) else {
            return pass_on(fetcher, ask, landing, answer, Vec::new(), NotStored::NoRoom);
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
        return pass_on(fetcher, ask, landing, answer, Vec::new(), NotStored::NoRoom);
    };
    let (mut chunks, mut length) = (Vec::new(), 0_u64);
    loop {
        match next_chunk(&mut answer.incoming, fetcher.body_pause).await {
            Ok(Some(chunk)) => {
                length += chunk.len() as u64;
                let more = room(fetcher, chunk.len() as u64);
                chunks.push(chunk);
                if length > fetcher.object_bytes_max {
                    return pass_on(fetcher, ask, landing, answer, chunks, NotStored::TooLarge);
                }
                let Some(more) = more else {
                    return pass_on(fetcher, ask, landing, answer, chunks, NotStored::NoRoom);
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
                let again = fetcher.origin.get(ask.key.as_str(), &outgoing(ask, None)).await;
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
async fn next_chunk(incoming: &mut Incoming, pause_max: Duration) -> Result<Option<Bytes>, Incomplete> {
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
pub(super) fn passed_on(
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
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    response
}

/// The origin's error page, for everybody who waited.
pub(super) async fn server_error(parts: &response::Parts, incoming: Incoming, pause_max: Duration) -> Failure {
    let limited = Limited::new(incoming, ERROR_BODY_BYTES_MAX).collect();
    let Ok(Ok(collected)) = timeout(pause_max, limited).await else {
        return Failure::Nonsense;
    };
    let mut answer = Response::new(collected.to_bytes());
    *answer.status_mut() = parts.status;
    *answer.headers_mut() = of_object(&parts.headers);
    Failure::Status(answer)
}

/// Hands the answer as it is to whoever takes it first.
pub(super) fn pass_on(
    fetcher: &Fetcher,
    ask: &Ask,
    landing: &Landing,
    answer: Answer,
    start: Vec<Bytes>,
    reason: NotStored,
) {
    let selection = Selection::of(&answer.parts.headers, &ask.request).ok();
    let response = passed_on(&answer.parts, start, answer.incoming, answer.permit, fetcher.body_pause);
    landing.announce(Outcome::Pass(Arc::new(Pass::new(reason, selection, response))));
}
