//! What Postgres says: this node's own, as superuser over its socket, and the others' as a monitor over TCP.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::time::timeout;

/// A connection that comes and goes with the server: made when it is needed, dropped at the first trouble.
pub(crate) struct Postgres {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    deadline: Duration,
}

/// A handshake with a password takes its time where the machine is busy, and begun anew it would take it again.
const CONNECT_DEADLINE: Duration = Duration::from_millis(1500);

/// Why a server did not say what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    #[error("Postgres did not answer within {0:?}")]
    Silent(Duration),
    #[error("Postgres could not be asked")]
    Failed(#[from] sqlx::Error),
}

/// From whom this node's WAL receiver streams, and a text that changes with everything that it hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WalReceiver {
    pub(crate) streams_from: Option<String>,
    pub(crate) heard: Option<String>,
}

/// Where a server is in the stream of WAL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) in_recovery: bool,
    /// The host that it streams from now. It has then read all WAL of its own, so `position` leaves nothing out.
    pub(crate) streams_from: Option<String>,
    /// The end of what it has received or replayed, in bytes.
    pub(crate) position: u64,
    /// Whom its commits wait for, once it is primary.
    pub(crate) synchronous_standby_names: String,
}

impl Postgres {
    /// This node's own server, which lets the operating system's user in as superuser.
    pub(crate) fn local(socket_dir: &Path, port: u16, deadline: Duration) -> Self {
        let options = options(port, deadline).socket(socket_dir).username("postgres");
        Self::new(options, deadline)
    }

    /// Another node's server.
    pub(crate) fn remote(host: &str, port: u16, user: &str, password: &str, deadline: Duration) -> Self {
        let options = options(port, deadline).host(host).username(user).password(password);
        Self::new(options, deadline)
    }

    fn new(options: PgConnectOptions, deadline: Duration) -> Self {
        Self {
            options,
            connection: None,
            deadline,
        }
    }

    /// None if this server is no replica.
    pub(crate) async fn wal_receiver(&mut self) -> Result<Option<WalReceiver>, PostgresError> {
        let row = self.row(
            "select pg_is_in_recovery(), receiver.sender_host, \
                    concat(receiver.last_msg_receipt_time, ' ', receiver.written_lsn) \
             from (select) as always left join pg_stat_wal_receiver as receiver on receiver.status = 'streaming'",
        );
        let row = row.await?;
        if !row.try_get::<bool, _>(0)? {
            return Ok(None);
        }
        let streams_from: Option<String> = row.try_get(1)?;
        let heard = streams_from.is_some().then(|| row.try_get(2)).transpose()?;
        Ok(Some(WalReceiver { streams_from, heard }))
    }

    pub(crate) async fn standing(&mut self) -> Result<Standing, PostgresError> {
        let row = self.row(
            "select pg_is_in_recovery(), receiver.sender_host, \
                    (greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) - '0/0')::bigint, \
                    current_setting('synchronous_standby_names') \
             from (select) as always left join pg_stat_wal_receiver as receiver on receiver.status = 'streaming'",
        );
        let row = row.await?;
        let position: Option<i64> = row.try_get(2)?;
        Ok(Standing {
            in_recovery: row.try_get(0)?,
            streams_from: row.try_get(1)?,
            position: position.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0),
            synchronous_standby_names: row.try_get(3)?,
        })
    }

    async fn row(&mut self, query: &'static str) -> Result<sqlx::postgres::PgRow, PostgresError> {
        // A connection that was slow or failed is not used again: its next answer might be to this question.
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => within(CONNECT_DEADLINE, self.options.connect()).await?,
        };
        let row = within(self.deadline, sqlx::query(query).fetch_one(&mut connection)).await?;
        self.connection = Some(connection);
        Ok(row)
    }
}

async fn within<T>(deadline: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, PostgresError> {
    timeout(deadline, work)
        .await
        .map_err(|_| PostgresError::Silent(deadline))?
        .map_err(PostgresError::Failed)
}

fn options(port: u16, deadline: Duration) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .port(port)
        .database("postgres")
        .ssl_mode(PgSslMode::Disable)
        .application_name("warden")
        .options([("statement_timeout", deadline.as_millis().to_string())])
        .disable_statement_logging()
}
