//! Makes the pictures that pages show from the originals that people upload.
//!
//! A worker has no database: it takes a message, reads the original, stores the variants, and reports to inventory. All
//! three are idempotent by photo and version, so that a message may come twice.

pub mod config;
pub mod pipeline;
pub mod process;
pub mod worker;

use axum::Router;
use axum::routing::get;
use http::StatusCode;

/// Health and metrics. Ready is who runs: a broker that is away makes photos late, and the process no worse.
pub fn admin_router() -> Router {
    Router::new()
        .route("/readyz", get(async || StatusCode::OK))
        .merge(shop_telemetry::admin::router())
}
