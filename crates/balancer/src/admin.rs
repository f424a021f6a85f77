//! What operators ask: /livez, /readyz, /metrics, and /backends as JSON and as a page.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use shop_net::listen::{Accepted, ListenSource};
use tokio::sync::Semaphore;

use crate::backend::Backend;
use crate::routes::Route;
use crate::service::Service;
use crate::{Shared, stats};

const CONNECTIONS_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Asks for /backends by itself, each second, so that the page never has to be made.
const PAGE: &str = include_str!("backends.html");
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Serves operators for as long as it is polled.
pub(crate) async fn serve(shared: Arc<Shared>, source: ListenSource) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut listeners = source.listeners();
    loop {
        // Never closed, so there is always a place in the end.
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let accepted = listeners.accept().await;
        let shared = shared.clone();
        tokio::spawn(async move {
            let _place = place;
            serve_connection(shared, accepted).await;
        });
    }
}

async fn serve_connection(shared: Arc<Shared>, accepted: Accepted) {
    let service = service_fn(move |request| {
        let response = answer(&shared, &request);
        async move { Ok::<_, Infallible>(response) }
    });
    // Whatever ends the connection is the operator's business.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_MAX)
        .serve_connection(TokioIo::new(accepted.stream), service)
        .await;
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    match request.uri().path() {
        "/" => {
            let mut page = respond(StatusCode::OK, "text/html; charset=utf-8", PAGE.to_owned());
            let policy = HeaderValue::from_static(PAGE_POLICY);
            page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
            page
        }
        "/livez" => respond(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/readyz" if shared.is_ready() => respond(StatusCode::OK, TEXT, readiness(shared)),
        "/readyz" => {
            let reason = if shared.is_isolated() {
                "not ready: no backend can be reached\n"
            } else {
                "not ready\n"
            };
            respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason.to_owned())
        }
        "/metrics" => {
            let metrics = stats::render(shared) + &shop_telemetry::admin::render_metrics();
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics)
        }
        "/backends" => respond(StatusCode::OK, "application/json", backends(shared).to_string()),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "not found\n".to_owned()),
    }
}

/// A file that can't be used doesn't make the process unready: it goes on with the routes that it has.
fn readiness(shared: &Shared) -> String {
    match &*shared.routes_file.refusal.load() {
        None => "ready\n".to_owned(),
        Some(refusal) => format!("ready\nroutes file refused: {refusal}\n"),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn backends(shared: &Shared) -> Value {
    let live = shared.live.load_full();
    let services: Vec<Value> = live
        .services
        .iter()
        .map(|service| service_view(shared, service))
        .collect();
    let table = &live.table;
    let routes: Vec<Value> = table
        .routes
        .iter()
        .map(|route| route_view(route, &table.services[route.service].name))
        .collect();
    let file = &shared.routes_file;
    let limits = &shared.backend_limits;
    json!({
        "instance": shared.instance,
        "ready": shared.is_ready(),
        "draining": shared.is_draining(),
        "isolated": shared.is_isolated(),
        "connections": shared.front.open(),
        "tunnels": shared.front.tunnels(),
        "in_flight": shared.admission.in_flight(),
        "backend_limits": {
            "in_flight_max": limits.in_flight_max,
            "waiting_max": limits.waiting_max,
            "wait_max_ms": limits.wait_max.as_millis() as u64,
        },
        "services": services,
        "routes": routes,
        "routes_file": {
            "reloads": file.reloads.load(Relaxed),
            "refusal": file.refusal.load().as_deref(),
        },
        "maintenance": live.table.settings.maintenance.is_some(),
    })
}

fn service_view(shared: &Shared, service: &Service) -> Value {
    let backends: Vec<Value> = service.backends().iter().map(|backend| backend_view(backend)).collect();
    json!({
        "name": service.name,
        "in_flight": service.in_flight.load(Relaxed),
        "in_flight_limit": shared.admission.limit_of(service),
        "waiting": service.queue.waiting(),
        "ejections_denied": service.ejections_denied.load(Relaxed),
        "backends": backends,
    })
}

fn backend_view(backend: &Backend) -> Value {
    let counters = &backend.counters;
    json!({
        "name": backend.name(),
        "address": backend.address,
        "health": backend.health().as_str(),
        "ejected": backend.is_ejected(),
        "ejected_for_ms": backend.ejected_for().as_millis() as u64,
        "ejections": counters.ejections.load(Relaxed),
        "weight": backend.weight(),
        "in_flight": backend.in_flight(),
        "latency_ms": backend.latency_us() / 1e3,
        "failure_rate": backend.failure_rate(),
        "requests": counters.requests.load(Relaxed),
        "failures": {
            "connect": counters.connect_failures.load(Relaxed),
            "reset": counters.resets.load(Relaxed),
            "timeout": counters.timeouts.load(Relaxed),
            "status": counters.server_errors.load(Relaxed),
        },
    })
}

fn route_view(route: &Route, service: &str) -> Value {
    json!({
        "name": route.name,
        "prefix": route.prefix,
        "service": service,
        "balance": route.balance.as_str(),
        "hedge_after_ms": route.hedge_after.map(|after| after.as_millis() as u64),
        "deadline_ms": route.deadline.as_millis() as u64,
        "class": format!("{:?}", route.class).to_lowercase(),
    })
}
