//! One task per host asks it, on a connection of its own, who it is and how far it has got.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout, timeout_at};

use crate::cluster::Shared;
use crate::error::{suspicions, timed_out};
use crate::host::{Host, Role};

/// Role, timeline, byte, and when the server process started, in one round trip. A replica's timeline is the one that
/// it receives: Postgres follows a timeline only if its own past lies on it. The control file would be late by up to a
/// checkpoint.
const PROBE: &str = "
    select recovering,
           case when recovering
                then coalesce((select received_tli from pg_stat_wal_receiver), 0)
                else ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int
           end,
           ((case when recovering then coalesce(pg_last_wal_replay_lsn(), '0/0') else pg_current_wal_flush_lsn() end)
               - '0/0'::pg_lsn)::bigint,
           extract(epoch from pg_postmaster_start_time())::float8
      from (select pg_is_in_recovery() as recovering) as it";

/// However many errors ask for a probe at once, there are no more than one in this time.
const INTERVAL_MIN: Duration = Duration::from_millis(20);

/// A host that can't be reached is tried again after this, however rarely hosts are probed.
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(250);

/// A host that answers others and leaves its probe waiting for this long is dead all the same.
const PATIENCE_MAX: Duration = Duration::from_secs(5);

/// What a host says of itself.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) role: Role,
    pub(crate) timeline: u32,
    pub(crate) lsn: u64,
    pub(crate) started_unix: f64,
    pub(crate) asked_at: Instant,
}

/// Probes `host` until the cluster is closed.
pub(crate) async fn run(shared: Arc<Shared>, host: Arc<Host>) {
    let closed = shared.closed.clone();
    closed.run_until_cancelled(probe_for_ever(&shared, &host)).await;
}

async fn probe_for_ever(shared: &Shared, host: &Host) {
    let mut news = suspicions();
    loop {
        let mut connection = match connect(shared, host).await {
            Ok(connection) => connection,
            Err(error) => {
                shared.host_failed(host, &error);
                wait_for_next_try(shared).await;
                continue;
            }
        };
        loop {
            let asked_at = Instant::now();
            match patiently(shared, host, ask(&mut connection, asked_at)).await {
                Ok(answer) => shared.host_answered(host, answer),
                Err(error) => {
                    shared.host_failed(host, &error);
                    break;
                }
            }
            let wake = async {
                tokio::select! {
                    () = host.probe_now.notified() => {}
                    _ = news.changed() => {}
                }
                tokio::time::sleep_until(asked_at + INTERVAL_MIN).await;
            };
            tokio::select! {
                () = tokio::time::sleep(shared.config.probe_interval) => {}
                () = wake => {}
                // A server that dies closes its connections: no need to wait for the next probe to learn of it.
                ended = connection.try_recv() => {
                    let error = ended.err().unwrap_or_else(|| sqlx::Error::Io(std::io::ErrorKind::UnexpectedEof.into()));
                    shared.host_failed(host, &error);
                    break;
                }
            }
        }
        wait_for_next_try(shared).await;
    }
}

async fn wait_for_next_try(shared: &Shared) {
    tokio::time::sleep(shared.config.probe_interval.min(RETRY_PAUSE_MAX)).await;
}

/// Gives a host `probe_timeout` for its answer. It gets more while it answers others: then it is not dead but overloaded,
/// and would only have more to do if everybody dropped their connections and opened new ones.
async fn patiently<T>(
    shared: &Shared,
    host: &Host,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let asked_at = Instant::now();
    host.update(|view| view.probing_since = Some(asked_at));
    tokio::pin!(answer);
    let outcome = loop {
        let alive_at = host.answered_at().unwrap_or(asked_at).max(asked_at);
        let limit = PATIENCE_MAX.max(shared.config.probe_timeout);
        let deadline = (alive_at + shared.config.probe_timeout).min(asked_at + limit);
        if deadline <= Instant::now() {
            break Err(timed_out());
        }
        if let Ok(outcome) = timeout_at(deadline, &mut answer).await {
            break outcome;
        }
    };
    host.update(|view| view.probing_since = None);
    outcome
}

/// A listener, though it listens for nothing: it alone can wait for the end of its connection.
///
/// Whoever logs in gets as long for it as anybody else. A host that is dead answers at once or never, and one that is
/// overloaded would only have one more to let in if this one gave up.
async fn connect(shared: &Shared, host: &Host) -> Result<PgListener, sqlx::Error> {
    let options = shared.config.read_options(&host.address);
    let login_timeout = shared.config.connect_timeout;
    // A server that is starting refuses, at the price of a process for each who asks. The listener's pool would ask again
    // and again within its time-out.
    let first = async { PgConnection::connect_with(&options).await?.close().await };
    timeout(login_timeout, first).await.map_err(|_elapsed| timed_out())??;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(login_timeout)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    Ok(listener)
}

async fn ask(connection: &mut PgListener, asked_at: Instant) -> Result<Answer, sqlx::Error> {
    let (recovering, timeline, lsn, started_unix): (bool, i32, i64, f64) =
        sqlx::query_as(PROBE).fetch_one(connection).await?;
    Ok(Answer {
        role: if recovering { Role::Replica } else { Role::Primary },
        timeline: u32::try_from(timeline).unwrap_or(0),
        lsn: u64::try_from(lsn).unwrap_or(0),
        started_unix,
        asked_at,
    })
}
