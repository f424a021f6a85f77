//! Sending one request to a service: the choice of a backend, the try, and what follows if it fails.
//!
//! A request goes to another backend if it never left, or if it may safely be sent twice and the retry budget allows
//! it. A backend that was tried is not tried again, but for a pooled connection that turned out to be closed: that costs
//! nothing of the budget. Each try needs a place at its backend, and is told how much time is left.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use http::Response;
use tracing::info;

use crate::backend::{Backend, FailureKind, Health};
use crate::balance::Algorithm;
use crate::body::{BodyFault, RequestBody, Upload};
use crate::choice::Wanted;
use crate::exchange::Exchange;
use crate::headers::{Failover, SERVED_BY};
use crate::place::{NoPlace, Place};
use crate::refusal::Refusal;
use crate::service::Service;
use crate::upstream::{Head, Lease, NoAnswer, is_own_fault};
use crate::worker::{Worker, join_burst};

/// Tries in all, each at another backend; a closed pooled connection may add one.
pub(crate) const TRIES_MAX: usize = 3;
/// After this a safe request is given up on one backend, if another is there to ask.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// The same for what its service does once by its key. A checkout answers after 7 s at the latest, with 202 if need be:
/// until then it may be waiting for a payment or a database, and the backend is sound.
pub(crate) const PATIENCE_KEYED: Duration = Duration::from_secs(8);
/// What must not be sent twice goes over pooled connections only if they were used this recently: the others may just
/// be closing.
const IDLE_MAX_UNREPEATABLE: Duration = Duration::from_secs(1);
/// As long as the pool keeps them.
const IDLE_MAX_REPEATABLE: Duration = Duration::MAX;

/// What is sent, and within which limits.
pub(crate) struct Order<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) service: &'a Arc<Service>,
    pub(crate) balance: &'a Algorithm,
    pub(crate) head: &'a Head,
    /// By [`Algorithm::key_of`].
    pub(crate) key: Option<u64>,
    /// Set where the request may be sent to two backends at once.
    pub(crate) hedge_after: Option<Duration>,
    pub(crate) deadline: Instant,
    /// Whether the request does no harm when it arrives twice.
    pub(crate) is_repeatable: bool,
    /// How long one backend may take, if it is repeatable and another is there to ask. Without it a request is repeated
    /// only when its connection has broken: a backend that is frozen may still do what it was sent, and undo by that
    /// what its client asked for later.
    pub(crate) patience: Option<Duration>,
    /// How far the client's body has come.
    pub(crate) upload: Rc<Cell<Upload>>,
    /// Whoever had less than this for an answer when the deadline came is not to blame for having none.
    pub(crate) fair_wait: Duration,
}

/// A backend's answer, its body still to be read over the leased connection.
pub(crate) struct Answer {
    pub(crate) response: Response<()>,
    pub(crate) lease: Lease,
}

/// One try, before it is begun.
pub(crate) struct Attempt {
    pub(crate) place: Place,
    pub(crate) body: RequestBody,
    pub(crate) wants_fresh: bool,
    pub(crate) is_repeatable: bool,
}

pub(crate) enum Failed {
    /// The connection could not be made: the request never left.
    Unreached { body: RequestBody, error: io::Error },
    /// The connection was closed before the request went out: it never left.
    Unsent {
        body: RequestBody,
        is_reused: bool,
        place: Place,
    },
    /// It may have arrived, but no answer came.
    Broken { is_reused: bool, place: Place },
    /// No answer yet, and another backend is worth asking; the retry is paid for.
    Impatient,
    /// No answer within the deadline.
    TooLate {
        /// The backend had the time for one.
        is_its_fault: bool,
    },
}

impl Failed {
    /// For `Server-Timing`.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Unreached { .. } => "unreached",
            Self::Unsent { .. } | Self::Broken { is_reused: true, .. } => "closed",
            Self::Broken { is_reused: false, .. } => "broken",
            Self::Impatient | Self::TooLate { .. } => "slow",
        }
    }
}

impl Order<'_> {
    /// Sends the request until somebody answers or nobody is left to ask.
    pub(crate) async fn send(
        &self,
        exchange: &mut Exchange,
        body: RequestBody,
        failovers: &mut Vec<Failover>,
    ) -> Result<Answer, Refusal> {
        let mut began = Instant::now();
        if began >= self.deadline {
            return Err(Refusal::AnswerTooLate);
        }
        let mut tried: Vec<u64> = Vec::new();
        let mut once_more_at: Option<Place> = None;
        let mut next = Some(body);
        while let Some(body) = next.take() {
            let wants_fresh = once_more_at.is_some();
            let place = match once_more_at.take() {
                Some(place) => place,
                None if tried.len() >= TRIES_MAX => return Err(self.gone()),
                None => self.find_place(&tried).await?,
            };
            let mut backend = place.backend.clone();
            if !wants_fresh {
                tried.push(backend.id);
            }
            exchange.tries += 1;
            exchange.backend = Some(backend.clone());
            let mut spare = self.is_repeatable.then(|| body.again()).flatten();
            let attempt = Attempt {
                place,
                body,
                wants_fresh,
                is_repeatable: spare.is_some(),
            };
            let outcome = match (self.hedge_after, &spare) {
                (Some(after), Some(spare)) => {
                    let hedged = self.attempt_hedged(attempt, spare, &mut tried, after);
                    // Most routes have no hedge, and their requests no room for it.
                    let hedged = Box::pin(hedged).await;
                    exchange.tries += u32::from(hedged.was_sent_twice);
                    exchange.backend = Some(hedged.backend.clone());
                    backend = hedged.backend;
                    failovers.extend(hedged.failover);
                    hedged.outcome
                }
                _ => self.attempt(attempt, &tried).await,
            };
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if let Upload::Failed(fault) = self.upload.get() {
                return Err(self.fault_of_client(fault, exchange));
            }
            let is_late = matches!(failed, Failed::TooLate { .. });
            // Who takes its time is the client: no other backend would have an answer yet.
            if is_late && self.upload.get() == Upload::AwaitsClient {
                return Err(Refusal::BodyTooSlow);
            }
            self.blame(&backend, &failed, spare.is_some());
            if is_late {
                return Err(Refusal::AnswerTooLate);
            }
            let what = failed.what();
            let refusal = match failed {
                Failed::Unreached { body, .. } => {
                    spare = Some(body);
                    self.gone()
                }
                Failed::Unsent { body, is_reused, place } => {
                    spare = Some(body);
                    if is_reused && !wants_fresh {
                        once_more_at = Some(place);
                    }
                    self.gone()
                }
                Failed::Broken { is_reused: true, place } if spare.is_some() && !wants_fresh => {
                    once_more_at = Some(place);
                    Refusal::NoAnswer
                }
                Failed::Broken { .. } => {
                    if spare.is_some() && !self.pay() {
                        spare = None;
                    }
                    Refusal::NoAnswer
                }
                Failed::Impatient | Failed::TooLate { .. } => Refusal::AnswerTooLate,
            };
            if once_more_at.is_none() {
                failovers.push(Failover {
                    description: format!("{} {what}", backend.name()),
                    elapsed: began.elapsed(),
                });
            }
            began = Instant::now();
            if spare.is_none() || began >= self.deadline {
                return Err(refusal);
            }
            self.worker.shared.stats.retries.fetch_add(1, Relaxed);
            next = spare;
        }
        Err(self.gone())
    }

    pub(crate) fn wanted<'b>(&'b self, tried: &'b [u64]) -> Wanted<'b> {
        Wanted {
            tried,
            algorithm: self.balance,
            key: self.key,
            in_flight_max: self.worker.shared.backend_limits.in_flight_max,
            takes_worse: false,
        }
    }

    async fn find_place(&self, tried: &[u64]) -> Result<Place, Refusal> {
        let wanted = self.wanted(tried);
        let found = match self.service.take_place(&wanted) {
            Err(NoPlace::Full) => {
                let limits = &self.worker.shared.backend_limits;
                // Only who has to wait needs the room for it.
                Box::pin(self.service.wait_for_place(wanted, limits, self.deadline)).await
            }
            found => found,
        };
        found.map_err(|reason| match reason {
            NoPlace::Full => Refusal::Overloaded,
            NoPlace::Nobody => self.gone(),
        })
    }

    pub(crate) async fn attempt(&self, attempt: Attempt, tried: &[u64]) -> Result<Answer, Failed> {
        let Attempt {
            place,
            body,
            wants_fresh,
            is_repeatable,
        } = attempt;
        let idle_max = match (wants_fresh, is_repeatable) {
            (true, _) => Duration::ZERO,
            (false, true) => IDLE_MAX_REPEATABLE,
            (false, false) => IDLE_MAX_UNREPEATABLE,
        };
        let is_streaming = matches!(body, RequestBody::Streaming(_));
        let mut lease = match Lease::obtain(self.worker, place, idle_max).await {
            Ok(lease) => lease,
            Err(error) => return Err(Failed::Unreached { body, error }),
        };
        let is_reused = lease.is_reused;
        join_burst(self.worker.in_work.get()).await;
        if is_reused && !lease.connection.is_alive() {
            let place = lease.place;
            return Err(Failed::Unsent { body, is_reused, place });
        }
        let began = Instant::now();
        lease.connection.begin(self.head, body, began, self.deadline);
        let answered = {
            let mut answering = pin!(poll_fn(|cx| lease.connection.poll_answer(cx)));
            let impatient_at = match self.patience {
                Some(patience) if is_repeatable => self.deadline.min(began + patience),
                _ => self.deadline,
            };
            let mut answered = tokio::time::timeout_at(impatient_at.into(), &mut answering).await;
            if answered.is_err() && impatient_at < self.deadline {
                let in_flight_max = self.worker.shared.backend_limits.in_flight_max;
                if tried.len() < TRIES_MAX && self.service.has_untried(tried, in_flight_max) && self.pay() {
                    return Err(Failed::Impatient);
                }
                answered = tokio::time::timeout_at(self.deadline.into(), &mut answering).await;
            }
            answered
        };
        let response = match answered {
            Err(_) => {
                let is_its_fault = self.waited_for_backend(began) >= self.fair_wait;
                return Err(Failed::TooLate { is_its_fault });
            }
            Ok(Ok(response)) => response,
            Ok(Err(no_answer)) => {
                let place = lease.place;
                return Err(match no_answer {
                    NoAnswer::Unsent(body) => Failed::Unsent { body, is_reused, place },
                    NoAnswer::Broken => Failed::Broken { is_reused, place },
                    NoAnswer::Nonsense => Failed::Broken {
                        is_reused: false,
                        place,
                    },
                });
            }
        };
        let backend = &lease.place.backend;
        if let Some(served_by) = response.headers().get(SERVED_BY).and_then(|value| value.to_str().ok()) {
            backend.learn_name(served_by);
        }
        if response.status().is_server_error() {
            self.service.eject(backend, backend.erred(began.elapsed()));
        } else if is_streaming {
            // How long a client takes to send a large body says nothing about the backend.
            backend.answered();
        } else {
            backend.succeeded(began.elapsed());
        }
        Ok(Answer { response, lease })
    }

    /// Notes a failure against the backend, where it is the backend's: a pooled connection that was closed meanwhile
    /// is not, as long as the request can be sent again.
    pub(crate) fn blame(&self, backend: &Backend, failed: &Failed, is_repeatable: bool) {
        let kind = match failed {
            Failed::Unreached { error, .. } => {
                self.unreachable(backend, error);
                return;
            }
            Failed::Unsent { .. } => return,
            Failed::Broken { is_reused: true, .. } if is_repeatable => return,
            Failed::Broken { .. } => FailureKind::Reset,
            Failed::TooLate { is_its_fault: false } => return,
            Failed::Impatient | Failed::TooLate { .. } => FailureKind::Timeout,
        };
        self.service.eject(backend, backend.failed(kind));
    }

    /// How long a request that `began` then has been waiting for nobody but the backend.
    fn waited_for_backend(&self, began: Instant) -> Duration {
        match self.upload.get() {
            Upload::AwaitsBackend { since } => since.max(began).elapsed(),
            Upload::AwaitsClient | Upload::Failed(_) => Duration::ZERO,
        }
    }

    fn gone(&self) -> Refusal {
        Refusal::ServiceGone {
            service: self.service.name.clone(),
        }
    }

    fn fault_of_client(&self, fault: BodyFault, exchange: &Exchange) -> Refusal {
        match fault {
            BodyFault::TooLarge => Refusal::BodyTooLarge {
                bytes_max: self.bytes_max(exchange),
            },
            BodyFault::TooSlow => Refusal::BodyTooSlow,
            BodyFault::Broken => Refusal::BodyBroken,
        }
    }

    fn unreachable(&self, backend: &Backend, error: &io::Error) {
        if is_own_fault(error) {
            return;
        }
        backend.set_reached(false);
        self.service.eject(backend, backend.failed(FailureKind::Connect));
        let is_certain = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
        );
        if is_certain && backend.set_health(Health::Down) != Health::Down {
            info!(service = %self.service.name, backend = %backend.name(), %error, "Backend can't be reached");
        }
    }

    pub(crate) fn pay(&self) -> bool {
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
