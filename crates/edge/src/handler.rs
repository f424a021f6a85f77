//! The frame around every request: refuse or serve it, sign the answer, write it down.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use shop_front::Client;

use crate::access_log::{Line, ThreadLog};
use crate::body::{self, EdgeBody};
use crate::cache_status::CacheStatus;
use crate::deliver::{self, Visit};
use crate::errand::{Answer, Errand};
use crate::fetch::Fetcher;
use crate::fetch::headers::announced_length;
use crate::request::{self, Refused};
use crate::request_metrics::RequestMetrics;
use crate::store::Store;

/// All that a request needs.
pub struct App {
    /// What this instance is called.
    pub instance: String,
    /// The cache.
    pub store: Arc<Store>,
    /// The way to the origin.
    pub fetcher: Arc<Fetcher>,
    /// What is counted.
    pub metrics: RequestMetrics,
    /// See [`crate::config::Config::stale_if_unreachable_seconds`].
    pub stale_if_unreachable_seconds: u64,
}

/// Answers a request. Never fails: what goes wrong becomes a response.
pub async fn handle<B>(
    app: Arc<App>,
    log: Rc<ThreadLog>,
    client: Rc<Client>,
    request: Request<B>,
) -> Response<EdgeBody> {
    let started = Instant::now();
    let (parts, _) = request.into_parts();
    let id = request::id(&parts.headers);
    let visit = Visit {
        method: &parts.method,
        headers: &parts.headers,
    };
    let path = if client.is_ambiguous() {
        Err(Refused::Framing)
    } else {
        request::path(&parts.method, &parts.uri)
    };
    let answer = match path {
        Ok(path) => Errand::new(&app, visit, path, &id).run().await,
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
    deliver::sign(&mut response, &app.instance, answer.cache, &answer.notes, &id, elapsed);
    if parts.method == Method::HEAD {
        *response.body_mut() = body::empty();
    }
    record(&app, &log, &parts, &id, &response, answer.cache, elapsed);
    response
}

fn record(
    app: &App,
    log: &ThreadLog,
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
    app.metrics.record(cache, status, bytes, elapsed);
    log.record(&Line {
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
    let announced = announced_length(response.headers());
    announced.or(response.body().size_hint().exact()).unwrap_or(0)
}
