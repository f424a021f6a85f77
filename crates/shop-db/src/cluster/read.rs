//! Connections for reading: to a replica that is fresh enough, else to the primary.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::{Freshness, Shared, change_or};
use crate::host::Host;
use crate::pool::Purpose;
use crate::{DbError, Position, ReadConn, Role};

/// Pause before hosts that just failed are tried again, unless there is news before.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// First pause between two looks at a replica that catches up; it doubles.
const REPLAY_PAUSE: Duration = Duration::from_millis(2);

/// A replica that lets nobody in for so long is left for the next host. Its connection is opened all the same.
const LOGIN_WAIT: Duration = Duration::from_millis(500);

/// What a replica has replayed.
const REPLAY_POSITION: &str = "select (coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0'::pg_lsn)::bigint";

/// A read whose host was lost is run again at least so often, and for as long as it may wait for a host.
const RERUNS_MIN: usize = 2;

/// First pause before a read is run again on a host that has failed it, and the longest.
const RERUN_PAUSE: Duration = Duration::from_millis(20);
const RERUN_PAUSE_MAX: Duration = Duration::from_millis(400);

/// Runs `work` on one host and, where that is lost meanwhile, on others.
pub(super) async fn run<T, F, Fut>(shared: &Shared, freshness: Freshness, work: F) -> Result<T, DbError>
where
    F: Fn(ReadConn) -> Fut,
    Fut: Future<Output = Result<T, DbError>>,
{
    let last_rerun = Instant::now() + wait_for(shared, freshness);
    let mut pause = RERUN_PAUSE;
    let mut lost: Vec<Arc<Host>> = Vec::new();
    loop {
        let connection = connection(shared, freshness, &lost).await?;
        let host = connection.host_handle();
        let host_lost = connection.host_lost();
        let outcome = tokio::select! {
            biased;
            outcome = work(connection) => outcome,
            () = host_lost => Err(DbError::HostLost { host: host.label.clone() }),
        };
        match outcome {
            Err(error) if error.is_of_host() && (lost.len() < RERUNS_MIN || Instant::now() < last_rerun) => {
                tracing::info!(
                    db.host = host.label,
                    error = &error as &dyn std::error::Error,
                    "Reading again on another host"
                );
                metrics::counter!("db_reads_rerun_total", "cluster" => shared.config.name.clone()).increment(1);
                host.probe_now.notify_one();
                if lost.iter().any(|known| Arc::ptr_eq(known, &host)) {
                    // Nobody else may serve it. A host that is stopping refuses at once, and goes on being taken for the
                    // primary for a moment.
                    sleep(pause).await;
                    pause = (2 * pause).min(RERUN_PAUSE_MAX);
                } else {
                    lost.push(host);
                }
            }
            outcome => return outcome,
        }
    }
}

/// How long a read waits for a host, and is begun anew.
fn wait_for(shared: &Shared, freshness: Freshness) -> Duration {
    match freshness {
        Freshness::Any => shared.config.read_wait,
        // These may need a primary, and wait for one as long as a write does.
        Freshness::After(_) | Freshness::Primary => shared.config.write_wait,
    }
}

/// A connection, preferably not to one of the hosts that were `lost`.
pub(super) async fn connection(
    shared: &Shared,
    freshness: Freshness,
    mut lost: &[Arc<Host>],
) -> Result<ReadConn, DbError> {
    let since = Instant::now();
    let deadline = since + wait_for(shared, freshness);
    let mut changes = shared.changes.subscribe();
    let mut place = None;
    loop {
        if shared.closed.is_cancelled() {
            return Err(DbError::Closed {
                cluster: shared.config.name.clone(),
            });
        }
        changes.mark_unchanged();
        let attempt = Attempt {
            shared,
            lost,
            since,
            deadline: deadline.min(Instant::now() + shared.config.acquire_timeout),
        };
        if let Some(connection) = attempt.any_host(freshness).await? {
            return Ok(connection);
        }
        if Instant::now() >= deadline {
            return Err(DbError::NoReader {
                cluster: shared.config.name.clone(),
                waited: since.elapsed(),
            });
        }
        if place.is_none() {
            place = Some(shared.place(&shared.read_waiters)?);
        }
        change_or(&mut changes, deadline.min(Instant::now() + RETRY_PAUSE)).await;
        // Nobody else can serve, and a host that was lost to one connection may be there for the next.
        lost = &[];
    }
}

/// One look at the hosts as they are now.
struct Attempt<'a> {
    shared: &'a Shared,
    lost: &'a [Arc<Host>],
    since: Instant,
    deadline: Instant,
}

impl Attempt<'_> {
    /// Tries replica after replica, then the primary.
    async fn any_host(&self, freshness: Freshness) -> Result<Option<ReadConn>, DbError> {
        let mut failed: Vec<&Arc<Host>> = self.lost.iter().collect();
        while let Some((host, catching_up_to)) = self.next_replica(freshness, &failed) {
            if let Some(connection) = self.on_replica(host, catching_up_to).await? {
                return Ok(Some(connection));
            }
            if catching_up_to.is_some() {
                // The time for waiting on replicas is spent.
                break;
            }
            failed.push(host);
        }
        self.on_primary(freshness).await
    }

    /// A replica that may serve the read at once; or one that may in a moment, which is yet to be checked.
    fn next_replica(&self, freshness: Freshness, failed: &[&Arc<Host>]) -> Option<(&Arc<Host>, Option<Position>)> {
        let after = match freshness {
            Freshness::Primary => return None,
            Freshness::Any => {
                return self.shared.replica(failed, |_| true).map(|host| (host, None));
            }
            Freshness::After(after) => after,
        };
        let there = self.shared.replica(failed, |view| {
            view.position().is_some_and(|position| position.covers(after))
        });
        there.map(|host| (host, None)).or_else(|| {
            let close = self.shared.replica(failed, |view| view.timeline >= after.timeline);
            close.map(|host| (host, Some(after)))
        })
    }

    /// A connection to `host`. None if it fails, or doesn't get to the position in time: then another host is next. That
    /// all replicas are busy is no reason to move their load to the primary.
    async fn on_replica(
        &self,
        host: &Arc<Host>,
        catching_up_to: Option<Position>,
    ) -> Result<Option<ReadConn>, DbError> {
        let pool = host.pool(Purpose::Read);
        let mut connection = match pool.acquire_within(self.deadline, LOGIN_WAIT).await {
            Ok(pooled) => ReadConn::new(pooled, Arc::clone(host), Role::Replica, self.since, None),
            Err(failure) => return self.shared.verdict(host, failure).map_or(Ok(None), Err),
        };
        let there = match catching_up_to {
            None => true,
            Some(position) => self.catch_up(host, &mut connection, position).await,
        };
        Ok(there.then_some(connection))
    }

    async fn on_primary(&self, freshness: Freshness) -> Result<Option<ReadConn>, DbError> {
        let Some(host) = self.shared.primary() else {
            return Ok(None);
        };
        if let Freshness::After(after) = freshness
            && host.view().timeline < after.timeline
        {
            // A failover that this process has not heard of yet.
            host.probe_now.notify_one();
            return Ok(None);
        }
        let permit = match freshness {
            Freshness::Primary => None,
            _ => Some(self.shared.fallback_permit(self.deadline).await?),
        };
        match host.pool(Purpose::Read).acquire(self.deadline).await {
            Ok(pooled) => {
                let mut connection = ReadConn::new(pooled, Arc::clone(host), Role::Primary, self.since, permit);
                if let Freshness::After(after) = freshness {
                    connection.has_seen(after);
                }
                Ok(Some(connection))
            }
            Err(failure) => self.shared.verdict(host, failure).map_or(Ok(None), Err),
        }
    }

    /// Looks again and again, for a moment, whether the replica has replayed up to `position`.
    async fn catch_up(&self, host: &Host, connection: &mut ReadConn, position: Position) -> bool {
        let deadline = Instant::now() + self.shared.config.replay_wait;
        let mut pause = REPLAY_PAUSE;
        loop {
            let look = sqlx::query_scalar::<_, i64>(REPLAY_POSITION).fetch_one(&mut **connection);
            let Ok(Ok(lsn)) = timeout_at(deadline, look).await else {
                return false;
            };
            let lsn = u64::try_from(lsn).unwrap_or(0);
            // The process on the other side is the one whose timeline is known, unless it was restarted: then this
            // connection would be broken.
            let timeline = host.view().timeline;
            let seen = Position { timeline, lsn };
            if seen.covers(position) {
                host.update(|view| view.lsn = view.lsn.max(lsn));
                connection.has_seen(seen);
                return true;
            }
            if Instant::now() + pause >= deadline {
                return false;
            }
            sleep(pause).await;
            pause *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use shop_testkit::FreshDatabase;

    use super::*;
    use crate::ClusterConfig;

    const REACHED: Position = Position { timeline: 3, lsn: 1000 };

    /// A cluster of one host that nobody probes, known to be `role` and to have reached [`REACHED`].
    fn cluster_of(role: Role, database: &FreshDatabase) -> Shared {
        let mut config = ClusterConfig::for_url("test", database.url()).unwrap();
        config.connect_timeout = Duration::from_secs(20);
        config.acquire_timeout = Duration::from_secs(20);
        let shared = Shared::new(config);
        shared
            .timeline_max
            .store(REACHED.timeline, std::sync::atomic::Ordering::Relaxed);
        shared.hosts[0].update(|view| {
            view.up = true;
            view.role = Some(role);
            view.timeline = REACHED.timeline;
            view.lsn = REACHED.lsn;
        });
        shared
    }

    #[tokio::test]
    async fn a_host_that_was_lost_serves_again_where_no_other_can() {
        let database = FreshDatabase::empty().await;
        let shared = cluster_of(Role::Replica, &database);
        let lost = [Arc::clone(&shared.hosts[0])];
        assert!(connection(&shared, Freshness::Any, &lost).await.is_ok());
    }

    #[tokio::test]
    async fn a_primary_does_not_claim_the_last_byte_that_it_has_flushed() {
        let database = FreshDatabase::empty().await;
        let replica = cluster_of(Role::Replica, &database);
        let read = connection(&replica, Freshness::Any, &[]).await.unwrap();
        assert_eq!(read.position(), REACHED);

        // The commit that ends there may be waiting for its replica: flushed, not acknowledged, and seen by nobody.
        let primary = cluster_of(Role::Primary, &database);
        let read = connection(&primary, Freshness::Any, &[]).await.unwrap();
        assert!(!read.position().covers(REACHED) && REACHED.covers(read.position()));
        // Whoever has been told of it was acknowledged.
        let read = connection(&primary, Freshness::After(REACHED), &[]).await.unwrap();
        assert!(read.position().covers(REACHED));
    }
}
