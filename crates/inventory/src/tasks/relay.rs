//! The outbox's relay: from the table to the queue. A broker that is away only makes the table longer.

use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::error::Result;
use crate::queries::outbox;
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
                Ok(true) => continue,
                Ok(false) => IDLE_INTERVAL,
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
    let waiting = {
        let mut conn = app.db.write().await?;
        outbox::claim(&mut conn, CLAIM_SECONDS, BATCH_MAX).await?
    };
    let claimed = waiting.len();
    if claimed == 0 {
        return Ok(false);
    }
    let mut confirmed: Vec<Uuid> = Vec::with_capacity(claimed);
    let publishing = async {
        for message in &waiting {
            match app.queue.publish(message.id, &message.message).await {
                Ok(()) => confirmed.push(message.id),
                Err(error) => {
                    warn!(
                        photo.id = message.message.photo_id,
                        error = &error as &dyn std::error::Error,
                        "The broker did not confirm a message; it stays in the outbox"
                    );
                    break;
                }
            }
        }
    };
    if timeout(BATCH_DEADLINE, publishing).await.is_err() {
        warn!("The broker took too long to confirm a batch; the rest stays in the outbox");
    }
    let complete = confirmed.len() == claimed;
    if !confirmed.is_empty() {
        let mut conn = app.db.write().await?;
        outbox::remove(&mut conn, &confirmed).await?;
        debug!(messages = confirmed.len(), "Published messages");
    }
    if !complete {
        let left: Vec<Uuid> = waiting
            .iter()
            .map(|message| message.id)
            .filter(|id| !confirmed.contains(id))
            .collect();
        let mut conn = app.db.write().await?;
        outbox::unclaim(&mut conn, &left).await?;
    }
    Ok(complete)
}
