//! The life of a request: it is checked, let in, sent to a service, and its answer signed.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::body::{RequestBody, ResponseBody, StreamingBody, Upload};
use crate::compress::{self, FrontBody};
use crate::deadline;
use crate::exchange::{Exchange, start_of};
use crate::forward::{Answer, Order, PATIENCE, PATIENCE_KEYED};
use crate::forwarded::{self, Hop};
use crate::gate;
use crate::headers::{self, Failover, IDEMPOTENCY_KEY};
use crate::identity::Identity;
use crate::live::Live;
use crate::path::{self, PathError};
use crate::policy;
use crate::refusal::{self, Refusal};
use crate::routes::{Asked, Class, Found, Keyed, Route};
use crate::service::Service;
use crate::upgrade::Wish;
use crate::upstream::Head;
use crate::worker::Worker;
use crate::{Shared, Side};

const TARGET_BYTES_MAX: usize = 8 * 1024;
/// Bodies of repeatable requests up to this size are kept, so that they can be sent again.
const KEPT_BYTES_MAX: u64 = 64 * 1024;
const KEPT_BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What all requests of one client connection have in common.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) side: Side,
    pub(crate) connection: shop_front::Client,
    /// It is one of the proxies whose forwarding headers are believed.
    pub(crate) is_trusted: bool,
    pub(crate) opened: Instant,
    /// The last host that a request named, found to be sound: it is mostly the next one's as well.
    pub(crate) sound_host: RefCell<Option<HeaderValue>>,
}

impl Client {
    pub(crate) fn hop(&self) -> Hop {
        Hop {
            side: self.side,
            peer: self.connection.peer.ip(),
            is_tls: self.connection.is_tls,
            is_trusted: self.is_trusted,
        }
    }

    /// Clients that stay are sent away now and then, so that they spread anew. Edges and services are few, and stay.
    fn is_old(&self, shared: &Shared) -> bool {
        self.side == Side::Public && self.opened.elapsed() >= shared.connection_age_max
    }
}

/// Answers one request.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<FrontBody>, Infallible> {
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
    let coding = compress::wanted(client.side, &parts);
    let mut failovers = Vec::new();
    let tunnel = match &wish {
        Some(_) => {
            let reserved = client.connection.reserve_tunnel(&mut parts.extensions);
            reserved.map(Some).ok_or(Refusal::Overloaded)
        }
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
    // From a balancer that reaches nobody its clients shall go to another.
    let shall_leave = client.is_old(&worker.shared) || worker.shared.is_isolated();
    if shall_leave {
        client.connection.leave();
    }
    let mut response = match outcome {
        Ok(answer) if answer.response.status() == StatusCode::SWITCHING_PROTOCOLS => match (wish, tunnel) {
            (Some(wish), Some(tunnel)) => {
                let granted = wish.grant(tunnel, answer, &worker, exchange, &failovers);
                return Ok(granted.map(|body| FrontBody::new(body, None)));
            }
            _ => refuse(&Refusal::NoAnswer, wants_page, &worker, exchange, &failovers),
        },
        Ok(answer)
            if wish
                .as_ref()
                .is_some_and(|wish| wish.takes_for_consent(answer.response.status())) =>
        {
            refuse(&Refusal::NoWebSocket, wants_page, &worker, exchange, &failovers)
        }
        Ok(answer) => {
            let (mut parts, ()) = answer.response.into_parts();
            parts.version = Version::HTTP_11;
            exchange.status = parts.status;
            headers::forward_response(&mut parts.headers);
            sign(&mut parts.headers, &worker, &exchange, &failovers);
            let length = answer.lease.connection.size_hint();
            let encoder = coding.and_then(|coding| coding.prepare(&worker, &exchange, &mut parts, &length));
            let body = ResponseBody::from_backend(answer.lease, exchange);
            Response::from_parts(parts, FrontBody::new(body, encoder))
        }
        Err(refusal) => refuse(&refusal, wants_page, &worker, exchange, &failovers),
    };
    let live = worker.shared.live.load();
    policy::apply(response.headers_mut(), client.hop(), &live.table.settings.headers);
    if is_http2 {
        // Which has its own way to close, and knows no such header.
        response.headers_mut().remove(CONNECTION);
    } else if is_chunked || shall_leave || worker.shared.is_draining() {
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
) -> Response<FrontBody> {
    count(worker, refusal);
    let own = refusal.respond(
        wants_page,
        start_of(exchange.uri.path()),
        exchange.identity.request_id(),
    );
    let (mut parts, body) = own.into_parts();
    exchange.status = parts.status;
    sign(&mut parts.headers, worker, &exchange, failovers);
    Response::from_parts(parts, FrontBody::new(ResponseBody::own(body, exchange), None))
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
    let live = exchange.live.clone();
    check_framing(client, &parts)?;
    check_method(&parts.method)?;
    check_expectation(&parts)?;
    settle_host(client, &mut parts)?;
    let target = target_of(&parts.uri)?;
    let customer = gate::customer(shared, client.hop(), &parts.headers);
    gate::check_open(&live, customer)?;
    let route_index = route_of(&live, client, &parts, &target)?;
    exchange.route = Some(route_index);
    let route = &live.table.routes[route_index];
    let service = &live.services[route.service];
    gate::check_rates(shared, &live, route, customer, &parts.headers)?;
    if body.size_hint().lower() > route.body_bytes_max {
        return Err(Refusal::BodyTooLarge {
            bytes_max: route.body_bytes_max,
        });
    }
    let class = class_of(shared, &live, client, route, service, &parts.headers);
    exchange.permit = Some(
        shared
            .admission
            .admit(service, class)
            .map_err(|_| Refusal::Overloaded)?,
    );
    shared.budget.deposit();

    let upload = Rc::new(Cell::new(Upload::AwaitsBackend {
        since: exchange.started,
    }));
    let is_keyed = match route.keyed {
        Keyed::Never => false,
        Keyed::ByHeader => parts.headers.contains_key(IDEMPOTENCY_KEY),
        Keyed::Always => true,
    };
    let is_repeatable = parts.method.is_idempotent() || route.idempotent || is_keyed;
    let patience = match (parts.method.is_safe(), is_keyed) {
        (true, _) => Some(PATIENCE),
        (false, true) => Some(PATIENCE_KEYED),
        (false, false) => None,
    };
    let body = if body.is_end_stream() {
        RequestBody::Empty
    } else if is_repeatable && body.size_hint().exact().is_some_and(|bytes| bytes <= KEPT_BYTES_MAX) {
        RequestBody::Kept(keep(body).await?)
    } else {
        RequestBody::Streaming(StreamingBody::new(body, route.body_bytes_max, upload.clone()))
    };
    let deadline = deadline::of(&parts.headers, client.side, exchange.started, route.deadline);
    // How long a client takes to send a body says nothing about the service.
    let is_ordinary = class == Class::Normal && parts.method.is_safe() && matches!(body, RequestBody::Empty);
    let hop = client.hop();
    let head = Head::new(&parts.method, &target, &parts.headers, &body, |head| {
        headers::write_request(head, &parts.headers, hop, &exchange.identity, &shared.via, asks_upgrade);
        forwarded::write(head, &parts.headers, hop);
    })
    .asking_upgrade(asks_upgrade);
    let order = Order {
        worker,
        service,
        balance: &route.balance,
        head: &head,
        key: route.balance.key_of(target.path(), &parts.headers, hop, customer),
        hedge_after: route.hedge_after.filter(|_| parts.method == Method::GET),
        deadline,
        is_repeatable,
        patience,
        upload,
        fair_wait: PATIENCE.min(route.deadline / 2),
    };
    let outcome = order.send(exchange, body, failovers).await;
    if is_ordinary && matches!(outcome, Ok(_) | Err(Refusal::AnswerTooLate)) {
        service.limit.record(exchange.started.elapsed());
    }
    outcome
}

fn route_of(live: &Live, client: &Client, parts: &Parts, target: &PathAndQuery) -> Result<usize, Refusal> {
    let path = path::normalise(target.path()).map_err(Refusal::BadPath)?;
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let asked = Asked {
        host: host.unwrap_or_default(),
        path: &path,
        method: &parts.method,
        private: client.side == Side::Private,
    };
    match live.table.find(asked) {
        Found::Route(index) => Ok(index),
        Found::Nothing => Err(Refusal::UnknownPath),
        Found::OtherMethods(methods) => {
            let allow: Vec<&str> = methods.iter().map(Method::as_str).collect();
            Err(Refusal::OtherMethods {
                allow: allow.join(", "),
            })
        }
    }
}

/// A crawler can come again later, wherever it reads. Who asks is looked at only when there is much to do.
fn class_of(
    shared: &Shared,
    live: &Live,
    client: &Client,
    route: &Route,
    service: &Arc<Service>,
    headers: &HeaderMap,
) -> Class {
    let may_be_crawler = client.side == Side::Public && route.class != Class::Background;
    if may_be_crawler && shared.admission.is_busy(service) && gate::is_crawler(&live.table.settings.crawlers, headers) {
        Class::Background
    } else {
        route.class
    }
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
fn settle_host(client: &Client, parts: &mut Parts) -> Result<(), Refusal> {
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
    let Some(host) = parts.headers.get(HOST) else {
        if parts.version != Version::HTTP_10 {
            return Err(Refusal::BadHost);
        }
        // HTTP/1.1 towards the service needs one even where the client's HTTP/1.0 doesn't.
        parts.headers.insert(HOST, HeaderValue::from_static("shop"));
        return Ok(());
    };
    let mut sound_host = client.sound_host.borrow_mut();
    if sound_host.as_ref() != Some(host) {
        let authority = Authority::try_from(host.as_bytes()).map_err(|_| Refusal::BadHost)?;
        if authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(Refusal::BadHost);
        }
        // A copy, since the value shares the memory of all that was read with it.
        *sound_host = HeaderValue::from_bytes(host.as_bytes()).ok();
    }
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

/// The size was checked against the limit before, by its declared length. A stream of HTTP/2 that its client resets may
/// end before that as if it were whole.
async fn keep(body: Incoming) -> Result<Bytes, Refusal> {
    let declared = body.size_hint().exact();
    match tokio::time::timeout(KEPT_BODY_DEADLINE, body.collect()).await {
        Err(_) => Err(Refusal::BodyTooSlow),
        Ok(Err(_)) => Err(Refusal::BodyBroken),
        Ok(Ok(collected)) => {
            let bytes = collected.to_bytes();
            let is_whole = declared == Some(bytes.len() as u64);
            if is_whole { Ok(bytes) } else { Err(Refusal::BodyBroken) }
        }
    }
}

pub(crate) fn sign(headers: &mut HeaderMap, worker: &Worker, exchange: &Exchange, failovers: &[Failover]) {
    let elapsed = exchange.started.elapsed();
    let request_id = exchange.identity.request_id();
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
    let counter = match refusal {
        Refusal::Overloaded => &stats.shed,
        Refusal::TooManyRequests { .. } => &stats.rate_limited,
        _ => &stats.refused,
    };
    counter.fetch_add(1, Relaxed);
}
