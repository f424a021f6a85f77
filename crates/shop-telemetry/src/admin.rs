//! `/livez` and `/metrics`, the same for every process.

use std::sync::OnceLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();

pub(crate) fn install(handle: PrometheusHandle) {
    let _ = METRICS.set(handle);
}

/// Routes for operators: `/livez` says that the process runs, `/metrics` is what Prometheus scrapes.
/// `/readyz` is the process's own business.
pub fn router() -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/metrics", get(metrics))
}

/// All metrics in Prometheus's text format; empty if [`crate::init`] was not called.
pub fn render_metrics() -> String {
    METRICS.get().map(PrometheusHandle::render).unwrap_or_default()
}

async fn metrics() -> impl IntoResponse {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        render_metrics(),
    )
}
