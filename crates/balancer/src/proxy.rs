//! The life of a request: it is checked, let in, sent to a service, and its answer signed.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::Side;
use crate::body::{RequestBody, ResponseBody, StreamingBody, Upload};
use crate::deadline;
use crate::exchange::{Exchange, start_of};
use crate::forward::{Answer, Order};
use crate::headers::{self, Failover, IDEMPOTENCY_KEY};
use crate::identity::Identity;
use crate::path::{self, PathError};
use crate::refusal::{self, Refusal};
use crate::upgrade::{self, Wish};
use crate::worker::Worker;

const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Bodies of repeatable requests up to this size are kept, so that they can be sent again.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
const KEPT_BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What all requests of one client connection have in common.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) side: Side,
    pub(crate) connection: shop_front::Client,
}

/// Answers one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let identity = Identity::of(&parts.headers);
    let mut exchange = Exchange::begin(
        worker.clone(),
        client.side,
        parts.method.clone(),
        parts.uri.clone(),
        identity,
    );
    let wants_page = refusal::prefers_page(&parts.headers);
    let is_http2 = parts.version == Version::HTTP_2;
    let wish = Wish::of(&mut parts);
    let is_chunked = parts.headers.contains_key(TRANSFER_ENCODING);
    let mut failovers = Vec::new();
    let tunnel = match &wish {
        Some(_) => client.connection.reserve_tunnel().map(Some).ok_or(Refusal::Overloaded),
        None => Ok(None),
    };
    let (tunnel, outcome) = match tunnel {
        Err(refusal) => (None, Err(refusal)),
        Ok(tunnel) => {
            let asks_upgrade = tunnel.is_some();
            let order = pass_on(
                &worker,
                &client,
                parts,
                body,
                asks_upgrade,
                &mut exchange,
                &mut failovers,
            );
            (tunnel, order.await)
        }
    };
    let mut response = match outcome {
        Ok(answer) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => match (wish, tunnel) {
            (Some(wish), Some(tunnel)) => return Ok(wish.grant(tunnel, answer, &worker, exchange, &failovers)),
            _ => refuse(&Refusal::NoAnswer, wants_page, &worker, exchange, &failovers),
        },
        Ok(answer) => {
            let (mut parts, incoming) = answer.response.into_parts();
            parts.version = Version::HTTP_11;
            exchange.status = parts.status;
            headers::forward_response(&mut parts.headers);
            sign(&mut parts.headers, &worker, &exchange, &failovers);
            Response::from_parts(parts, ResponseBody::from_backend(incoming, answer.lease, exchange))
        }
        Err(refusal) => refuse(&refusal, wants_page, &worker, exchange, &failovers),
    };
    if is_http2 {
        // Which has its own way to close, and knows no such header.
        response.headers_mut().remove(CONNECTION);
    } else if is_chunked || worker.shared.is_draining() || worker.shared.is_isolated() {
        // From a balancer that reaches nobody its clients shall go to another.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn refuse(
    refusal: &Refusal,
    wants_page: bool,
    worker: &Worker,
    mut exchange: Exchange,
    failovers: &[Failover],
) -> Response<ResponseBody> {
    count(worker, refusal);
    let own = refusal.respond(wants_page, start_of(exchange.uri.path()), &exchange.identity.request_id);
    let (mut parts, body) = own.into_parts();
    exchange.status = parts.status;
    sign(&mut parts.headers, worker, &exchange, failovers);
    Response::from_parts(parts, ResponseBody::own(body, exchange))
}

async fn pass_on(
    worker: &Rc<Worker>,
    client: &Client,
    mut parts: Parts,
    body: Incoming,
    asks_upgrade: bool,
    exchange: &mut Exchange,
    failovers: &mut Vec<Failover>,
) -> Result<Answer, Refusal> {
    let shared = &worker.shared;
    check_framing(client, &parts)?;
    check_method(&parts.method)?;
    check_expectation(&parts)?;
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
        client.connection.peer,
        client.connection.is_tls,
        &exchange.identity,
        &shared.via,
    );
    if body.size_hint().exact().is_none() {
        // Without it, hyper takes the body of a GET for none.
        parts
            .headers
            .insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if asks_upgrade {
        upgrade::ask(&mut parts.headers);
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = parts.headers;
    let order = Order {
        worker,
        service,
        balance: &route.balance,
        hedge_after: route.hedge_after,
        deadline,
        is_repeatable,
        upload,
    };
    order.send(exchange, request, failovers).await
}

fn check_framing(client: &Client, parts: &Parts) -> Result<(), Refusal> {
    if client.connection.is_ambiguous() {
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

/// "100-continue" is answered when the body is first asked for: when it is known that somebody wants it.
fn check_expectation(parts: &Parts) -> Result<(), Refusal> {
    let mut expectations = parts.headers.get_all(EXPECT).iter();
    if expectations.all(|expectation| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        Ok(())
    } else {
        Err(Refusal::UnknownExpectation)
    }
}

/// A request has one host: that of its target if it names one, else that of its only `Host` line.
fn settle_host(parts: &mut Parts) -> Result<(), Refusal> {
    if parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(Refusal::BadHost);
    }
    if let Some(authority) = parts.uri.authority() {
        // "GET shop HTTP/1.1": a host to some, a path to others.
        if parts.uri.scheme().is_none() {
            return Err(Refusal::BadPath(PathError::NotAbsolute));
        }
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

pub(crate) fn sign(headers: &mut http::HeaderMap, worker: &Worker, exchange: &Exchange, failovers: &[Failover]) {
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
