//! Which host serves what, now.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::seq::IndexedRandom as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::host::{Host, View};
use crate::lag::PrimaryTrail;
use crate::pool::{AcquireError, Purpose, WAITERS_PER_CONNECTION};
use crate::probe::{self, Answer};
use crate::{ClusterConfig, DbError, HostStatus, Position, ReadConn, Role, WriteConn};

mod read;
mod write;

/// A Postgres cluster. Cheap to clone; the probes stop with the last clone.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    _stop: Arc<DropGuard>,
}

/// What a read must see.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Anything up to the lag that replicas may have.
    Any,
    /// Everything up to this position.
    After(Position),
    /// What the primary sees.
    Primary,
}

impl From<Option<Position>> for Freshness {
    fn from(position: Option<Position>) -> Self {
        position.map_or(Self::Any, Self::After)
    }
}

/// What the handles, the connections and the probes of a cluster share.
pub(crate) struct Shared {
    pub(crate) config: ClusterConfig,
    pub(crate) closed: CancellationToken,
    hosts: Vec<Arc<Host>>,
    trail: Mutex<PrimaryTrail>,
    /// A host that claims to be primary on an older timeline has been deposed and doesn't know yet.
    timeline_max: AtomicU32,
    /// Counts whatever a waiting caller may want to look at.
    changes: watch::Sender<u64>,
    fallback: Arc<Semaphore>,
    fallback_waiters: Semaphore,
    /// Places to wait at for a primary, and for any host to read from: as many as there are at a pool. Whoever waits here
    /// will find a place there.
    write_waiters: Semaphore,
    read_waiters: Semaphore,
}

impl Cluster {
    /// Starts to watch the hosts. Doesn't wait for them: a process must start also while its database is down.
    pub async fn connect(config: ClusterConfig) -> Result<Self, DbError> {
        let shared = Arc::new(Shared::new(config));
        for host in &shared.hosts {
            tokio::spawn(probe::run(Arc::clone(&shared), Arc::clone(host)));
        }
        let stop = shared.closed.clone().drop_guard();
        Ok(Self {
            shared,
            _stop: Arc::new(stop),
        })
    }

    /// A connection to the primary. Without a primary it waits for one, up to the configured time.
    pub async fn write(&self) -> Result<WriteConn, DbError> {
        write::connection(&self.shared).await
    }

    /// Runs a write, on a connection as [`Cluster::write`] gives it. If the host is lost meanwhile, killed or frozen,
    /// this ends soon with [`DbError::HostLost`] and not whenever the host wakes up. The write may have happened: it is
    /// never run again here, and never cancelled there.
    pub async fn writing<T, F, Fut>(&self, work: F) -> Result<T, DbError>
    where
        F: FnOnce(WriteConn) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        write::run(&self.shared, work).await
    }

    /// Runs a write that has the same effect however often it is done, as one does that a key of the caller's own makes
    /// single. If the host is lost meanwhile, it is run again on the next primary: the caller doesn't notice. Also the
    /// lost host may have done it. A run is begun for as long as a write may wait for a primary, and may wait itself, so that
    /// the end comes after twice that time at the latest, and what the work takes.
    pub async fn writing_idempotent<T, F, Fut>(&self, work: F) -> Result<T, DbError>
    where
        F: Fn(WriteConn) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        write::run_idempotent(&self.shared, work).await
    }

    /// A connection to a host that has seen what `freshness` asks for: a healthy replica if there is one, else the
    /// primary.
    pub async fn read(&self, freshness: Freshness) -> Result<ReadConn, DbError> {
        read::connection(&self.shared, freshness, &[]).await
    }

    /// Runs a read, on a connection as [`Cluster::read`] gives it. If the host is lost meanwhile, killed or frozen, the
    /// read is run again on another one: the caller doesn't notice. The work gets the connection for itself.
    pub async fn reading<T, F, Fut>(&self, freshness: Freshness, work: F) -> Result<T, DbError>
    where
        F: Fn(ReadConn) -> Fut,
        Fut: Future<Output = Result<T, DbError>>,
    {
        read::run(&self.shared, freshness, work).await
    }

    /// What the cluster is called.
    pub fn name(&self) -> &str {
        &self.shared.config.name
    }

    /// What is known of each host, in the order of the configuration.
    pub fn status(&self) -> Vec<HostStatus> {
        self.shared.hosts.iter().map(|host| host.status()).collect()
    }

    /// Stops the probes and closes all connections that are not in use.
    pub async fn close(&self) {
        self.shared.closed.cancel();
        for host in &self.shared.hosts {
            host.close();
        }
        self.shared.announce();
    }
}

impl Shared {
    /// Nothing is known of any host yet.
    fn new(config: ClusterConfig) -> Self {
        let hosts = config
            .hosts
            .iter()
            .map(|address| Arc::new(Host::new(&config, address)))
            .collect();
        let at_least_one = |count| usize::try_from(count).unwrap_or(1).max(1);
        let fallback_max = at_least_one(config.fallback_reads_max);
        let waiters_max = at_least_one(config.pool_max) * WAITERS_PER_CONNECTION;
        Self {
            closed: CancellationToken::new(),
            hosts,
            trail: Mutex::default(),
            timeline_max: AtomicU32::new(0),
            changes: watch::Sender::new(0),
            fallback: Arc::new(Semaphore::new(fallback_max)),
            fallback_waiters: Semaphore::new(fallback_max * WAITERS_PER_CONNECTION),
            write_waiters: Semaphore::new(waiters_max),
            read_waiters: Semaphore::new(waiters_max),
            config,
        }
    }

    /// The host that takes writes, if there is one.
    fn primary(&self) -> Option<&Arc<Host>> {
        let timeline_max = self.timeline_max.load(Ordering::Relaxed);
        self.hosts.iter().find(|host| {
            let view = host.view();
            view.up && view.role == Some(Role::Primary) && view.timeline == timeline_max
        })
    }

    /// A replica that is up, not too far behind, has not `failed` just now, and of which `suits` holds. Of those that are
    /// fast and near, if there are any, the one with more free connections of two picked by chance, so that many processes
    /// don't all prefer the same one.
    fn replica(&self, failed: &[&Arc<Host>], suits: impl Fn(&View) -> bool) -> Option<&Arc<Host>> {
        let is_far = |view: &View| view.lag.is_some_and(|lag| lag > self.config.lag_max);
        let suitable: Vec<(&Arc<Host>, (bool, bool))> = self
            .hosts
            .iter()
            .filter(|host| !failed.iter().any(|other| Arc::ptr_eq(host, other)))
            .map(|host| (host, host.view()))
            .filter(|(_, view)| view.up && view.role == Some(Role::Replica))
            .filter(|(_, view)| view.lag.is_none_or(|lag| self.may_lag(lag)))
            .filter(|(_, view)| suits(view))
            .map(|(host, view)| (host, (view.is_slow(), is_far(&view))))
            .collect();
        let least = suitable.iter().map(|(_, flaws)| *flaws).min()?;
        let best: Vec<&Arc<Host>> = suitable
            .into_iter()
            .filter(|(_, flaws)| *flaws == least)
            .map(|(host, _)| host)
            .collect();
        best.sample(&mut rand::rng(), 2)
            .copied()
            .max_by_key(|host| host.pool(Purpose::Read).available())
    }

    /// Whether a replica may serve reads this far behind. A primary that is slow itself sends the log late, and has nothing
    /// to spare for reads: then it may be further behind.
    fn may_lag(&self, lag: Duration) -> bool {
        let is_primary_slow = || self.primary().is_none_or(|primary| primary.view().is_slow());
        lag <= self.config.lag_max || (lag <= self.config.lag_max_of_slow_primary && is_primary_slow())
    }

    /// A place among the reads that the primary serves for want of a replica.
    async fn fallback_permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, DbError> {
        if self.hosts.len() > 1 {
            metrics::counter!("db_fallback_reads_total", "cluster" => self.config.name.clone()).increment(1);
        }
        if let Ok(permit) = Arc::clone(&self.fallback).try_acquire_owned() {
            return Ok(permit);
        }
        let _waiter = self.fallback_waiters.try_acquire().map_err(|_| self.overloaded())?;
        match timeout_at(deadline, Arc::clone(&self.fallback).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(self.overloaded()),
        }
    }

    /// Takes in what a host said.
    pub(crate) fn host_answered(&self, host: &Host, answer: Answer) {
        let before = host.view();
        let restarted = (answer.started_unix - before.started_unix).abs() > 0.001;
        // A replica without a receiver doesn't say its timeline; in one and the same process it is still the last one.
        let timeline = if restarted {
            answer.timeline
        } else {
            answer.timeline.max(before.timeline)
        };
        let position = Position {
            timeline,
            lsn: answer.lsn,
        };
        self.timeline_max.fetch_max(timeline, Ordering::Relaxed);

        let lag = {
            let mut trail = self.trail.lock().unwrap_or_else(PoisonError::into_inner);
            match answer.role {
                Role::Primary => {
                    if timeline == self.timeline_max.load(Ordering::Relaxed) {
                        trail.note(answer.asked_at, position);
                    }
                    None
                }
                Role::Replica => trail.lag(position),
            }
        };
        host.update(|view| {
            view.up = true;
            view.role = Some(answer.role);
            view.timeline = timeline;
            view.lsn = answer.lsn;
            view.lag = lag;
            view.started_unix = answer.started_unix;
            view.took = answer.asked_at.elapsed();
        });

        let role_changed = before.role.is_some_and(|role| role != answer.role);
        if role_changed || (restarted && before.started_unix > 0.0) {
            host.drop_connections(&self.config);
        }
        if !before.up || role_changed {
            self.warm_up(host, answer.role);
            tracing::info!(
                db.cluster = self.config.name,
                db.host = host.label,
                db.role = answer.role.as_str(),
                db.timeline = timeline,
                "A database host is up"
            );
            if self.config.expects_reads && answer.role == Role::Replica && timeline == 0 {
                tracing::warn!(
                    db.host = host.label,
                    "A replica doesn't say which timeline it follows, and serves no reads: it receives nothing, or the \
                     reader lacks pg_read_all_stats"
                );
            }
            if answer.role == Role::Primary {
                metrics::counter!("db_primary_changes_total", "cluster" => self.config.name.clone()).increment(1);
            }
        }
        self.report(host);
        self.announce();
    }

    /// Takes in that a host is dead, frozen or cut off.
    pub(crate) fn host_failed(&self, host: &Host, error: &sqlx::Error) {
        let before = host.view();
        host.update(|view| view.up = false);
        if before.up {
            host.drop_connections(&self.config);
            tracing::warn!(
                db.cluster = self.config.name,
                db.host = host.label,
                error = error as &dyn std::error::Error,
                "A database host is lost"
            );
        } else if before.role.is_none() {
            tracing::debug!(
                db.host = host.label,
                error = error as &dyn std::error::Error,
                "A database host can't be reached"
            );
        }
        self.report(host);
        self.announce();
    }

    /// Opens a first connection, so that no customer waits for the log-in.
    fn warm_up(&self, host: &Host, role: Role) {
        let pool = host.pool(match role {
            Role::Primary => Purpose::Write,
            Role::Replica => Purpose::Read,
        });
        if role == Role::Replica && !self.config.expects_reads {
            return;
        }
        let deadline = Instant::now() + self.config.acquire_timeout;
        tokio::spawn(async move {
            // Nobody waits for it; if it fails, the next caller tries.
            let _ = pool.acquire(deadline).await;
        });
    }

    fn report(&self, host: &Host) {
        let view = host.view();
        let labels = [("cluster", self.config.name.clone()), ("host", host.label.clone())];
        let yes = |condition: bool| if condition { 1.0 } else { 0.0 };
        metrics::gauge!("db_host_up", &labels).set(yes(view.up));
        metrics::gauge!("db_host_primary", &labels).set(yes(view.up && view.role == Some(Role::Primary)));
        if view.up
            && let Some(lag) = view.lag
        {
            metrics::gauge!("db_replica_lag_seconds", &labels).set(lag.as_secs_f64());
        }
    }

    fn announce(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// A place among those who wait; without one there is no waiting.
    fn place<'a>(&self, waiters: &'a Semaphore) -> Result<SemaphorePermit<'a>, DbError> {
        waiters.try_acquire().map_err(|_| self.overloaded())
    }

    fn overloaded(&self) -> DbError {
        DbError::Overloaded {
            cluster: self.config.name.clone(),
        }
    }

    /// What a failure to get a connection means for the caller: an error to give up with, or nothing if another try,
    /// perhaps on another host, makes sense.
    fn verdict(&self, host: &Host, failure: AcquireError) -> Option<DbError> {
        match failure {
            AcquireError::Full => Some(self.overloaded()),
            AcquireError::Gone => None,
            AcquireError::NotPrimary => {
                host.probe_now.notify_one();
                None
            }
            failure if failure.is_permanent() => match failure {
                AcquireError::Connect(error) => Some(DbError::Sqlx(error)),
                _ => None,
            },
            AcquireError::Connect(error) => {
                tracing::debug!(
                    db.host = host.label,
                    error = &error as &dyn std::error::Error,
                    "Could not connect"
                );
                host.probe_now.notify_one();
                None
            }
        }
    }
}

/// Waits until something is known that was not known before, or `deadline`.
async fn change_or(changes: &mut watch::Receiver<u64>, deadline: Instant) {
    tokio::select! {
        _ = changes.changed() => {}
        () = sleep_until(deadline) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hosts of which nothing is known.
    fn two_hosts() -> Shared {
        let mut config = ClusterConfig::for_url("x", "postgres://me:secret@127.0.0.1:1/db").unwrap();
        config.hosts.push("127.0.0.1:2".to_owned());
        Shared::new(config)
    }

    #[test]
    fn a_replica_that_lags_serves_reads_only_while_the_primary_is_slow_or_gone() {
        let shared = two_hosts();
        let [primary, replica] = &shared.hosts[..] else {
            panic!("two hosts");
        };
        primary.update(|view| (view.up, view.role) = (true, Some(Role::Primary)));
        replica.update(|view| (view.up, view.role) = (true, Some(Role::Replica)));
        let serves_at = |lag| {
            replica.update(|view| view.lag = Some(lag));
            shared.replica(&[], |_| true).is_some()
        };
        let (little, much, hopeless) = (Duration::from_millis(900), Duration::from_secs(9), Duration::MAX);
        assert_eq!([little, much, hopeless].map(serves_at), [true, false, false]);
        primary.update(|view| view.took = Duration::from_millis(400));
        assert_eq!([little, much, hopeless].map(serves_at), [true, true, false], "slow");
        primary.update(|view| (view.took, view.up) = (Duration::ZERO, false));
        assert_eq!([little, much, hopeless].map(serves_at), [true, true, false], "gone");
    }

    #[test]
    fn a_replica_that_lags_serves_only_where_no_other_can() {
        let shared = two_hosts();
        let [near, far] = &shared.hosts[..] else {
            panic!("two hosts");
        };
        near.update(|view| (view.up, view.role, view.lag) = (true, Some(Role::Replica), Some(Duration::ZERO)));
        far.update(|view| (view.up, view.role, view.lag) = (true, Some(Role::Replica), Some(Duration::from_secs(8))));
        let chosen = || shared.replica(&[], |_| true).map(|host| host.address.clone());
        assert!((0..20).all(|_| chosen().as_ref() == Some(&near.address)));
        near.update(|view| view.took = Duration::from_millis(400));
        assert_eq!(chosen().as_ref(), Some(&far.address), "the other is slow");
    }
}
