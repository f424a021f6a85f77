//! What Postgres says: this node's own, as superuser over its socket, and the others' as a monitor over TCP.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
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

/// Of a segment of the log, where nobody chose another size.
const SEGMENT_BYTES: u64 = 16 << 20;

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
    /// Whether it has a WAL receiver, connected or not.
    pub(crate) receives: bool,
    /// The host that the receiver is connected to. It has then read all WAL of its own, so `log` leaves nothing out.
    /// That the host also sends anything is for the host to say: a receiver that is refused calls itself streaming.
    pub(crate) receives_from: Option<String>,
    /// The host that it was told to receive from, if that was so long ago that every process of the server knows.
    pub(crate) told_to_receive_from: Option<String>,
    pub(crate) log: Log,
    /// Whom it sends WAL to. Its WAL senders have found the log of each of them to be a part of its own history.
    pub(crate) followers: BTreeSet<String>,
    /// Whom its commits wait for, once it is primary.
    pub(crate) synchronous_standby_names: String,
}

/// How far a server's log reaches: which timeline it is on, and how far it goes there.
///
/// Postgres says the timeline of a replica only while it receives. But each segment of the log is a file named after its
/// timeline, and a replica gets such a file only when it has replayed all that comes before that timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    /// The end of what was received or replayed, in bytes.
    pub(crate) position: u64,
    /// The newest timeline that has a file for the byte before `position`.
    pub(crate) timeline_at_least: u32,
    /// The newest timeline that has a file at all.
    pub(crate) timeline_at_most: u32,
}

impl Log {
    fn read(position: u64, segment_bytes: u64, files: &[String]) -> Self {
        let last = position.saturating_sub(1) / segment_bytes;
        let segments = || files.iter().filter_map(|name| Segment::parse(name, segment_bytes));
        let newest = |timelines: &mut dyn Iterator<Item = u32>| timelines.max().unwrap_or(0);
        Self {
            position,
            timeline_at_least: newest(&mut segments().filter(|file| file.number == last).map(|file| file.timeline)),
            timeline_at_most: newest(&mut segments().map(|file| file.timeline)),
        }
    }
}

/// What the name of a file of the log says.
struct Segment {
    timeline: u32,
    number: u64,
}

impl Segment {
    /// None for all that is no whole segment: histories, and what was left unfinished by a timeline that ended in it.
    fn parse(name: &str, segment_bytes: u64) -> Option<Self> {
        if name.len() != 24 || !name.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let part = |range| u32::from_str_radix(name.get(range)?, 16).ok();
        let (high, low) = (part(8..16)?, part(16..24)?);
        Some(Self {
            timeline: part(0..8)?,
            number: u64::from(high) * ((1 << 32) / segment_bytes) + u64::from(low),
        })
    }
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
                    pg_size_bytes(current_setting('wal_segment_size')), \
                    exists (select from pg_stat_activity where backend_type = 'walreceiver'), \
                    array(select name from pg_ls_waldir()), \
                    array(select application_name from pg_stat_replication where state = 'streaming'), \
                    current_setting('synchronous_standby_names'), \
                    case when clock_timestamp() - pg_conf_load_time() > interval '300 ms' \
                         then substring(current_setting('primary_conninfo') from '(?:^| )host=([^ '']+)') end \
             from (select) as always left join pg_stat_wal_receiver as receiver on true",
        );
        let row = row.await?;
        let bytes = |column| {
            row.try_get(column)
                .map(|bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()))
        };
        let files: Vec<String> = row.try_get(5)?;
        let followers: Vec<String> = row.try_get(6)?;
        Ok(Standing {
            in_recovery: row.try_get(0)?,
            receives: row.try_get(4)?,
            receives_from: row.try_get(1)?,
            told_to_receive_from: row.try_get(8)?,
            log: Log::read(bytes(2)?.unwrap_or(0), bytes(3)?.unwrap_or(SEGMENT_BYTES), &files),
            followers: followers.into_iter().collect(),
            synchronous_standby_names: row.try_get(7)?,
        })
    }

    /// Where the server keeps its data.
    pub(crate) async fn data_directory(&mut self) -> Result<PathBuf, PostgresError> {
        let path: String = self.row("select current_setting('data_directory')").await?.try_get(0)?;
        Ok(path.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn log(position: u64, files: &[&str]) -> (u32, u32) {
        let files: Vec<_> = files.iter().map(|name| (*name).to_owned()).collect();
        let log = Log::read(position, SEGMENT_BYTES, &files);
        (log.timeline_at_least, log.timeline_at_most)
    }

    #[test]
    fn the_timeline_of_a_log_is_read_from_the_names_of_its_files() {
        let files = [
            "000000010000000000000002",
            "000000010000000000000003",
            "000000010000000000000003.partial",
            "000000020000000000000003",
            "000000030000000000000004",
            "00000009.history",
            "archive_status",
        ];
        assert_eq!(log(3 << 24, &files), (1, 3));
        assert_eq!(log((3 << 24) + 1, &files), (2, 3));
        assert_eq!(log(4 << 24, &files), (2, 3));
        assert_eq!(log((4 << 24) + 1, &files), (3, 3));
        assert_eq!(log(9 << 24, &files), (0, 3));
        assert_eq!(log(0, &[]), (0, 0));
        assert_eq!(log((1 << 32) + 1, &["0000000A0000000100000000"]), (10, 10));
    }
}
