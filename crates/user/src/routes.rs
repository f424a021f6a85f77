//! Every address that this service answers.

mod account;
mod admin;
mod cart;
mod checkout;
mod login;
mod orders;
mod register;
mod sessions;
mod users;
mod view;

use axum::Router;
use axum::routing::{delete, get, post, put};
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::state::AppState;

/// The whole service. It calls itself not ready once `shutdown` is cancelled, or while a database lacks tables that it
/// needs; a database that is down is no reason.
pub fn router(state: AppState, shutdown: CancellationToken) -> Router {
    let web = state.web.clone();
    let schema = state.schema.clone();
    let shop = Router::new()
        .route("/register", get(register::page).post(register::submit))
        .route("/login", get(login::page).post(login::submit))
        .route("/logout", post(login::log_out))
        .route("/account", get(account::page).post(account::submit))
        .route("/cart", get(cart::page).post(cart::submit))
        .route("/checkout", get(checkout::page).post(checkout::submit))
        .route("/orders", get(orders::page))
        .route("/orders/{id}", get(orders::order_page))
        .route("/admin/orders", get(admin::orders))
        .route("/api/users", post(users::create))
        .route("/api/users/{id}", get(users::show))
        .route("/api/sessions", post(sessions::create))
        .route("/api/sessions/current", delete(sessions::destroy))
        .route("/api/me", get(sessions::me))
        .route("/api/cart", get(cart::show))
        .route("/api/cart/items/{product_id}", put(cart::set).delete(cart::remove))
        .route("/api/orders", get(orders::list).post(checkout::create))
        .route("/api/orders/{id}", get(orders::show))
        .with_state(state)
        // All of it is about one person.
        .layer(SetResponseHeaderLayer::if_not_present(
            header::CACHE_CONTROL,
            HeaderValue::from_static("private, no-store"),
        ));
    let ready = move || {
        let obstacle = match schema.outdated() {
            _ if shutdown.is_cancelled() => Some("Stopping".to_owned()),
            outdated => outdated,
        };
        async move {
            match obstacle {
                Some(obstacle) => (StatusCode::SERVICE_UNAVAILABLE, obstacle),
                None => (StatusCode::OK, "Ready".to_owned()),
            }
        }
    };
    shop_web::app::router_layers(shop, web)
        .merge(shop_telemetry::admin::router())
        .route("/readyz", get(ready))
}
