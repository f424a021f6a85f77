//! The outbox's relay: from the table to the queue. A broker that is away only makes the table longer.

use std::time::Duration;

use shop_telemetry::propagation;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, info_span, warn};
use uuid::Uuid;

use crate::error::Result;
use crate::queries::outbox::{self, Waiting};
use crate::state::AppState;

/// A look at the table when nobody rings: for claims that expired, and for rows of instances that died.
const IDLE_INTERVAL: Duration = Duration::from_secs(2);
/// After a failure; the broker is probably away, and needs no crowd when it returns.
const FAILURE_INTERVAL: Duration = Duration::from_secs(3);
/// Longer than publishing a batch takes at worst, so that two relays seldom publish the same row.
const CLAIM_SECONDS: f64 = 30.0;
const BATCH_MAX: i64 = 20;
/// For one batch; what is not confirmed by then is tried again when its claim is over.
const BATCH_DEADLINE: Duration = Duration::from_secs(25);

/// Publishes what waits, until shutdown.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    loop {
        let wait = if app.queue.connected() {
            match publish_batch(&app).await {
                Ok(true) if !shutdown.is_cancelled() => continue,
                Ok(_) => IDLE_INTERVAL,
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "The outbox can't be read; trying again"
                    );
                    FAILURE_INTERVAL
                }
            }
        } else {
            FAILURE_INTERVAL
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
            () = app.relay.notified() => {}
        }
    }
}

/// Publishes one batch. True if there may be more.
async fn publish_batch(app: &AppState) -> Result<bool> {
    let waiting = app
        .db
        .writing(async |mut conn| Ok(outbox::claim(&mut conn, CLAIM_SECONDS, BATCH_MAX).await?));
    let waiting = waiting.await?;
    let claimed = waiting.len();
    if claimed == 0 {
        return Ok(false);
    }
    let mut confirmed: Vec<Uuid> = Vec::with_capacity(claimed);
    let publishing = async {
        for message in &waiting {
            if !publish(app, message).await {
                break;
            }
            confirmed.push(message.id);
        }
    };
    if timeout(BATCH_DEADLINE, publishing).await.is_err() {
        warn!("The broker took too long to confirm a batch; the rest stays in the outbox");
    }
    let complete = confirmed.len() == claimed;
    if !confirmed.is_empty() {
        let removed = app
            .db
            .writing(async |mut conn| Ok(outbox::remove(&mut conn, &confirmed).await?));
        removed.await?;
        debug!(messages = confirmed.len(), "Published messages");
    }
    if !complete {
        let left: Vec<Uuid> = waiting
            .iter()
            .map(|message| message.id)
            .filter(|id| !confirmed.contains(id))
            .collect();
        let unclaimed = app
            .db
            .writing(async |mut conn| Ok(outbox::unclaim(&mut conn, &left).await?));
        unclaimed.await?;
    }
    Ok(complete)
}

/// Publishes one message, as a part of the trace that it was written in. False if the broker did not confirm it.
async fn publish(app: &AppState, waiting: &Waiting) -> bool {
    let span = info_span!(
        "photo_outbox.publish",
        otel.kind = "producer",
        photo.id = waiting.message.photo_id
    );
    propagation::set_parent(&span, |name| {
        waiting.traceparent.clone().filter(|_| name == "traceparent")
    });
    let publishing = app.queue.publish(waiting.id, &waiting.message);
    match publishing.instrument(span.clone()).await {
        Ok(()) => true,
        Err(error) => {
            span.in_scope(|| {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "The broker did not confirm a message; it stays in the outbox"
                );
            });
            false
        }
    }
}
