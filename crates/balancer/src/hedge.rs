//! Asking a second backend when the first takes its time. The first answer wins; the other try is dropped, and its
//! connection with it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::backend::Backend;
use crate::body::RequestBody;
use crate::forward::{Answer, Attempt, Failed, Order, TRIES_MAX};
use crate::headers::Failover;

/// What became of a try that may have become two.
pub(crate) struct Hedged {
    /// Who gave the outcome.
    pub(crate) backend: Arc<Backend>,
    pub(crate) outcome: Result<Answer, Failed>,
    pub(crate) was_sent_twice: bool,
    /// The one of two that failed while the other went on.
    pub(crate) failover: Option<Failover>,
}

impl Order<'_> {
    /// Makes a try, and after a while another with a copy of its body, if there is a backend with a place and the
    /// budget allows it.
    pub(crate) async fn attempt_hedged(
        &self,
        attempt: Attempt,
        copy: &RequestBody,
        tried: &mut Vec<u64>,
        after: Duration,
    ) -> Hedged {
        let began = Instant::now();
        let first_backend = attempt.place.backend.clone();
        let tried_before = tried.clone();
        let mut first = pin!(self.attempt(attempt, &tried_before));
        if let Ok(outcome) = timeout(after, &mut first).await {
            return alone(first_backend, outcome);
        }
        let Some(second) = self.second_attempt(copy, tried) else {
            return alone(first_backend, first.await);
        };
        let stats = &self.worker.shared.stats;
        stats.hedges.fetch_add(1, Relaxed);
        let second_backend = second.place.backend.clone();
        tried.push(second_backend.id);
        let second_began = Instant::now();
        let mut second = pin!(self.attempt(second, tried));
        let mut failover = None;
        let mut failed = |backend: &Backend, failure: &Failed, began: Instant| {
            self.blame(backend, failure, true);
            failover = Some(Failover {
                description: format!("{} {}", backend.name(), failure.what()),
                elapsed: began.elapsed(),
            });
        };
        let (backend, outcome) = tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Err(failure) => {
                    failed(&first_backend, &failure, began);
                    (second_backend, second.await)
                }
                answered => (first_backend, answered),
            },
            outcome = &mut second => match outcome {
                Ok(answer) if !answer.response.status().is_server_error() => {
                    stats.hedges_won.fetch_add(1, Relaxed);
                    first_backend.outrun(began.elapsed());
                    (second_backend, Ok(answer))
                }
                // An error is no answer to prefer to one that may still come.
                Ok(_) => (first_backend, first.await),
                Err(failure) => {
                    failed(&second_backend, &failure, second_began);
                    (first_backend, first.await)
                }
            },
        };
        Hedged {
            backend,
            outcome,
            was_sent_twice: true,
            failover,
        }
    }

    fn second_attempt(&self, copy: &RequestBody, tried: &[u64]) -> Option<Attempt> {
        if tried.len() >= TRIES_MAX {
            return None;
        }
        let place = self.service.take_place(&self.wanted(tried)).ok()?;
        let body = copy.again()?;
        self.pay().then_some(Attempt {
            place,
            body,
            wants_fresh: false,
            is_repeatable: true,
        })
    }
}

fn alone(backend: Arc<Backend>, outcome: Result<Answer, Failed>) -> Hedged {
    Hedged {
        backend,
        outcome,
        was_sent_twice: false,
        failover: None,
    }
}
