//! The way to whoever is Redis primary now.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use futures::future::join_all;
use rand::seq::SliceRandom as _;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, Pipeline, RedisConnectionInfo,
    RedisError,
};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::{Result, SessionArgs, SessionError};

/// A failover takes up to 4.6 s; a request waits a little longer than that, then says that it is unavailable.
const OPERATION_DEADLINE: Duration = Duration::from_secs(6);
/// A frozen primary closes nothing: only this ends the wait for it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
const POOL_WAIT: Duration = Duration::from_secs(2);
/// How long a write waits for a replica to have it.
const REPLICATION_WAIT: Duration = Duration::from_secs(1);
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(500);
const SENTINEL_INTERVAL: Duration = Duration::from_secs(1);
/// However many requests fail, the sentinels are asked at most this often.
const SENTINEL_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What must be true before a write counts as done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The primary has it.
    Primary,
    /// As many replicas have it as the configuration asks for.
    Replicated,
}

#[derive(Clone)]
pub(crate) struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    args: SessionArgs,
    primary: ArcSwapOption<Primary>,
    changed: watch::Sender<u64>,
    doubt: Notify,
}

struct Primary {
    address: String,
    pool: Pool,
}

/// Whom a sentinel takes for the primary.
#[derive(Debug)]
struct Named {
    address: String,
    /// Counts the failovers up to the one by which the sentinel knows this.
    epoch: u64,
}

/// Why one attempt failed, and whether another may do better.
enum AttemptError {
    Again(Option<RedisError>),
    Refused(RedisError),
}

impl Link {
    /// Starts to follow the sentinels. A store that is away now is found when it comes.
    pub(crate) async fn connect(args: SessionArgs) -> Self {
        let inner = Arc::new(Inner {
            args,
            primary: ArcSwapOption::empty(),
            changed: watch::Sender::new(0),
            doubt: Notify::new(),
        });
        inner.ask_sentinels(false).await;
        tokio::spawn(follow(Arc::downgrade(&inner)));
        Self { inner }
    }

    pub(crate) fn key_prefix(&self) -> &str {
        &self.inner.args.sessions_key_prefix
    }

    /// Runs commands that are harmless to repeat, until they succeed or the deadline is over.
    pub(crate) async fn run<T: FromRedisValue>(&self, commands: &Pipeline, durability: Durability) -> Result<T> {
        let started = Instant::now();
        let deadline = started + OPERATION_DEADLINE;
        let mut pause = Duration::from_millis(20);
        loop {
            let mut changed = self.inner.changed.subscribe();
            let attempt = tokio::select! {
                attempt = timeout_at(deadline, self.inner.attempt(commands, durability)) => attempt,
                // What waits for a former primary waits in vain.
                _ = changed.changed() => continue,
            };
            let error = match attempt {
                Ok(Ok((value, host))) => {
                    shop_telemetry::timing::record("sessions", format!("{host} primary"), started.elapsed());
                    return Ok(value);
                }
                Ok(Err(AttemptError::Refused(error))) => return Err(SessionError::Refused(error)),
                Ok(Err(AttemptError::Again(error))) => error,
                Err(_) => None,
            };
            metrics::counter!("session_store_retries_total").increment(1);
            self.inner.doubt.notify_one();
            if Instant::now() + pause >= deadline {
                return Err(SessionError::Unavailable(error));
            }
            // Whichever comes first: a new primary, or the time to try the old one again.
            let _ = timeout(pause, changed.changed()).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

impl Inner {
    async fn attempt<T: FromRedisValue>(
        &self,
        commands: &Pipeline,
        durability: Durability,
    ) -> std::result::Result<(T, String), AttemptError> {
        let Some(primary) = self.primary.load_full() else {
            return Err(AttemptError::Again(None));
        };
        let mut connection = primary.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => AttemptError::Again(Some(error)),
            _ => AttemptError::Again(None),
        })?;
        let replicas_min = match durability {
            Durability::Primary => 0,
            Durability::Replicated => self.args.sessions_replicas_min,
        };
        let fence = format!("{}fence", self.args.sessions_key_prefix);
        let outcome = write_and_wait(&mut connection, commands, replicas_min, &fence).await;
        if matches!(outcome, Err(AttemptError::Again(_))) {
            // A connection to a demoted or silent primary must not go back to the pool.
            drop(deadpool_redis::Connection::take(connection));
        }
        let host = primary.address.rsplit_once(':').map_or("", |(host, _)| host);
        outcome.map(|value| (value, host.to_owned()))
    }

    /// Learns from the sentinels who is primary. While nothing is `doubtful` one of them is enough to confirm it.
    async fn ask_sentinels(&self, doubtful: bool) {
        let mut sentinels = self.args.sessions_sentinels.clone();
        sentinels.shuffle(&mut rand::rng());
        let known = self.primary.load_full();
        let is_known = |address: &str| known.as_ref().is_some_and(|primary| primary.address == address);
        if !doubtful {
            for sentinel in &sentinels {
                match self.primary_by(sentinel).await {
                    Some(named) if is_known(&named.address) => return,
                    Some(_) => break,
                    None => {}
                }
            }
        }
        // The sentinel that leads a failover knows its outcome a second before it tells the others.
        let answers = join_all(sentinels.iter().map(|sentinel| self.primary_by(sentinel))).await;
        for address in newest_first(answers.into_iter().flatten().collect()) {
            if is_known(&address) {
                return;
            }
            if self.proves_primary(&address).await {
                self.switch_to(address);
                return;
            }
        }
    }

    async fn primary_by(&self, sentinel: &str) -> Option<Named> {
        timeout(SENTINEL_TIMEOUT, self.named_by(sentinel)).await.ok().flatten()
    }

    async fn named_by(&self, sentinel: &str) -> Option<Named> {
        let mut connection = open(sentinel, None).await.ok()?;
        let (address, about): (Option<(String, u16)>, HashMap<String, String>) = redis::pipe()
            .cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.args.sessions_master)
            .cmd("SENTINEL")
            .arg("MASTER")
            .arg(&self.args.sessions_master)
            .query_async(&mut connection)
            .await
            .ok()?;
        let (host, port) = address?;
        Some(Named {
            address: format!("{host}:{port}"),
            epoch: about.get("config-epoch")?.parse().ok()?,
        })
    }

    /// A sentinel that was cut off may name a node that is dead or a replica by now.
    async fn proves_primary(&self, address: &str) -> bool {
        let role = async {
            let mut connection = open(address, self.password()).await?;
            redis::cmd("ROLE")
                .query_async::<Vec<redis::Value>>(&mut connection)
                .await
        };
        let Ok(Ok(role)) = timeout(CONNECT_TIMEOUT, role).await else {
            return false;
        };
        role.first()
            .is_some_and(|role| redis::from_redis_value_ref::<String>(role).is_ok_and(|role| role == "master"))
    }

    fn switch_to(&self, address: String) {
        let Some(pool) = self.pool(&address) else {
            tracing::error!(redis.address = %address, "The sentinels named an address that cannot be used");
            return;
        };
        tracing::info!(redis.address = %address, "Sessions have a primary");
        if let Some(old) = self.primary.swap(Some(Arc::new(Primary { address, pool }))) {
            old.pool.close();
        }
        self.changed.send_modify(|version| *version += 1);
    }

    fn pool(&self, address: &str) -> Option<Pool> {
        let manager = Manager::new_with_config(connection_info(address, self.password())?, connection_config()).ok()?;
        Pool::builder(manager)
            .max_size(self.args.sessions_pool_max.into())
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(ATTEMPT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .ok()
    }

    fn password(&self) -> Option<&str> {
        self.args
            .sessions_password_file
            .as_ref()
            .map(shop_telemetry::startup::SecretFile::expose)
    }
}

/// Each address once, beginning with that of the last failover: a sentinel that was cut off names whom it knew.
fn newest_first(mut named: Vec<Named>) -> Vec<String> {
    named.sort_by_key(|named| std::cmp::Reverse(named.epoch));
    let mut addresses = Vec::with_capacity(named.len());
    for Named { address, .. } in named {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

/// `WAIT` counts the writes of its own connection only, so it goes over the one that wrote.
async fn write_and_wait<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    commands: &Pipeline,
    replicas_min: u32,
    fence: &str,
) -> std::result::Result<T, AttemptError> {
    let value = match timeout(ATTEMPT_TIMEOUT, commands.query_async::<T>(connection)).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) if is_refusal(&error) => return Err(AttemptError::Refused(error)),
        Ok(Err(error)) => return Err(AttemptError::Again(Some(error))),
        Err(_) => return Err(AttemptError::Again(None)),
    };
    if replicas_min == 0 {
        return Ok(value);
    }
    // A repeat may find its work done by a try that no replica has heard of, and write nothing; WAIT alone would then
    // have nothing to wait for.
    let (acknowledged,): (u32,) = redis::pipe()
        .cmd("SET")
        .arg(fence)
        .arg(1)
        .ignore()
        .cmd("WAIT")
        .arg(replicas_min)
        .arg(u64::try_from(REPLICATION_WAIT.as_millis()).unwrap_or(u64::MAX))
        .query_async(connection)
        .await
        .map_err(|error| AttemptError::Again(Some(error)))?;
    if acknowledged < replicas_min {
        metrics::counter!("session_store_unreplicated_total").increment(1);
        return Err(AttemptError::Again(None));
    }
    Ok(value)
}

/// Whether Redis understood the command and won't ever run it, as opposed to being the wrong node or not ready.
fn is_refusal(error: &RedisError) -> bool {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return false;
    }
    // That of a pipeline has the codes of its commands, and none of its own.
    match error.clone().into_server_errors() {
        Some(errors) => !errors.iter().all(|(_, error)| passes(error.code())),
        None => !error.is_unrecoverable_error(),
    }
}

/// Whether a node that answers with this code may do it later, or another one now.
fn passes(code: &str) -> bool {
    const PASSING: [&str; 10] = [
        "READONLY",
        "NOREPLICAS",
        "LOADING",
        "MASTERDOWN",
        "TRYAGAIN",
        "BUSY",
        "CLUSTERDOWN",
        "NOAUTH",
        // Its disk is full, and its memory.
        "MISCONF",
        "OOM",
    ];
    PASSING.contains(&code)
}

async fn follow(inner: Weak<Inner>) {
    loop {
        let doubtful = {
            let Some(inner) = inner.upgrade() else { return };
            timeout(SENTINEL_INTERVAL, inner.doubt.notified()).await.is_ok()
        };
        let Some(inner) = inner.upgrade() else { return };
        inner.ask_sentinels(doubtful).await;
        drop(inner);
        sleep(SENTINEL_INTERVAL_MIN).await;
    }
}

async fn open(address: &str, password: Option<&str>) -> redis::RedisResult<MultiplexedConnection> {
    let info = connection_info(address, password)
        .ok_or_else(|| RedisError::from((redis::ErrorKind::InvalidClientConfig, "not host:port")))?;
    redis::Client::open(info)?
        .get_multiplexed_async_connection_with_config(&connection_config())
        .await
}

fn connection_config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(ATTEMPT_TIMEOUT + REPLICATION_WAIT))
}

fn connection_info(address: &str, password: Option<&str>) -> Option<redis::ConnectionInfo> {
    let (host, port) = address.rsplit_once(':')?;
    let info = ConnectionAddr::Tcp(host.to_owned(), port.parse().ok()?)
        .into_connection_info()
        .ok()?;
    let mut settings = RedisConnectionInfo::default();
    if let Some(password) = password {
        settings = settings.set_password(password);
    }
    Some(info.set_redis_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(line: &str) -> RedisError {
        let answer = redis::parse_redis_value(line.as_bytes()).and_then(redis::Value::extract_error);
        answer.expect_err("an answer that begins with - is an error")
    }

    #[test]
    fn the_sentinel_that_knows_of_the_last_failover_is_believed_first() {
        let named = |address: &str, epoch| Named {
            address: address.to_owned(),
            epoch,
        };
        let answers = vec![named("old:1", 6), named("new:1", 7), named("old:1", 6)];
        assert_eq!(newest_first(answers), ["new:1", "old:1"]);
    }

    #[test]
    fn a_node_that_cannot_write_now_is_asked_again_and_one_that_never_will_is_not() {
        for passing in [
            "-MISCONF Errors writing to the AOF file: No space left on device\r\n",
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            "-READONLY You can't write against a read only replica.\r\n",
            "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        ] {
            assert!(!is_refusal(&answered(passing)), "{passing}");
        }
        for refused in [
            "-ERR unknown command\r\n",
            "-WRONGTYPE Operation against a key\r\n",
            "-NOPERM no\r\n",
        ] {
            assert!(is_refusal(&answered(refused)), "{refused}");
        }
    }
}
