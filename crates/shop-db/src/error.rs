//! What can go wrong between a caller and a cluster.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::watch;

/// Why a connection could not be had, or a statement failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// Nobody was primary within the deadline.
    #[error("{cluster} has had no primary for {waited:?}")]
    NoPrimary {
        /// The cluster's name.
        cluster: String,
        /// How long the caller has waited.
        waited: Duration,
    },
    /// No host could serve a read within the deadline.
    #[error("no host of {cluster} could serve this read for {waited:?}")]
    NoReader {
        /// The cluster's name.
        cluster: String,
        /// How long the caller has waited.
        waited: Duration,
    },
    /// All connections were taken for longer than a caller may wait.
    #[error("all connections to {cluster} are taken")]
    Overloaded {
        /// The cluster's name.
        cluster: String,
    },
    /// The host died, froze or changed its role while the statement was under way.
    #[error("{host} was lost in the middle of a statement")]
    HostLost {
        /// The host's name.
        host: String,
    },
    /// The cluster was closed: the process is stopping.
    #[error("{cluster} is closed")]
    Closed {
        /// The cluster's name.
        cluster: String,
    },
    /// Postgres, or the way to it, refused the statement.
    #[error("the database failed")]
    Sqlx(#[source] sqlx::Error),
}

impl DbError {
    /// Whether a later try may succeed with nothing changed: the answer is 503, not 500.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Self::Sqlx(error) => is_connection_error(error) || code_of(error).is_some_and(|code| is_transient(&code)),
            _ => true,
        }
    }

    /// Whether it is the host that failed, so that another one may do better. A write may have happened all the same: only
    /// one that finds out about itself, by a key for instance, may be done again.
    pub fn is_of_host(&self) -> bool {
        match self {
            Self::HostLost { .. } => true,
            // 40001 is what a replica says whose replay was in the way of the statement.
            Self::Sqlx(error) => is_connection_lost(error) || code_of(error).is_some_and(|code| code == "40001"),
            _ => false,
        }
    }

    /// The name of the constraint that a statement violated, if that is why it failed.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Sqlx(error) => error.as_database_error()?.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(error: sqlx::Error) -> Self {
        if is_connection_lost(&error) {
            suspect();
        }
        Self::Sqlx(error)
    }
}

/// Statements are run on a bare connection, so that an error doesn't know its host. It is news about some host all the
/// same: every error that smells of a failover counts this up, which makes all hosts be probed at once, and connections
/// that were out meanwhile be closed instead of kept.
static SUSPICIONS: LazyLock<watch::Sender<u64>> = LazyLock::new(|| watch::Sender::new(0));

/// How many errors that may mean a failover there have been in this process.
pub(crate) fn suspicions() -> watch::Receiver<u64> {
    SUSPICIONS.subscribe()
}

/// Says that some host may have died or changed its role.
pub(crate) fn suspect() {
    SUSPICIONS.send_modify(|count| *count += 1);
}

/// Whether a statement failed with its connection, or because its host may no longer write: it broke, the server is
/// stopping, starting or gone, or is a replica now. The statement may have had its effect or not.
pub fn is_connection_lost(error: &sqlx::Error) -> bool {
    is_connection_error(error) || code_of(error).is_some_and(|code| is_demotion(&code))
}

fn is_connection_error(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
    )
}

/// The error of a host that says nothing.
pub(crate) fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

pub(crate) fn code_of(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// Read-only transaction (the host is a replica now), or the server is stopping, starting or gone.
fn is_demotion(code: &str) -> bool {
    code == "25006" || code.starts_with("57P") || code.starts_with("08")
}

/// The above, resources used up, statement or lock timeout, deadlock, and conflict with replay.
fn is_transient(code: &str) -> bool {
    is_demotion(code) || code.starts_with("53") || matches!(code, "57014" | "55P03" | "40001" | "40P01" | "25P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_is_unavailability_and_a_missing_row_is_not() {
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(DbError::from(sqlx::Error::Io(lost)).is_unavailable());
        assert!(!DbError::from(sqlx::Error::RowNotFound).is_unavailable());
    }

    #[test]
    fn a_lost_connection_is_news_about_the_hosts() {
        let mut news = suspicions();
        news.mark_unchanged();
        let _ = DbError::from(sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into()));
        assert!(news.has_changed().unwrap());
    }

    #[test]
    fn codes_that_pass_by_themselves_are_told_from_mistakes() {
        for code in ["25006", "57P01", "57P03", "08006", "53300", "57014", "40P01"] {
            assert!(is_transient(code), "{code}");
        }
        for code in ["42P01", "23505", "22P02", "28P01"] {
            assert!(!is_transient(code), "{code}");
        }
    }
}
