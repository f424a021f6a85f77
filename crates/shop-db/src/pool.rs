//! The connections to one host, for one purpose.
//!
//! A pool lives as long as its host keeps its role: when the host dies or changes its role, the pool is closed and a new
//! one takes its place. Then waiters are told at once, and connections that are still out are dropped when they come
//! back. (sqlx's own pool can't be used: it waits without a deadline for the answer to a ping on each connection that
//! comes back, so that a host that is frozen eats the pool.)
//!
//! Few connections are opened at a time, and none is given up because its caller was. A server that is overloaded takes
//! seconds for one; those who give up and ask again fill its queue with connections that are dead when their turn comes, and
//! then nobody gets one any more, however long it lasts.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::error::{code_of, timed_out};

/// A connection that is not in order again after this long is dropped.
const RETURN_TIMEOUT: Duration = Duration::from_millis(500);

/// Connections are renewed, so that a server's memory for them doesn't grow for ever.
const AGE_MAX: Duration = Duration::from_secs(30 * 60);

/// Connections that were of no use for this long are closed when somebody looks at them.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);

/// Callers that may wait, per connection. Beyond that they are turned away at once.
pub(crate) const WAITERS_PER_CONNECTION: usize = 20;

/// Connections of a pool that are being opened at a time.
const OPENINGS_MAX: usize = 2;

/// Changes nothing, and fails in a transaction that has failed.
const NOTHING: &str = "select";

/// Whether a pool's connections read or write.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Read,
    Write,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Why a host gave no connection.
#[derive(Debug)]
pub(crate) enum AcquireError {
    /// All connections are taken.
    Full,
    /// The host died or changed its role meanwhile.
    Gone,
    /// The host is no primary, whatever was believed.
    NotPrimary,
    /// The connection could not be opened.
    Connect(sqlx::Error),
}

impl AcquireError {
    /// Whether trying again is pointless: the login or the database is wrong, or may not be used.
    pub(crate) fn is_permanent(&self) -> bool {
        let Self::Connect(error) = self else {
            return false;
        };
        code_of(error).is_some_and(|code| code.starts_with("28") || code == "3D000" || code == "42501")
    }
}

pub(crate) struct HostPool {
    options: PgConnectOptions,
    purpose: Purpose,
    connect_timeout: Duration,
    permits: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    openings: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    /// Somebody may look again whether a connection is idle.
    kept: Notify,
    closed: CancellationToken,
    answered_at: Mutex<Option<Instant>>,
    in_use: metrics::Gauge,
    waits: metrics::Counter,
    opened: metrics::Counter,
}

struct Idle {
    connection: PgConnection,
    opened_at: Instant,
    idle_since: Instant,
}

impl HostPool {
    pub(crate) fn new(
        options: PgConnectOptions,
        purpose: Purpose,
        size: u32,
        connect_timeout: Duration,
        cluster: &str,
        host: &str,
    ) -> Arc<Self> {
        let labels = [
            ("cluster", cluster.to_owned()),
            ("host", host.to_owned()),
            ("pool", purpose.as_str().to_owned()),
        ];
        let size = usize::try_from(size).unwrap_or(1).max(1);
        metrics::gauge!("db_pool_size", &labels).set(size as f64);
        Arc::new(Self {
            options,
            purpose,
            connect_timeout,
            permits: Arc::new(Semaphore::new(size)),
            waiters: Arc::new(Semaphore::new(size * WAITERS_PER_CONNECTION)),
            openings: Arc::new(Semaphore::new(OPENINGS_MAX)),
            idle: Mutex::new(Vec::new()),
            kept: Notify::new(),
            closed: CancellationToken::new(),
            answered_at: Mutex::new(None),
            in_use: metrics::gauge!("db_pool_in_use", &labels),
            waits: metrics::counter!("db_pool_waits_total", &labels),
            opened: metrics::counter!("db_connections_opened_total", &labels),
        })
    }

    /// How many more connections could be had without waiting.
    pub(crate) fn available(&self) -> usize {
        self.permits.available_permits()
    }

    /// When the host last answered on one of these connections.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a connection, waiting for one up to `deadline`.
    pub(crate) async fn acquire(self: &Arc<Self>, deadline: Instant) -> Result<Pooled, AcquireError> {
        self.acquire_within(deadline, Duration::MAX).await
    }

    /// The same for somebody who can go elsewhere: a turn is waited for up to `deadline`, and then no longer than
    /// `login_wait` for a connection to be opened.
    pub(crate) async fn acquire_within(
        self: &Arc<Self>,
        deadline: Instant,
        login_wait: Duration,
    ) -> Result<Pooled, AcquireError> {
        let permit = self.permit(deadline).await?;
        let login_deadline = Instant::now().checked_add(login_wait).unwrap_or(deadline);
        let idle = self.connection(deadline.min(login_deadline)).await?;
        self.in_use.increment(1.0);
        Ok(Pooled {
            connection: Some(idle.connection),
            opened_at: idle.opened_at,
            keep: true,
            permit: Some(permit),
            pool: Arc::clone(self),
        })
    }

    /// Turns everybody away from now on. Connections that are out are dropped when they come back.
    pub(crate) fn close(&self) {
        self.permits.close();
        self.waiters.close();
        self.closed.cancel();
        self.idle().clear();
    }

    async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, AcquireError> {
        match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::Closed) => return Err(AcquireError::Gone),
            Err(TryAcquireError::NoPermits) => self.waits.increment(1),
        }
        let _waiter = self.waiters.try_acquire().map_err(|refused| match refused {
            TryAcquireError::Closed => AcquireError::Gone,
            TryAcquireError::NoPermits => AcquireError::Full,
        })?;
        match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_closed)) => Err(AcquireError::Gone),
            Err(_elapsed) => Err(AcquireError::Full),
        }
    }

    /// A connection that is idle, or becomes so, or is opened.
    async fn connection(self: &Arc<Self>, deadline: Instant) -> Result<Idle, AcquireError> {
        if let Some(idle) = self.take_idle() {
            return Ok(idle);
        }
        let waiting = async {
            loop {
                if let Some(idle) = self.take_idle() {
                    return Ok(idle);
                }
                let place = tokio::select! {
                    biased;
                    () = self.kept.notified() => continue,
                    place = Arc::clone(&self.openings).acquire_owned() => place.map_err(|_closed| AcquireError::Gone)?,
                };
                let opening = tokio::spawn(Arc::clone(self).open(place));
                tokio::select! {
                    outcome = opening => outcome.map_err(|_stopped| AcquireError::Gone)??,
                    () = self.kept.notified() => {}
                }
            }
        };
        let outcome = self.closed.run_until_cancelled(timeout_at(deadline, waiting)).await;
        match outcome.ok_or(AcquireError::Gone)? {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(AcquireError::Connect(timed_out())),
        }
    }

    /// The connection that was used last, if it isn't too old. The last one first: so surplus ones grow old.
    fn take_idle(&self) -> Option<Idle> {
        let mut idle = self.idle();
        let now = Instant::now();
        idle.retain(|kept| now - kept.idle_since < IDLE_MAX && now - kept.opened_at < AGE_MAX);
        let last = idle.pop();
        if !idle.is_empty() {
            // Two may have been kept where one was told.
            self.kept.notify_one();
        }
        last
    }

    /// Opens a connection and puts it among the idle ones. There may be one more than the pool's size in the end: that of
    /// a caller who gave up.
    async fn open(self: Arc<Self>, _place: OwnedSemaphorePermit) -> Result<(), AcquireError> {
        let opening = async {
            let mut connection = PgConnection::connect_with(&self.options).await?;
            // A host that lost its role since the last probe must not get writes, which would fail there.
            let primary = self.purpose == Purpose::Read
                || !sqlx::query_scalar("select pg_is_in_recovery()")
                    .fetch_one(&mut connection)
                    .await?;
            Ok((connection, primary))
        };
        self.opened.increment(1);
        // Closing ends it: the server that answers afterwards may be another one than the caller chose.
        let opened = self
            .closed
            .run_until_cancelled(timeout(self.connect_timeout, opening))
            .await;
        match opened.ok_or(AcquireError::Gone)? {
            Ok(Ok((connection, true))) => {
                let now = Instant::now();
                self.keep(Idle {
                    connection,
                    opened_at: now,
                    idle_since: now,
                });
                Ok(())
            }
            Ok(Ok((_, false))) => Err(AcquireError::NotPrimary),
            Ok(Err(error)) => Err(AcquireError::Connect(error)),
            Err(_elapsed) => Err(AcquireError::Connect(timed_out())),
        }
    }

    /// Takes a connection on which the host has just answered.
    fn keep(&self, idle: Idle) {
        *self.answered_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(idle.idle_since);
        let mut kept = self.idle();
        // Checked under the lock: closing empties the list only after it has closed the permits.
        if !self.permits.is_closed() {
            kept.push(idle);
            drop(kept);
            self.kept.notify_one();
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // The list is consistent after any panic: it is only pushed to and popped from.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that goes back to its pool when it is dropped.
pub(crate) struct Pooled {
    connection: Option<PgConnection>,
    opened_at: Instant,
    keep: bool,
    permit: Option<OwnedSemaphorePermit>,
    pool: Arc<HostPool>,
}

impl Pooled {
    /// Closes the connection when it is dropped, instead of keeping it.
    pub(crate) fn close_on_drop(&mut self) {
        self.keep = false;
    }

    /// Completes when the host has died or changed its role.
    pub(crate) fn host_lost(&self) -> WaitForCancellationFutureOwned {
        self.pool.closed.clone().cancelled_owned()
    }
}

/// Why a connection is there: it is taken out by `drop` only.
const PRESENT: &str = "a connection is there until it is dropped";

impl Deref for Pooled {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_ref().expect(PRESENT)
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect(PRESENT)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.in_use.decrement(1.0);
        let (Some(mut connection), Some(permit)) = (self.connection.take(), self.permit.take()) else {
            return;
        };
        if !self.keep || self.pool.permits.is_closed() {
            return;
        }
        // Outside of a runtime nobody could finish what the connection is in the middle of.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let pool = Arc::clone(&self.pool);
        let opened_at = self.opened_at;
        runtime.spawn(async move {
            let deadline = Instant::now() + RETURN_TIMEOUT;
            if matches!(timeout_at(deadline, is_in_order(&mut connection)).await, Ok(true)) {
                pool.keep(Idle {
                    connection,
                    opened_at,
                    idle_since: Instant::now(),
                });
                // Somebody who has a turn, and waits for a connection to be opened, was told first and is first: whoever
                // gets this turn would take the connection before it looks.
                tokio::task::yield_now().await;
            }
            drop(permit);
        });
    }
}

/// The user's future may have been dropped midway, or left a transaction to be rolled back. What is left over is read,
/// and the server is asked whether a transaction is open. sqlx can't tell by itself: it forgets one whose `begin` was
/// dropped before its answer, and in that the next user's writes would be acknowledged and never committed.
async fn is_in_order(connection: &mut PgConnection) -> bool {
    // It fails so where the server says that no transaction is open after it.
    matches!(connection.begin_with(NOTHING).await, Err(sqlx::Error::BeginFailed))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A server that accepts and never answers, and a pool of `size` connections to it.
    async fn silent_server(size: u32) -> (TcpListener, Arc<HostPool>) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = PgConnectOptions::new_without_pgpass()
            .host("127.0.0.1")
            .port(server.local_addr().unwrap().port());
        let pool = HostPool::new(options, Purpose::Read, size, LONG, "test", "silent");
        (server, pool)
    }

    #[tokio::test]
    async fn closing_ends_a_connection_that_is_being_opened() {
        let (server, pool) = silent_server(1).await;
        let opening = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.acquire(Instant::now() + LONG).await.err() }
        });
        let _connection = server.accept().await.unwrap();
        pool.close();
        let ended = tokio::time::timeout(LONG / 2, opening).await.unwrap().unwrap();
        assert!(matches!(ended, Some(AcquireError::Gone)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_slow_to_let_anybody_in_has_few_to_let_in() {
        let (server, pool) = silent_server(10).await;
        let impatient = async || pool.acquire(Instant::now() + Duration::from_millis(50)).await.err();
        let mut connections = Vec::new();
        for _ in 0..3 {
            let callers = futures::future::join_all((0..10).map(|_| impatient())).await;
            assert!(
                callers
                    .iter()
                    .all(|refused| matches!(refused, Some(AcquireError::Connect(_)))),
                "{callers:?}"
            );
            while let Ok(Ok(connection)) = timeout(Duration::from_millis(50), server.accept()).await {
                connections.push(connection);
            }
        }
        assert_eq!(connections.len(), OPENINGS_MAX);
    }
}
