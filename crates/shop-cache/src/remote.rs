//! The level in Redis, which may be away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisConnectionInfo,
};
use shop_db::Position;
use tokio::time::{Instant, timeout};

use crate::local::{Entry, MARKER_TTL, Slot};
use crate::{CacheArgs, Key};

/// After a failure nobody asks Redis for so long, so that not every request waits for a dead one.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(500);
/// A process that died while loading holds up others no longer than this.
const LOCK_TTL: Duration = Duration::from_secs(2);

const FILL: &str = include_str!("scripts/fill.lua");
const MARK: &str = include_str!("scripts/mark.lua");
const UNLOCK: &str = include_str!("scripts/unlock.lua");

pub(crate) struct Remote {
    pool: Option<Pool>,
    timeout: Duration,
    epoch: Instant,
    /// Milliseconds since `epoch`; before that, Redis is left alone.
    rest_until_ms: AtomicU64,
}

/// A value with the life that is left to it.
pub(crate) struct Fetched {
    pub(crate) entry: Entry,
    pub(crate) remaining: Duration,
}

/// The right to load a key.
pub(crate) struct Lock {
    key: String,
    token: u64,
}

pub(crate) enum Stored {
    Kept,
    /// What is there, or a marker, is newer.
    TooOld,
    Unreachable,
}

impl Remote {
    pub(crate) fn new(args: &CacheArgs) -> Self {
        let pool = pool(args);
        if pool.is_none() {
            tracing::error!(cache.addr = %args.cache_addr, "The cache's address cannot be used; going on without");
        }
        Self {
            pool,
            timeout: Duration::from_millis(args.cache_timeout_ms),
            epoch: Instant::now(),
            rest_until_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn usable(&self) -> bool {
        self.pool.is_some() && self.now_ms() >= self.rest_until_ms.load(Ordering::Relaxed)
    }

    pub(crate) async fn get<K: Key>(&self, key: &str) -> Option<Fetched> {
        let mut commands = redis::pipe();
        commands
            .cmd("HMGET")
            .arg(key)
            .arg(&["kind", "position", "json"])
            .cmd("PTTL")
            .arg(key);
        type Answer = ((Option<String>, Option<String>, Option<String>), i64);
        let ((kind, position, json), ttl_ms): Answer = self.run(&commands).await?;
        let slot = match kind?.as_str() {
            "value" => Slot::Value(Arc::new(serde_json::from_str::<K::Value>(&json?).ok()?)),
            "absent" => Slot::Absent,
            _ => return None,
        };
        let remaining = Duration::from_millis(u64::try_from(ttl_ms).ok()?);
        Some(Fetched {
            entry: Entry::new(slot, position.as_deref().and_then(decode), remaining),
            remaining,
        })
    }

    pub(crate) async fn store(
        &self,
        key: &str,
        json: Option<&str>,
        position: Option<Position>,
        ttl: Duration,
        lock: Option<Lock>,
    ) -> Stored {
        let mut commands = redis::pipe();
        commands.cmd("EVAL").arg(FILL).arg(2).arg(key).arg(lock_key(key));
        commands.arg(position.map(encode).unwrap_or_default());
        commands
            .arg(if json.is_some() { "value" } else { "absent" })
            .arg(json.unwrap_or_default())
            .arg(millis(ttl));
        commands.arg(lock.map(|lock| lock.token.to_string()).unwrap_or_default());
        match self.run::<(i64,)>(&commands).await {
            Some((1,)) => Stored::Kept,
            Some(_) => Stored::TooOld,
            None => Stored::Unreachable,
        }
    }

    pub(crate) async fn mark(&self, key: &str, position: Position) {
        let mut commands = redis::pipe();
        commands
            .cmd("EVAL")
            .arg(MARK)
            .arg(1)
            .arg(key)
            .arg(encode(position))
            .arg(millis(MARKER_TTL))
            .ignore();
        if self.run::<()>(&commands).await.is_none() {
            metrics::counter!("cache_markers_lost_total").increment(1);
        }
    }

    /// `None` if somebody else has it, or Redis is away.
    pub(crate) async fn try_lock(&self, key: &str) -> Option<Lock> {
        let lock = Lock {
            key: lock_key(key),
            token: rand::random(),
        };
        let mut commands = redis::pipe();
        commands
            .cmd("SET")
            .arg(&lock.key)
            .arg(lock.token)
            .arg("NX")
            .arg("PX")
            .arg(millis(LOCK_TTL));
        let (answer,): (Option<String>,) = self.run(&commands).await?;
        answer.map(|_| lock)
    }

    pub(crate) async fn unlock(&self, lock: Option<Lock>) {
        let Some(lock) = lock else { return };
        let mut commands = redis::pipe();
        commands
            .cmd("EVAL")
            .arg(UNLOCK)
            .arg(1)
            .arg(lock.key)
            .arg(lock.token)
            .ignore();
        // If this fails, the lock expires by itself.
        let _ = self.run::<()>(&commands).await;
    }

    async fn run<T: FromRedisValue>(&self, commands: &Pipeline) -> Option<T> {
        if !self.usable() {
            return None;
        }
        let pool = self.pool.as_ref()?;
        let answer = timeout(self.timeout, async {
            let mut connection = pool.get().await.map_err(|error| error.to_string())?;
            let answer = commands.query_async::<T>(&mut connection).await;
            answer.map_err(|error| {
                drop(deadpool_redis::Connection::take(connection));
                error.to_string()
            })
        })
        .await;
        match answer {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                self.rest(&error);
                None
            }
            Err(_) => {
                self.rest("no answer in time");
                None
            }
        }
    }

    fn rest(&self, error: &str) {
        let until_ms = self.now_ms() + u64::try_from(REST_AFTER_FAILURE.as_millis()).unwrap_or(u64::MAX);
        let before = self.rest_until_ms.swap(until_ms, Ordering::Relaxed);
        metrics::counter!("cache_failures_total").increment(1);
        // One line for an outage, not one for each request.
        if self.now_ms() > before + 5_000 {
            tracing::warn!(error, "The cache does not answer; going on without");
        }
    }

    fn now_ms(&self) -> u64 {
        // Counted from 10 s, so that the first failure is never "just after" one that did not happen.
        10_000 + u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }
}

fn pool(args: &CacheArgs) -> Option<Pool> {
    let (host, port) = args.cache_addr.rsplit_once(':')?;
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = &args.cache_password_file {
        settings = settings.set_password(password.expose());
    }
    let info = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?)
        .into_connection_info()
        .ok()?;
    let timeout = Some(Duration::from_millis(args.cache_timeout_ms));
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(timeout)
        .set_response_timeout(timeout);
    let manager = Manager::new_with_config(info.set_redis_settings(settings), config).ok()?;
    Pool::builder(manager)
        .max_size(args.cache_pool_max.into())
        .wait_timeout(timeout)
        .create_timeout(timeout)
        .recycle_timeout(timeout)
        .runtime(Runtime::Tokio1)
        .build()
        .ok()
}

fn lock_key(key: &str) -> String {
    format!("{key}:lock")
}

/// Of fixed width, so that a script can compare positions as strings, without the rounding of its numbers.
fn encode(position: Position) -> String {
    format!("{:08x}{:016x}", position.timeline, position.lsn)
}

fn decode(text: &str) -> Option<Position> {
    let (timeline, lsn) = text.split_at_checked(8)?;
    Some(Position {
        timeline: u32::from_str_radix(timeline, 16).ok()?,
        lsn: u64::from_str_radix(lsn, 16).ok()?,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_form_in_redis() {
        let position = Position {
            timeline: 3,
            lsn: u64::MAX - 1,
        };
        assert_eq!(decode(&encode(position)), Some(position));
        assert_eq!(decode(""), None);
        assert_eq!(decode("ééééé"), None);
    }
}
