//! Connections for writing: to the primary, or to the next one.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Shared, change_or};
use crate::pool::Purpose;
use crate::{DbError, WriteConn};

/// Pause before the same primary is tried again, unless there is news before.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Longest pause before a write is run again.
const RERUN_PAUSE_MAX: Duration = Duration::from_millis(400);

/// A primary that was given up may only be slow. Its successor isn't there yet, so that nothing is lost by waiting so long
/// for an answer, and a write whose outcome is known is worth more.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `work` on the primary, for as long as that is there.
pub(super) async fn run<T, F, Fut>(shared: &Shared, work: F) -> Result<T, DbError>
where
    F: FnOnce(WriteConn) -> Fut,
    Fut: Future<Output = Result<T, DbError>>,
{
    let connection = connection(shared).await?;
    let host = connection.host().to_owned();
    let host_lost = connection.host_lost();
    let given_up = async {
        host_lost.await;
        sleep(GRACE).await;
    };
    tokio::select! {
        biased;
        outcome = work(connection) => outcome,
        () = given_up => Err(DbError::HostLost { host }),
    }
}

/// Runs `work` on the primary and, where that is lost meanwhile, on the next one.
pub(super) async fn run_idempotent<T, F, Fut>(shared: &Shared, work: F) -> Result<T, DbError>
where
    F: Fn(WriteConn) -> Fut,
    Fut: Future<Output = Result<T, DbError>>,
{
    let last_rerun = Instant::now() + shared.config.write_wait;
    let mut pause = RETRY_PAUSE;
    loop {
        let error = match run(shared, &work).await {
            Err(error) if error.is_of_host() && Instant::now() < last_rerun => error,
            outcome => return outcome,
        };
        tracing::info!(
            db.cluster = shared.config.name,
            error = &error as &dyn std::error::Error,
            "Writing again, on the next primary"
        );
        metrics::counter!("db_writes_rerun_total", "cluster" => shared.config.name.clone()).increment(1);
        // A host that is stopping refuses at once, and goes on being taken for the primary for a moment.
        sleep(pause).await;
        pause = (2 * pause).min(RERUN_PAUSE_MAX);
    }
}

pub(super) async fn connection(shared: &Shared) -> Result<WriteConn, DbError> {
    let since = Instant::now();
    let deadline = since + shared.config.write_wait;
    let mut changes = shared.changes.subscribe();
    let mut place = None;
    loop {
        if shared.closed.is_cancelled() {
            return Err(DbError::Closed {
                cluster: shared.config.name.clone(),
            });
        }
        changes.mark_unchanged();
        let mut look_again_at = deadline;
        if let Some(host) = shared.primary() {
            let acquire_deadline = deadline.min(Instant::now() + shared.config.acquire_timeout);
            match host.pool(Purpose::Write).acquire(acquire_deadline).await {
                Ok(pooled) => {
                    if place.is_some() {
                        record_wait(shared, since);
                    }
                    return Ok(WriteConn::new(pooled, host.clone(), since));
                }
                Err(failure) => {
                    if let Some(error) = shared.verdict(host, failure) {
                        return Err(error);
                    }
                    look_again_at = deadline.min(Instant::now() + RETRY_PAUSE);
                }
            }
        }
        if place.is_none() {
            place = Some(shared.place(&shared.write_waiters)?);
        }
        if Instant::now() >= deadline {
            record_wait(shared, since);
            return Err(DbError::NoPrimary {
                cluster: shared.config.name.clone(),
                waited: since.elapsed(),
            });
        }
        change_or(&mut changes, look_again_at).await;
    }
}

fn record_wait(shared: &Shared, since: Instant) {
    metrics::histogram!("db_primary_wait_seconds", "cluster" => shared.config.name.clone())
        .record(since.elapsed().as_secs_f64());
}
