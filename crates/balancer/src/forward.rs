//! Sending one request to a service: the choice of a backend, the try, and what follows if it fails.
//!
//! A request goes to another backend if it never left, or if it may safely be sent twice and the retry budget allows
//! it. A backend that was tried is not tried again, but for a pooled connection that turned out to be closed.

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use tracing::{info, warn};

use crate::backend::{Backend, FailureKind, Health};
use crate::body::{BodyFault, RequestBody, Upload};
use crate::exchange::Exchange;
use crate::headers::{Failover, SERVED_BY};
use crate::refusal::Refusal;
use crate::service::Service;
use crate::upstream::{Lease, is_own_fault};
use crate::worker::Worker;

/// Tries in all, each at another backend; a closed pooled connection may add one.
const TRIES_MAX: usize = 3;
/// After this a request that may be sent twice is given up on one backend, if another is there to ask.
const TRY_PATIENCE: Duration = Duration::from_secs(2);
/// The same for what may be sent twice by its key. A checkout answers after 7 s at the latest, with 202 if need be:
/// until then it may be waiting for a payment or a database, and the backend is sound.
const TRY_PATIENCE_KEYED: Duration = Duration::from_secs(8);
/// What must not be sent twice goes over pooled connections only if they were used this recently: the others may just
/// be closing.
const IDLE_MAX_UNREPEATABLE: Duration = Duration::from_secs(1);
/// As long as the pool keeps them.
const IDLE_MAX_REPEATABLE: Duration = Duration::MAX;

/// What is sent, and within which limits.
pub(crate) struct Order<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) service: &'a Arc<Service>,
    pub(crate) deadline: Instant,
    /// How far the client's body has come.
    pub(crate) upload: Rc<Cell<Upload>>,
}

/// A backend's answer, its body still to be read over the leased connection.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

enum Failed {
    /// The connection could not be made: the request never left.
    Unreached {
        request: Request<RequestBody>,
        error: io::Error,
    },
    /// The connection was closed before the request went out: it never left.
    Unsent {
        request: Request<RequestBody>,
        is_reused: bool,
    },
    /// It may have arrived, but no answer came.
    Broken { is_reused: bool },
    /// No answer yet, and another backend is worth asking; the retry is paid for.
    Impatient,
    /// No answer within the deadline.
    TooLate,
}

impl Order<'_> {
    /// Sends the request until somebody answers or nobody is left to ask.
    pub(crate) async fn send(
        &self,
        exchange: &mut Exchange,
        request: Request<RequestBody>,
        failovers: &mut Vec<Failover>,
    ) -> Result<Answer, Refusal> {
        let gone = || Refusal::ServiceGone {
            service: self.service.name.clone(),
        };
        let mut tried: Vec<u64> = Vec::new();
        let mut once_more_on: Option<Arc<Backend>> = None;
        let mut next = Some(request);
        while let Some(request) = next.take() {
            let wants_fresh = once_more_on.is_some();
            let backend = match once_more_on.take() {
                Some(backend) => backend,
                None if tried.len() >= TRIES_MAX => return Err(gone()),
                None => self.service.choose(&tried).ok_or_else(gone)?,
            };
            if !wants_fresh {
                tried.push(backend.id);
            }
            exchange.tries += 1;
            exchange.backend = Some(backend.clone());
            let mut spare = duplicate(&request);
            let began = Instant::now();
            let failed = match self
                .attempt(&backend, request, wants_fresh, spare.is_some(), &tried)
                .await
            {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let Upload::Failed(fault) = self.upload.get() {
                return Err(match fault {
                    BodyFault::TooLarge => Refusal::BodyTooLarge {
                        bytes_max: self.bytes_max(exchange),
                    },
                    BodyFault::TooSlow => Refusal::BodyTooSlow,
                    BodyFault::Broken => Refusal::BodyBroken,
                });
            }
            let (what, refusal) = match failed {
                Failed::Unreached { request, error } => {
                    spare = Some(request);
                    self.unreachable(&backend, &error);
                    ("unreached", gone())
                }
                Failed::Unsent { request, is_reused } => {
                    spare = Some(request);
                    if is_reused && !wants_fresh {
                        once_more_on = Some(backend.clone());
                    }
                    ("closed", gone())
                }
                Failed::Broken { is_reused: true } if spare.is_some() && !wants_fresh => {
                    once_more_on = Some(backend.clone());
                    ("closed", Refusal::NoAnswer)
                }
                Failed::Broken { .. } => {
                    self.note_ejection(&backend, backend.failed(FailureKind::Reset));
                    if spare.is_some() && !self.pay() {
                        spare = None;
                    }
                    ("broken", Refusal::NoAnswer)
                }
                Failed::Impatient => {
                    self.note_ejection(&backend, backend.failed(FailureKind::Timeout));
                    ("slow", Refusal::AnswerTooLate)
                }
                // Who takes its time is the client: no other backend would have an answer yet.
                Failed::TooLate if self.upload.get() == Upload::AwaitsClient => return Err(Refusal::BodyTooSlow),
                Failed::TooLate => {
                    self.note_ejection(&backend, backend.failed(FailureKind::Timeout));
                    return Err(Refusal::AnswerTooLate);
                }
            };
            if once_more_on.is_none() {
                failovers.push(Failover {
                    description: format!("{} {what}", backend.name()),
                    elapsed: began.elapsed(),
                });
            }
            if spare.is_none() || Instant::now() >= self.deadline {
                return Err(refusal);
            }
            self.worker.shared.stats.retries.fetch_add(1, Relaxed);
            next = spare;
        }
        Err(gone())
    }

    async fn attempt(
        &self,
        backend: &Arc<Backend>,
        request: Request<RequestBody>,
        wants_fresh: bool,
        is_repeatable: bool,
        tried: &[u64],
    ) -> Result<Answer, Failed> {
        let idle_max = match (wants_fresh, is_repeatable) {
            (true, _) => Duration::ZERO,
            (false, true) => IDLE_MAX_REPEATABLE,
            (false, false) => IDLE_MAX_UNREPEATABLE,
        };
        let is_streaming = matches!(request.body(), RequestBody::Streaming(_));
        let mut lease = match Lease::obtain(self.worker, backend.clone(), idle_max).await {
            Ok(lease) => lease,
            Err(error) => return Err(Failed::Unreached { request, error }),
        };
        let is_reused = lease.is_reused;
        let Some(sender) = &mut lease.sender else {
            return Err(Failed::Unsent { request, is_reused });
        };
        let began = Instant::now();
        let patience = if request.method().is_safe() {
            TRY_PATIENCE
        } else {
            TRY_PATIENCE_KEYED
        };
        let mut sending = pin!(sender.try_send_request(request));
        let impatient_at = if is_repeatable {
            self.deadline.min(began + patience)
        } else {
            self.deadline
        };
        let mut sent = tokio::time::timeout_at(impatient_at.into(), &mut sending).await;
        if sent.is_err() && impatient_at < self.deadline {
            if tried.len() < TRIES_MAX && self.service.has_untried(tried) && self.pay() {
                return Err(Failed::Impatient);
            }
            sent = tokio::time::timeout_at(self.deadline.into(), &mut sending).await;
        }
        let response = match sent {
            Err(_) => return Err(Failed::TooLate),
            Ok(Ok(response)) => response,
            Ok(Err(mut failure)) => {
                return Err(match failure.take_message() {
                    Some(request) => Failed::Unsent { request, is_reused },
                    None => Failed::Broken { is_reused },
                });
            }
        };
        if response.status().is_informational() {
            // Upgrades are never asked for, so nobody may switch protocols.
            return Err(Failed::Broken { is_reused: false });
        }
        if let Some(served_by) = response.headers().get(SERVED_BY).and_then(|value| value.to_str().ok()) {
            backend.learn_name(served_by);
        }
        if response.status().is_server_error() {
            self.note_ejection(backend, backend.erred(began.elapsed()));
        } else if !is_streaming {
            // How long a client takes to send a large body says nothing about the backend.
            backend.succeeded(began.elapsed());
        }
        Ok(Answer { response, lease })
    }

    fn unreachable(&self, backend: &Backend, error: &io::Error) {
        if is_own_fault(error) {
            return;
        }
        self.note_ejection(backend, backend.failed(FailureKind::Connect));
        let is_certain = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
        );
        if is_certain && backend.set_health(Health::Down) != Health::Down {
            info!(service = %self.service.name, backend = %backend.name(), %error, "Backend can't be reached");
        }
    }

    fn note_ejection(&self, backend: &Backend, was_ejected: bool) {
        if was_ejected {
            warn!(service = %self.service.name, backend = %backend.name(), "Backend taken out for failing");
        }
    }

    fn pay(&self) -> bool {
        let is_paid = self.worker.shared.budget.take();
        if !is_paid {
            self.worker.shared.stats.retries_denied.fetch_add(1, Relaxed);
        }
        is_paid
    }

    fn bytes_max(&self, exchange: &Exchange) -> u64 {
        exchange
            .route
            .map_or(0, |route| exchange.live.table.routes[route].body_bytes_max)
    }
}

/// The same request again, if it may be sent twice.
fn duplicate(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request
        .extensions()
        .get::<Repeatable>()
        .is_some_and(|repeatable| repeatable.0)
    {
        return None;
    }
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy.extensions_mut().insert(Repeatable(true));
    Some(copy)
}

/// Marks a request that does no harm when it arrives twice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Repeatable(pub(crate) bool);
