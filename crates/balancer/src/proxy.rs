//! The life of a request: it is checked, let in, sent to a service, and its answer signed.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Side;
use crate::body::{RequestBody, ResponseBody, StreamingBody, Upload};
use crate::deadline;
use crate::exchange::{Exchange, start_of};
use crate::forward::{Answer, Order, Repeatable};
use crate::headers::{self, Failover, IDEMPOTENCY_KEY};
use crate::identity::Identity;
use crate::path;
use crate::refusal::{self, Refusal};
use crate::worker::Worker;

const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Bodies of repeatable requests up to this size are kept, so that they can be sent again.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
const KEPT_BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What all requests of one client connection have in common.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) side: Side,
    pub(crate) peer: SocketAddr,
    /// Set once a request of ambiguous length was seen on the connection.
    pub(crate) is_ambiguous: Rc<Cell<bool>>,
}

/// Answers one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (parts, body) = request.into_parts();
    let identity = Identity::of(&parts.headers);
    let mut exchange = Exchange::begin(
        worker.clone(),
        client.side,
        parts.method.clone(),
        parts.uri.clone(),
        identity,
    );
    let wants_page = refusal::prefers_page(&parts.headers);
    let is_chunked = parts.headers.contains_key(TRANSFER_ENCODING);
    let mut failovers = Vec::new();
    let outcome = pass_on(&worker, &client, parts, body, &mut exchange, &mut failovers).await;
    let mut response = match outcome {
        Ok(answer) => {
            let (mut parts, incoming) = answer.response.into_parts();
            parts.version = Version::HTTP_11;
            exchange.status = parts.status;
            headers::forward_response(&mut parts.headers);
            sign(&mut parts.headers, &worker, &exchange, &failovers);
            Response::from_parts(parts, ResponseBody::from_backend(incoming, answer.lease, exchange))
        }
        Err(refusal) => {
            count(&worker, &refusal);
            let own = refusal.respond(wants_page, start_of(exchange.uri.path()), &exchange.identity.request_id);
            let (mut parts, body) = own.into_parts();
            exchange.status = parts.status;
            sign(&mut parts.headers, &worker, &exchange, &failovers);
            Response::from_parts(parts, ResponseBody::own(body, exchange))
        }
    };
    // From a balancer that reaches nobody its clients shall go to another.
    if is_chunked || worker.shared.is_draining() || worker.shared.is_isolated() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

async fn pass_on(
    worker: &Rc<Worker>,
    client: &Client,
    mut parts: Parts,
    body: Incoming,
    exchange: &mut Exchange,
    failovers: &mut Vec<Failover>,
) -> Result<Answer, Refusal> {
    let shared = &worker.shared;
    check_framing(client, &parts)?;
    check_method(&parts.method)?;
    settle_host(&mut parts)?;
    let target = target_of(&parts.uri)?;
    let path = path::normalise(target.path()).map_err(Refusal::BadPath)?;
    let route_index = shared
        .table
        .find(&path, client.side == Side::Private)
        .ok_or(Refusal::UnknownPath)?;
    exchange.route = Some(route_index);
    let route = &shared.table.routes[route_index];
    let service = &shared.services[route.service];
    if body.size_hint().lower() > route.body_bytes_max {
        return Err(Refusal::BodyTooLarge {
            bytes_max: route.body_bytes_max,
        });
    }
    exchange.permit = Some(
        shared
            .admission
            .admit(service, route.class)
            .map_err(|_| Refusal::Overloaded)?,
    );
    shared.budget.deposit();

    let upload = Rc::new(Cell::new(Upload::AwaitsBackend));
    let is_repeatable = parts.method.is_safe() || (route.keyed && parts.headers.contains_key(IDEMPOTENCY_KEY));
    let body = if body.is_end_stream() {
        RequestBody::Empty
    } else if is_repeatable && body.size_hint().exact().is_some_and(|bytes| bytes <= KEPT_BYTES_MAX) {
        RequestBody::Kept(keep(body).await?)
    } else {
        RequestBody::Streaming(StreamingBody::new(body, route.body_bytes_max, upload.clone()))
    };
    let deadline = deadline::of(&parts.headers, client.side, exchange.started, route.deadline);
    headers::forward_request(
        &mut parts.headers,
        client.side,
        client.peer,
        &exchange.identity,
        &shared.via,
    );
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = parts.headers;
    request.extensions_mut().insert(Repeatable(is_repeatable));
    let order = Order {
        worker,
        service,
        balance: &route.balance,
        hedge_after: route.hedge_after,
        deadline,
        upload,
    };
    order.send(exchange, request, failovers).await
}

fn check_framing(client: &Client, parts: &Parts) -> Result<(), Refusal> {
    if client.is_ambiguous.get() {
        return Err(Refusal::AmbiguousLength);
    }
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let is_understood = match codings.next() {
        None => true,
        Some(coding) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") && codings.next().is_none(),
    };
    if is_understood {
        Ok(())
    } else {
        Err(Refusal::UnknownCoding)
    }
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            Ok(())
        }
        _ => Err(Refusal::MethodNotAllowed),
    }
}

/// A request has one host: that of its target if it names one, else that of its only `Host` line.
fn settle_host(parts: &mut Parts) -> Result<(), Refusal> {
    if let Some(authority) = parts.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::BadHost)?;
        parts.headers.insert(HOST, host);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let is_sound = match (hosts.next(), hosts.next()) {
        (None, _) => parts.version == Version::HTTP_10,
        (Some(host), None) => {
            let authority = Authority::try_from(host.as_bytes());
            authority.is_ok_and(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
        }
        _ => false,
    };
    if !is_sound {
        return Err(Refusal::BadHost);
    }
    // HTTP/1.1 towards the service needs one even where the client's HTTP/1.0 doesn't.
    parts.headers.entry(HOST).or_insert(HeaderValue::from_static("shop"));
    Ok(())
}

fn target_of(uri: &Uri) -> Result<PathAndQuery, Refusal> {
    let target = uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    if target.as_str().len() > TARGET_BYTES_MAX {
        Err(Refusal::TargetTooLong)
    } else {
        Ok(target)
    }
}

/// The size was checked against the limit before, by its declared length, which hyper holds the client to.
async fn keep(body: Incoming) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(KEPT_BODY_DEADLINE, body.collect()).await {
        Err(_) => Err(Refusal::BodyTooSlow),
        Ok(Err(_)) => Err(Refusal::BodyBroken),
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
    }
}

fn sign(headers: &mut http::HeaderMap, worker: &Worker, exchange: &Exchange, failovers: &[Failover]) {
    let elapsed = exchange.started.elapsed();
    let request_id = &exchange.identity.request_id;
    headers::sign_response(
        headers,
        exchange.side,
        &worker.shared.instance,
        elapsed,
        failovers,
        request_id,
    );
}

fn count(worker: &Worker, refusal: &Refusal) {
    let stats = &worker.shared.stats;
    let counter = if *refusal == Refusal::Overloaded {
        &stats.shed
    } else {
        &stats.refused
    };
    counter.fetch_add(1, Relaxed);
}
