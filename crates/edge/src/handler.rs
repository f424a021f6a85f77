//! The life of a request: look up, perhaps fetch, deliver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::access_log::AccessLog;
use crate::body::{self, EdgeBody};
use crate::cache_status::{CacheStatus, Forward};
use crate::deliver::{self, Source, Visit};
use crate::fetch::headers::OriginNotes;
use crate::fetch::{Ask, Failure, Fetcher, Outcome};
use crate::http_cache::cache_control::CacheControl;
use crate::http_cache::freshness::{Freshness, Lifetime};
use crate::http_cache::unix_now;
use crate::http_cache::vary::Selection;
use crate::request;
use crate::store::{CacheKey, Entry, Found, Store, StoredBody};

/// A look-up is repeated if what it found got lost or was somebody else's variant; in the end the origin answers.
const ROUNDS_MAX: u32 = 3;

/// All that a request needs.
pub struct App {
    /// What this instance is called.
    pub instance: String,
    /// The cache.
    pub store: Arc<Store>,
    /// The way to the origin.
    pub fetcher: Arc<Fetcher>,
    /// Where requests are logged.
    pub access_log: AccessLog,
    /// See [`crate::config::Config::stale_if_unreachable_seconds`].
    pub stale_if_unreachable_seconds: u64,
}

/// A response on its way to the client, and what the cache did about it.
struct Answer {
    response: Response<EdgeBody>,
    cache: CacheStatus,
    notes: OriginNotes,
}

impl Answer {
    fn new(response: Response<EdgeBody>, cache: CacheStatus) -> Self {
        Self {
            response,
            cache,
            notes: OriginNotes::default(),
        }
    }
}

/// Answers a request. Never fails: what goes wrong becomes a response.
pub async fn handle<B>(app: Arc<App>, request: Request<B>) -> Response<EdgeBody> {
    let started = Instant::now();
    let (parts, _) = request.into_parts();
    let id = request::id(&parts.headers);
    let visit = Visit {
        method: &parts.method,
        headers: &parts.headers,
    };
    let answer = match request::path(&parts.method, &parts.uri) {
        Ok(path) => answer(&app, visit, path, &id).await,
        Err(refused) => {
            let (status, slug, title) = refused.problem();
            let mut response = deliver::problem(status, slug, title, parts.uri.path(), &id);
            if status == StatusCode::METHOD_NOT_ALLOWED {
                response
                    .headers_mut()
                    .insert(http::header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            Answer::new(response, CacheStatus::Refused)
        }
    };
    let elapsed = started.elapsed();
    let mut response = answer.response;
    deliver::sign(
        &mut response,
        &app.instance,
        answer.cache,
        &answer.notes,
        &id,
        elapsed,
    );
    if parts.method == Method::HEAD {
        *response.body_mut() = body::empty();
    }
    record(&app, &parts, &id, &response, answer.cache, elapsed);
    response
}

async fn answer(app: &Arc<App>, visit: Visit<'_>, path: &str, id: &HeaderValue) -> Answer {
    let key = CacheKey::new(path);
    let via = HeaderValue::from_str(&format!("1.1 {}", app.instance))
        .unwrap_or(HeaderValue::from_static("1.1 edge"));
    let ask = |stale: Option<Arc<Entry>>, variant: Option<Selection>| Ask {
        key: key.clone(),
        request: visit.headers.clone(),
        forwarded: request::forwarded(visit.headers, id, &via),
        variant,
        stale,
    };
    let mut variant = None;
    for _ in 0..ROUNDS_MAX {
        let now = unix_now();
        let (why, stale) = match app.store.find(&key, visit.headers) {
            Found::Entry(entry) => {
                let lifetime = entry.head.lifetime;
                if lifetime.usable_while_revalidating(now) {
                    if matches!(lifetime.freshness(now), Freshness::Stale { .. }) {
                        app.fetcher
                            .refresh(ask(Some(Arc::clone(&entry)), variant_of(&entry)));
                    }
                    let cache = CacheStatus::Hit {
                        ttl_seconds: ttl_seconds(&lifetime, now),
                    };
                    match stored(app, visit, &entry, cache).await {
                        Some(answer) => return answer,
                        None => continue,
                    }
                }
                variant = variant_of(&entry);
                (Forward::Stale, Some(entry))
            }
            Found::OtherVariant(selection) => {
                variant = Some(selection);
                (Forward::VaryMiss, None)
            }
            Found::Nothing => (Forward::UriMiss, None),
        };
        if CacheControl::of(visit.headers).only_if_cached {
            let (status, slug, title) = (
                StatusCode::GATEWAY_TIMEOUT,
                "not-cached",
                "This is not in the cache",
            );
            return Answer::new(
                deliver::problem(status, slug, title, path, id),
                CacheStatus::OnlyIfCached,
            );
        }
        let ask = ask(stale, variant.clone());
        let fetched = app.fetcher.fetch(ask.clone()).await;
        let collapsed = fetched.collapsed;
        match fetched.outcome {
            Outcome::Revalidated { entry, notes }
                if entry.head.selection.matches(visit.headers) =>
            {
                let ttl_seconds = ttl_seconds(&entry.head.lifetime, unix_now());
                let cache = CacheStatus::Revalidated {
                    ttl_seconds,
                    collapsed,
                };
                if let Some(answer) = stored(app, visit, &entry, cache).await {
                    return Answer { notes, ..answer };
                }
            }
            Outcome::Arriving(fill) if fill.head.selection.matches(visit.headers) => {
                let cache = CacheStatus::Miss {
                    why,
                    status: fill.head.status,
                    collapsed,
                };
                let (head, notes) = (&fill.head, fill.notes.clone());
                let response =
                    deliver::object(visit, head, Source::Arriving(Arc::clone(&fill))).await;
                return Answer {
                    response,
                    cache,
                    notes,
                };
            }
            // Somebody else's request was joined, and it was for another variant.
            Outcome::Revalidated { entry, .. } => {
                variant = Some(entry.head.selection.again_for(visit.headers))
            }
            Outcome::Arriving(fill) => variant = Some(fill.head.selection.again_for(visit.headers)),
            Outcome::Pass(pass) => {
                return match pass.take() {
                    Some(response) => passed(response, why, Some(pass.reason)),
                    None => alone(app, &ask, why, path, id).await,
                };
            }
            Outcome::Failed(failure) => {
                return failed(app, visit, &ask, &failure, why, path, id).await;
            }
        }
    }
    alone(app, &ask(None, variant), Forward::UriMiss, path, id).await
}

/// Delivers what is stored; none if its body got lost.
async fn stored(
    app: &Arc<App>,
    visit: Visit<'_>,
    entry: &Arc<Entry>,
    cache: CacheStatus,
) -> Option<Answer> {
    let source = if deliver::needs_body(visit, &entry.head) {
        match app.store.body(entry).await? {
            StoredBody::Memory(bytes) => Source::Memory(bytes),
            StoredBody::File(file) => Source::File(file),
        }
    } else {
        Source::None
    };
    Some(Answer::new(
        deliver::object(visit, &entry.head, source).await,
        cache,
    ))
}

/// Fetches for this client alone.
async fn alone(app: &Arc<App>, ask: &Ask, why: Forward, path: &str, id: &HeaderValue) -> Answer {
    match app.fetcher.fetch_alone(ask).await {
        Ok(response) => passed(response, why, None),
        Err(failure) => error(&failure, why, path, id),
    }
}

fn passed(
    response: Response<EdgeBody>,
    why: Forward,
    reason: Option<crate::http_cache::freshness::NotStored>,
) -> Answer {
    let notes = OriginNotes::of(response.headers());
    let cache = CacheStatus::Pass {
        why,
        status: response.status(),
        reason,
    };
    Answer {
        response,
        cache,
        notes,
    }
}

/// The origin failed: something stale stands in, if it may.
async fn failed(
    app: &Arc<App>,
    visit: Visit<'_>,
    ask: &Ask,
    failure: &Failure,
    why: Forward,
    path: &str,
    id: &HeaderValue,
) -> Answer {
    let now = unix_now();
    let usable = |entry: &&Arc<Entry>| {
        entry
            .head
            .lifetime
            .usable_on_error(failure.kind(), app.stale_if_unreachable_seconds, now)
    };
    if let Some(entry) = ask.stale.as_ref().filter(usable) {
        let status = if let Failure::Status(answer) = failure {
            Some(answer.status())
        } else {
            None
        };
        let cache = CacheStatus::StaleOnError {
            ttl_seconds: ttl_seconds(&entry.head.lifetime, now),
            status,
        };
        if let Some(answer) = stored(app, visit, entry, cache).await {
            return answer;
        }
    }
    error(failure, why, path, id)
}

fn error(failure: &Failure, why: Forward, path: &str, id: &HeaderValue) -> Answer {
    if let Failure::Status(answer) = failure {
        let cache = CacheStatus::Error {
            why,
            status: Some(answer.status()),
        };
        return Answer::new(answer.clone().map(body::full), cache);
    }
    let (slug, title) = match failure.status() {
        StatusCode::SERVICE_UNAVAILABLE => (
            "overloaded",
            "Too much at once: please try again in a moment",
        ),
        StatusCode::GATEWAY_TIMEOUT => ("origin-timeout", "The shop did not answer in time"),
        _ => ("origin-unreachable", "The shop can't be reached just now"),
    };
    let mut response = deliver::problem(failure.status(), slug, title, path, id);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    Answer::new(response, CacheStatus::Error { why, status: None })
}

/// The flight that a known variant is fetched by.
fn variant_of(entry: &Entry) -> Option<Selection> {
    let selection = &entry.head.selection;
    (!selection.is_empty()).then(|| selection.clone())
}

fn ttl_seconds(lifetime: &Lifetime, now: u64) -> i64 {
    match lifetime.freshness(now) {
        Freshness::Fresh { ttl_seconds } => i64::try_from(ttl_seconds).unwrap_or(i64::MAX),
        Freshness::Stale { by_seconds } => -i64::try_from(by_seconds).unwrap_or(i64::MAX),
    }
}

fn record(
    app: &App,
    request: &http::request::Parts,
    id: &HeaderValue,
    response: &Response<EdgeBody>,
    cache: CacheStatus,
    elapsed: Duration,
) {
    let status = response.status();
    let bytes = if request.method == Method::HEAD {
        0
    } else {
        body_bytes(response)
    };
    metrics::counter!("edge_requests_total", "cache" => cache.word(), "class" => class(status))
        .increment(1);
    metrics::counter!("edge_response_bytes_total", "cache" => cache.word()).increment(bytes);
    metrics::histogram!("edge_request_seconds", "cache" => cache.word())
        .record(elapsed.as_secs_f64());
    app.access_log.record(&crate::access_log::Line {
        request_id: id.to_str().unwrap_or_default(),
        trace_id: request::trace_id(&request.headers),
        method: request.method.as_str(),
        path: request.uri.path(),
        status: status.as_u16(),
        cache: cache.word(),
        bytes,
        ms: elapsed.as_secs_f64() * 1000.0,
    });
}

fn body_bytes(response: &Response<EdgeBody>) -> u64 {
    use http_body::Body as _;
    let announced = crate::fetch::headers::announced_length(response.headers());
    announced
        .or(response.body().size_hint().exact())
        .unwrap_or(0)
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
