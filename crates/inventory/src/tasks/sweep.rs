//! Removes uploads that were begun and never accepted, with whatever they left in the object store.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::Result;
use crate::queries::{outbox, photos};
use crate::state::AppState;
use crate::uploads::original_key;

/// Far longer than any upload may take: the object store's deadlines add up to a minute at most.
const STALE_SECONDS: f64 = 15.0 * 60.0;
const INTERVAL: Duration = Duration::from_secs(60);
const BATCH_MAX: i64 = 50;

/// Sweeps, until shutdown.
pub async fn run(app: AppState, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if let Err(error) = sweep(&app, STALE_SECONDS).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "A sweep of stale uploads was cut short"
            );
        }
        if let Err(error) = report_backlog(&app).await {
            warn!(error = &error as &dyn std::error::Error, "The outbox can't be measured");
        }
    }
}

/// Removes uploads older than that. A row is taken by compare-and-set first, so that an upload that is accepted at this
/// moment wins or loses whole; the object goes next, and the row last, so that no object is forgotten.
pub async fn sweep(app: &AppState, older_than_seconds: f64) -> Result<usize> {
    let taken = app
        .db
        .writing(async |mut conn| Ok(photos::take_stale(&mut conn, older_than_seconds, BATCH_MAX).await?));
    let taken = taken.await?;
    for id in &taken {
        app.objects.delete(&original_key(*id)).await?;
        let forgotten = app
            .db
            .writing(async |mut conn| Ok(photos::forget(&mut conn, *id).await?));
        forgotten.await?;
        info!(photo.id = id, "Swept a stale upload away");
    }
    Ok(taken.len())
}

async fn report_backlog(app: &AppState) -> Result<()> {
    let backlog = app.db.reading(shop_db::Freshness::Any, async |mut conn| {
        Ok(outbox::backlog(&mut conn).await?)
    });
    let (messages, oldest_seconds) = backlog.await?;
    metrics::gauge!("photo_outbox_messages").set(messages as f64);
    metrics::gauge!("photo_outbox_oldest_age").set(oldest_seconds);
    Ok(())
}
