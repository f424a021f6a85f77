//! Connections as callers hold them.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::error::suspicions;
use crate::host::{Host, Role};
use crate::pool::{Pooled, Purpose};
use crate::{DbError, Position};

/// Where the log is on this primary, flushed: the insert position would count others' work that may still be lost.
const FLUSH_POSITION: &str = "
    select ('x' || substr(pg_walfile_name(lsn), 1, 8))::bit(32)::int, (lsn - '0/0'::pg_lsn)::bigint
      from (select pg_current_wal_flush_lsn() as lsn) as it";

/// A connection that reads. It goes back by itself when dropped.
pub struct ReadConn {
    lease: Lease,
    role: Role,
    position: Position,
    _fallback: Option<OwnedSemaphorePermit>,
}

impl ReadConn {
    pub(crate) fn new(
        pooled: Pooled,
        host: Arc<Host>,
        role: Role,
        since: Instant,
        fallback: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let view = host.view();
        let lag = match role {
            Role::Primary => None,
            Role::Replica => view.lag,
        };
        // Where the timeline is unknown, nothing is known to be seen.
        let mut position = view.position().unwrap_or(Position { timeline: 0, lsn: 0 });
        if role == Role::Primary {
            // The last commit that a primary has flushed may be waiting for its replica still, and nobody sees it. Who
            // wrote it will ask for this byte at least, so this connection may not claim it.
            position.lsn = position.lsn.saturating_sub(1);
        }
        Self {
            lease: Lease::new(pooled, host, Purpose::Read, role, lag, since),
            role,
            position,
            _fallback: fallback,
        }
    }

    /// Raises the position to one that this connection was found to have seen.
    pub(crate) fn has_seen(&mut self, position: Position) {
        self.position = self.position.newest(position);
    }

    /// Completes when the host has died or changed its role: what is under way on this connection may never end.
    pub(crate) fn host_lost(&self) -> WaitForCancellationFutureOwned {
        self.lease.pooled.host_lost()
    }

    pub(crate) fn host_handle(&self) -> Arc<Host> {
        Arc::clone(&self.lease.host)
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.lease.host.label
    }

    /// Whether the host is primary or replica.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What this connection is known to see at least, before anything is read on it.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The flushed position, on a connection to the primary. Asked after a read, it covers what was read.
    pub async fn flushed(&mut self) -> Result<Position, DbError> {
        flushed(self).await
    }
}

/// A connection to the primary. It goes back by itself when dropped.
pub struct WriteConn {
    lease: Lease,
}

impl WriteConn {
    pub(crate) fn new(pooled: Pooled, host: Arc<Host>, since: Instant) -> Self {
        Self {
            lease: Lease::new(pooled, host, Purpose::Write, Role::Primary, None, since),
        }
    }

    /// Completes when the host has died or changed its role: what is under way on this connection may never end.
    pub(crate) fn host_lost(&self) -> WaitForCancellationFutureOwned {
        self.lease.pooled.host_lost()
    }

    /// The host's name.
    pub fn host(&self) -> &str {
        &self.lease.host.label
    }

    /// The flushed position. Asked after a commit, it covers what was committed: a read that has seen it sees that.
    pub async fn position(&mut self) -> Result<Position, DbError> {
        flushed(self).await
    }
}

async fn flushed(connection: &mut PgConnection) -> Result<Position, DbError> {
    let (timeline, lsn): (i32, i64) = sqlx::query_as(FLUSH_POSITION).fetch_one(connection).await?;
    Ok(Position {
        timeline: u32::try_from(timeline).unwrap_or(0),
        lsn: u64::try_from(lsn).unwrap_or(0),
    })
}

/// What both have in common: the connection, and the record of how long it was out.
struct Lease {
    pooled: Pooled,
    host: Arc<Host>,
    purpose: Purpose,
    role: Role,
    lag: Option<Duration>,
    since: Instant,
    news: watch::Receiver<u64>,
}

impl Lease {
    fn new(
        pooled: Pooled,
        host: Arc<Host>,
        purpose: Purpose,
        role: Role,
        lag: Option<Duration>,
        since: Instant,
    ) -> Self {
        Self {
            pooled,
            host,
            purpose,
            role,
            lag,
            since,
            news: suspicions(),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Something in this process met a dead or demoted host meanwhile. It may have been this connection, which may
        // work still, but not for writing. A reader's that is broken doesn't survive its way back to the pool.
        if self.purpose == Purpose::Write && self.news.has_changed().unwrap_or(true) {
            self.pooled.close_on_drop();
        }
        let desc = match self.lag {
            Some(lag) if lag < Duration::MAX => {
                format!("{} {} {}ms", self.host.label, self.role.as_str(), lag.as_millis())
            }
            _ => format!("{} {}", self.host.label, self.role.as_str()),
        };
        shop_telemetry::timing::record("db", desc, self.since.elapsed());
    }
}

impl Deref for ReadConn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lease.pooled
    }
}

impl DerefMut for ReadConn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lease.pooled
    }
}

impl Deref for WriteConn {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lease.pooled
    }
}

impl DerefMut for WriteConn {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lease.pooled
    }
}
