//! One message, from the queue to the report. While the object store or inventory is away the message is held: handing it
//! back would use up its deliveries and end it among the dead letters for a fault that is not its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use shop_objects::{ObjectError, Objects};
use shop_queue::messages::PhotoProcess;
use shop_queue::{Delivered, Message as _, Outcome, Queue};
use shop_web::consistency::Consistency;
use shop_web::internal::InternalClient;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info, info_span, warn};

use crate::pipeline::{self, Made};

/// Between two tries of a step whose other side is away; doubles up to the maximum.
const HOLD_INTERVAL_MIN: Duration = Duration::from_millis(250);
const HOLD_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// An accepted photo has its original; where it can't be found this often, it is gone.
const MISSING_TRIES_MAX: u32 = 4;

/// What a worker works with.
#[derive(Clone)]
pub struct Worker {
    objects: Objects,
    inventory: InternalClient,
    /// Computations at once, over all messages.
    computing: Arc<Semaphore>,
    shutdown: CancellationToken,
}

/// Why a message did not end well.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// No other try will do better.
    #[error("{0}")]
    Final(String),
    /// The process stops; somebody else gets the message.
    #[error("shutting down")]
    Shutdown,
}

/// A worker's report that a version is ready.
#[derive(Serialize)]
struct ReadyReport<'a> {
    width: u32,
    height: u32,
    placeholder: &'a str,
    variants: Vec<VariantReport<'a>>,
}

#[derive(Serialize)]
struct VariantReport<'a> {
    name: &'a str,
    width: u32,
    height: u32,
    format: &'static str,
    bytes: usize,
}

/// A worker's report that a version can't be made.
#[derive(Serialize)]
struct FailedReport<'a> {
    reason: &'a str,
}

/// What one try of a step came to.
enum Try<T> {
    Done(T),
    Away(String),
    Final(String),
}

impl Worker {
    /// A worker that computes so many photos at once.
    pub fn new(objects: Objects, inventory: InternalClient, photos_at_once: u16, shutdown: CancellationToken) -> Self {
        Self {
            objects,
            inventory,
            computing: Arc::new(Semaphore::new(usize::from(photos_at_once))),
            shutdown,
        }
    }

    /// Takes messages until shutdown, and finishes those at hand.
    pub async fn run(self, queue: &Queue, photos_at_once: u16) {
        // One more than is computed: it reads its original meanwhile.
        let prefetch = photos_at_once.saturating_add(1);
        let shutdown = self.shutdown.clone();
        queue
            .consume(
                PhotoProcess::KEY,
                prefetch,
                shutdown,
                move |delivered: Delivered<PhotoProcess>| {
                    let worker = self.clone();
                    async move { worker.handle(&delivered.message).await }
                },
            )
            .await;
    }

    /// Processes one message.
    pub async fn handle(&self, message: &PhotoProcess) -> Outcome {
        let span = info_span!(
            "photo.process",
            photo.id = message.photo_id,
            photo.version = message.version
        );
        async {
            let started = Instant::now();
            let result = self.process(message).await;
            let (word, outcome) = match result {
                Ok(()) => ("ready", Outcome::Done),
                Err(Failure::Shutdown) => ("handed-back", Outcome::Retry),
                Err(Failure::Final(reason)) => {
                    warn!(reason, "The photo can't be made; its message goes to the dead letters");
                    self.report_failure(message, &reason).await;
                    ("failed", Outcome::Dead)
                }
            };
            metrics::counter!("photos_processed_total", "result" => word).increment(1);
            metrics::histogram!("photo_process_seconds").record(started.elapsed().as_secs_f64());
            outcome
        }
        .instrument(span)
        .await
    }

    async fn process(&self, message: &PhotoProcess) -> Result<(), Failure> {
        let original = self.original(message).await?;
        let made = self.compute(original, message).await?;
        for variant in &made.variants {
            let key = format!("variants/{}/{}/{}", message.photo_id, message.version, variant.name);
            let bytes = Bytes::copy_from_slice(&variant.bytes);
            self.hold("storing a variant", async || {
                match self
                    .objects
                    .put(&key, bytes.clone(), variant.format.content_type())
                    .await
                {
                    Ok(()) => Try::Done(()),
                    Err(error) => of_store(&error),
                }
            })
            .await?;
        }
        self.report_ready(message, &made).await?;
        info!(variants = made.variants.len(), "Photo is ready");
        Ok(())
    }

    async fn original(&self, message: &PhotoProcess) -> Result<Bytes, Failure> {
        let mut missing = 0;
        self.hold("reading the original", async || {
            match self.objects.get(&message.original_key).await {
                Ok(Some(original)) => Try::Done(original),
                Ok(None) => {
                    missing += 1;
                    if missing < MISSING_TRIES_MAX {
                        Try::Away("the original is not there".to_owned())
                    } else {
                        Try::Final("the original is not there".to_owned())
                    }
                }
                Err(error) => of_store(&error),
            }
        })
        .await
    }

    /// Computes on a thread of its own, when it is this photo's turn.
    async fn compute(&self, original: Bytes, message: &PhotoProcess) -> Result<Made, Failure> {
        let turn = tokio::select! {
            () = self.shutdown.cancelled() => return Err(Failure::Shutdown),
            turn = self.computing.acquire() => turn,
        };
        let Ok(_turn) = turn else {
            return Err(Failure::Shutdown);
        };
        let started = Instant::now();
        let edits = message.edits.clone();
        let computed = tokio::task::spawn_blocking(move || pipeline::make(&original, &edits)).await;
        metrics::histogram!("photo_compute_seconds").record(started.elapsed().as_secs_f64());
        match computed {
            Ok(Ok(made)) => Ok(made),
            Ok(Err(error)) => Err(Failure::Final(chain(&error))),
            // A decoder that panics on a file would panic on it again.
            Err(_) => Err(Failure::Final("the picture can't be decoded".to_owned())),
        }
    }

    async fn report_ready(&self, message: &PhotoProcess, made: &Made) -> Result<(), Failure> {
        let report = ReadyReport {
            width: made.width,
            height: made.height,
            placeholder: &made.placeholder,
            variants: made
                .variants
                .iter()
                .map(|variant| VariantReport {
                    name: &variant.name,
                    width: variant.width,
                    height: variant.height,
                    format: variant.format.as_str(),
                    bytes: variant.bytes.len(),
                })
                .collect(),
        };
        let path = format!("/internal/photos/{}/versions/{}", message.photo_id, message.version);
        self.hold("reporting to inventory", async || {
            match self.inventory.put(&path, &report, &Consistency::detached()).await {
                Ok(answer) if answer.status.is_success() => Try::Done(()),
                // A photo that inventory doesn't know was removed: nobody waits for it.
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => Try::Done(()),
                Ok(answer) if is_about_the_report(answer.status) => {
                    Try::Final(format!("inventory refused the report with {}", answer.status))
                }
                Ok(answer) => Try::Away(format!("inventory answered {}", answer.status)),
                Err(error) => Try::Away(chain(&error)),
            }
        })
        .await
    }

    /// Says why, as far as that is possible now; the dead letter says that it failed in any case.
    async fn report_failure(&self, message: &PhotoProcess, reason: &str) {
        let path = format!(
            "/internal/photos/{}/versions/{}/failed",
            message.photo_id, message.version
        );
        let report = FailedReport { reason };
        if let Err(error) = self.inventory.post(&path, &report, &Consistency::detached()).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "Inventory was not told why the photo failed"
            );
        }
    }

    /// Tries a step until it is done, is final, or the process stops.
    async fn hold<T>(&self, step: &'static str, mut attempt: impl AsyncFnMut() -> Try<T>) -> Result<T, Failure> {
        let mut interval = HOLD_INTERVAL_MIN;
        loop {
            match attempt().await {
                Try::Done(value) => return Ok(value),
                Try::Final(reason) => return Err(Failure::Final(reason)),
                Try::Away(reason) => warn!(step, reason, "Holding the photo's message"),
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Err(Failure::Shutdown),
                () = tokio::time::sleep(interval) => {}
            }
            interval = (interval * 2).min(HOLD_INTERVAL_MAX);
        }
    }
}

/// Whether a refusal is of what was reported. Others, such as that of an outdated token, are of this process or of the
/// moment, and no reason to give the photo up.
fn is_about_the_report(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY
    )
}

/// Whether the object store is worth another try.
fn of_store<T>(error: &ObjectError) -> Try<T> {
    match error {
        ObjectError::InvalidKey(_) | ObjectError::TooLarge { .. } => Try::Final(chain(error)),
        _ => Try::Away(chain(error)),
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
