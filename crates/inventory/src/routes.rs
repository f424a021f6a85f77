//! The whole route table.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post, put};
use http::StatusCode;
use shop_web::app;

use crate::domain::original;
use crate::state::AppState;

pub mod admin;
pub mod list_query;
pub mod pages;
pub mod photos;
pub mod products;
pub mod reports;
pub mod reservations;

/// An upload's body: the file, and some room for the form around it.
const UPLOAD_BYTES_MAX: usize = original::BYTES_MAX + 64 * 1024;
/// A slow line and a large file need longer than a page.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(60);

/// All routes with the frame around them.
pub fn router(app: AppState) -> Router {
    let web = app.web.clone();
    let shop = Router::new()
        .route("/", get(pages::home))
        .route("/categories/{slug}", get(pages::category))
        .route("/search", get(pages::search))
        .route("/products/{id}", get(pages::product))
        .route("/admin/products", get(admin::list))
        .route("/admin/products/{id}", get(admin::show).post(admin::edit))
        .route("/admin/products/{id}/stock", post(admin::restock))
        .route("/admin/products/{id}/photo/edits", post(admin::edit_photo))
        .route("/api/products", get(products::list))
        .route("/api/products/{id}", get(products::show))
        .route("/api/products/{id}/stock", get(products::stock))
        .route("/api/photos/{id}", get(photos::show))
        .route("/api/photos/{id}/versions", post(photos::add_version))
        .route("/photos/{id}/{version}/{name}", get(photos::picture))
        .route("/internal/products", get(products::for_order))
        .route("/internal/reservations/{order_id}", put(reservations::reserve))
        .route("/internal/reservations/{order_id}/sell", post(reservations::sell))
        .route("/internal/reservations/{order_id}/release", post(reservations::release))
        .route("/internal/photos/{id}/versions/{version}", put(reports::ready))
        .route("/internal/photos/{id}/versions/{version}/failed", post(reports::failed))
        .merge(shop_web::assets::router())
        .with_state(app.clone());
    let schema = app.schema.clone();
    let uploads = Router::new()
        .route("/api/photos", post(photos::upload))
        .route("/admin/products/{id}/photo", post(admin::upload))
        .layer(DefaultBodyLimit::max(UPLOAD_BYTES_MAX))
        .with_state(app);
    // The process alone is what this speaks of: a database that is down is no reason to take every instance out. One
    // that lacks tables that this process needs is: older instances can serve.
    let ready = move || {
        let outdated = schema.outdated();
        async move {
            match outdated {
                Some(outdated) => (StatusCode::SERVICE_UNAVAILABLE, outdated),
                None => (StatusCode::OK, "Ready".to_owned()),
            }
        }
    };
    let health = Router::new().route("/readyz", get(ready));
    app::router_layers(shop, web.clone())
        .merge(app::layers_with_deadline(uploads, web, UPLOAD_DEADLINE))
        .merge(health)
        .merge(shop_telemetry::admin::router())
}
