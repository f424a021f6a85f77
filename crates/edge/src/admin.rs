//! What operators and the shop ask of this process: is it ready, what does it count, and "forget that".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use shop_front::Front;

use crate::handler::App;
use crate::store::CacheKey;

/// So many URLs and tags can be purged at once.
const PURGES_MAX: usize = 1000;
const BODY_BYTES_MAX: usize = 256 * 1024;

/// What the admin routes look at.
#[derive(Clone)]
pub struct AdminState {
    /// The process's parts.
    pub app: Arc<App>,
    /// For the number of open connections.
    pub front: Arc<Front>,
    /// Batches of log lines that were dropped.
    pub lost_batches: Arc<AtomicU64>,
    /// False from the moment on that the process shuts down.
    pub ready: Arc<AtomicBool>,
}

/// What to forget: `POST /purge`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    /// Paths, or URLs of which only the path counts.
    #[serde(default)]
    urls: Vec<String>,
    /// Tags that the origin gave by `Cache-Tag`.
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Purged {
    purged: usize,
}

/// `/livez`, `/readyz`, `/metrics`, `POST /purge`, and `PURGE /photos/...`.
pub fn router(state: AdminState) -> Router {
    Router::new()
        .route("/readyz", get(readyz))
        .route("/purge", post(purge))
        .fallback(purge_by_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(state.clone())
        .merge(shop_telemetry::admin::router())
        .layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                let state = state.clone();
                async move {
                    if request.uri().path() == "/metrics" {
                        gauge(&state);
                    }
                    next.run(request).await
                }
            },
        ))
}

async fn readyz(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    if state.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
    }
}

async fn purge(State(state): State<AdminState>, Json(purge): Json<Purge>) -> Response {
    if purge.urls.len() + purge.tags.len() > PURGES_MAX {
        let text = format!("at most {PURGES_MAX} URLs and tags at once\n");
        return (StatusCode::PAYLOAD_TOO_LARGE, text).into_response();
    }
    let mut purged = 0;
    for url in &purge.urls {
        let Ok(url) = url.parse::<Uri>() else {
            return (StatusCode::BAD_REQUEST, format!("not a URL: {url}\n")).into_response();
        };
        purged += state.app.fetcher.purge_key(&CacheKey::new(url.path())).await;
    }
    for tag in &purge.tags {
        purged += state.app.fetcher.purge_tag(tag).await;
    }
    metrics::counter!("edge_purged_total").increment(purged as u64);
    tracing::info!(urls = purge.urls.len(), tags = purge.tags.len(), purged, "Purged");
    Json(Purged { purged }).into_response()
}

async fn purge_by_method(State(state): State<AdminState>, method: Method, uri: Uri) -> Response {
    if method.as_str() != "PURGE" {
        return StatusCode::NOT_FOUND.into_response();
    }
    purge(
        State(state),
        Json(Purge {
            urls: vec![uri.path().to_owned()],
            tags: Vec::new(),
        }),
    )
    .await
}

fn gauge(state: &AdminState) {
    let usage = state.app.store.usage();
    // A gauge is a float; a cache is smaller than what a float counts exactly.
    metrics::gauge!("edge_cache_objects").set(usage.objects as f64);
    metrics::gauge!("edge_cache_disk_bytes").set(usage.disk_bytes as f64);
    metrics::gauge!("edge_cache_hot_bytes").set(usage.hot_bytes as f64);
    metrics::gauge!("edge_flights").set(state.app.fetcher.flights() as f64);
    metrics::gauge!("edge_connections").set(state.front.open() as f64);
    metrics::gauge!("edge_connections_parked").set(state.front.parked() as f64);
    metrics::counter!("edge_log_batches_lost_total").absolute(state.lost_batches.load(Ordering::Relaxed));
}
