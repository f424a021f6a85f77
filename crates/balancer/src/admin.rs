//! What operators ask: /livez, /readyz, /metrics and /backends.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use shop_net::listen::{Accepted, ListenSource};
use tokio::sync::Semaphore;

use crate::live::Live;
use crate::{Shared, stats};

const CONNECTIONS_MAX: usize = 64;
const IDLE_MAX: Duration = Duration::from_secs(30);

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
        "/livez" => respond(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/readyz" if shared.is_ready() => respond(StatusCode::OK, TEXT, readiness(shared)),
        "/readyz" => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".to_owned()),
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
        .map(|service| {
            let backends: Vec<Value> = service
                .backends()
                .iter()
                .map(|backend| {
                    let counters = &backend.counters;
                    json!({
                        "name": backend.name(),
                        "address": backend.address,
                        "health": backend.health().as_str(),
                        "ejected": backend.is_ejected(),
                        "in_flight": backend.in_flight(),
                        "latency_ms": backend.latency_us() / 1e3,
                        "requests": counters.requests.load(Relaxed),
                        "failures": {
                            "connect": counters.connect_failures.load(Relaxed),
                            "reset": counters.resets.load(Relaxed),
                            "timeout": counters.timeouts.load(Relaxed),
                            "status": counters.server_errors.load(Relaxed),
                        },
                    })
                })
                .collect();
            json!({
                "name": service.name,
                "in_flight": service.in_flight.load(Relaxed),
                "in_flight_limit": shared.admission.limit_of(service),
                "backends": backends,
            })
        })
        .collect();
    json!({
        "instance": shared.instance,
        "ready": shared.is_ready(),
        "draining": shared.is_draining(),
        "connections": shared.connections.load(Relaxed),
        "in_flight": shared.admission.in_flight(),
        "services": services,
        "routes": routes(shared, &live),
    })
}

fn routes(shared: &Shared, live: &Live) -> Value {
    let table = &live.table;
    let routes = table.routes.iter().map(|route| {
        json!({
            "name": route.name,
            "service": table.services[route.service].name,
            "class": format!("{:?}", route.class).to_lowercase(),
        })
    });
    let file = &shared.routes_file;
    json!({
        "in_force": routes.collect::<Vec<_>>(),
        "reloads": file.reloads.load(Relaxed),
        "refusal": file.refusal.load().as_deref(),
        "maintenance": table.settings.maintenance.is_some(),
    })
}
