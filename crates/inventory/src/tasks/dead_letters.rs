//! Messages that no worker could do anything with: their photos are marked as failed, so that the shop says so.

use std::sync::Arc;
use std::time::Duration;

use shop_queue::messages::PhotoProcess;
use shop_queue::{Delivered, Outcome};
use shop_web::consistency::Consistency;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Result;
use crate::routes::reports;
use crate::state::AppState;

/// Where messages end that failed too often, or for good.
const QUEUE: &str = "photo.process.dead";
const PREFETCH: u16 = 8;
/// Between two tries while the database is away: a dead letter is held, since it has nowhere else to go.
const HOLD_INTERVAL: Duration = Duration::from_secs(2);

/// Consumes dead letters, until shutdown.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    let queue = app.queue.clone();
    let stop = Arc::new(shutdown.clone());
    queue
        .consume(QUEUE, PREFETCH, shutdown, move |letter: Delivered<PhotoProcess>| {
            let app = app.clone();
            let stop = stop.clone();
            async move { bury(&app, &letter.message, &stop).await }
        })
        .await;
}

async fn bury(app: &AppState, message: &PhotoProcess, stop: &CancellationToken) -> Outcome {
    loop {
        match mark(app, message).await {
            Ok(()) => return Outcome::Done,
            Err(error) => {
                warn!(
                    photo.id = message.photo_id,
                    error = &error as &dyn std::error::Error,
                    "Holding a dead letter"
                );
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Outcome::Retry,
            () = tokio::time::sleep(HOLD_INTERVAL) => {}
        }
    }
}

async fn mark(app: &AppState, message: &PhotoProcess) -> Result<()> {
    reports::fail(
        app,
        &Consistency::detached(),
        message.photo_id,
        message.version,
        "no worker could process it",
    )
    .await?;
    info!(
        photo.id = message.photo_id,
        version = message.version,
        "Marked the photo of a dead letter as failed"
    );
    Ok(())
}
