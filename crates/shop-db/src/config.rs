//! How a cluster is reached, and every limit and deadline of it.

use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use shop_telemetry::startup::SecretFile;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// The configuration of one Postgres cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// What the cluster is called in logs, metrics and positions: `inventory`, `users.main`.
    pub name: String,
    /// `host:port` of every member, primary or not.
    pub hosts: Vec<String>,
    /// The database's name.
    pub database: String,
    /// Who writes.
    pub user: String,
    /// The writer's password.
    pub password: SecretString,
    /// Who reads, and who probes.
    pub read_user: String,
    /// The reader's password.
    pub read_password: SecretString,
    /// Connections per host, for reads and for writes each.
    pub pool_max: u32,
    /// Reads that may be on the primary at once because no replica could serve them.
    pub fallback_reads_max: u32,
    /// Opening a connection takes no longer, or failed.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free connection of a host.
    pub acquire_timeout: Duration,
    /// How long a write waits for a primary, and a read that may need one. A frozen one is succeeded after five to six
    /// seconds.
    pub write_wait: Duration,
    /// How long a read that any host may serve waits for one.
    pub read_wait: Duration,
    /// How long a read waits for a replica to reach its position before it goes to the primary.
    pub replay_wait: Duration,
    /// A replica further behind serves no reads.
    pub lag_max: Duration,
    /// The same while the primary is slow, or gone.
    pub lag_max_of_slow_primary: Duration,
    /// Time between two probes of a host.
    pub probe_interval: Duration,
    /// A host that leaves a probe unanswered this long, and has answered nobody else meanwhile, is dead.
    pub probe_timeout: Duration,
    /// `statement_timeout` of every connection.
    pub statement_timeout: Duration,
    /// `lock_timeout` of every connection.
    pub lock_timeout: Duration,
    /// `idle_in_transaction_session_timeout` of every connection.
    pub idle_in_transaction_timeout: Duration,
    /// Whether replicas are to serve reads. Where not, it doesn't matter that they don't say their timeline.
    pub expects_reads: bool,
    /// `application_name` of every connection.
    pub application_name: String,
}

/// Why a cluster's configuration is unusable; names the variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A required variable is not set, or empty.
    #[error("{0} is not set")]
    Missing(String),
    /// A variable's value can't be used.
    #[error("{variable}: {reason}")]
    Invalid {
        /// The variable's name.
        variable: String,
        /// What is wrong with its value.
        reason: String,
    },
}

impl ConfigError {
    pub(crate) fn invalid(variable: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Invalid {
            variable: variable.into(),
            reason: reason.to_string(),
        }
    }
}

impl ClusterConfig {
    /// Reads `{prefix}_HOSTS`, `_NAME`, `_USER`, `_PASSWORD_FILE`, `_READ_USER`, `_READ_PASSWORD_FILE` and, optionally,
    /// `_POOL_MAX`. The cluster is called by the prefix without `_DB`, in lower case.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        Self::from_variables(prefix, &Variables::of_process())
    }

    pub(crate) fn from_variables(prefix: &str, variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let hosts_variable = format!("{prefix}_HOSTS");
        let hosts = parse_hosts(&hosts_variable, &variables.required(&hosts_variable)?)?;
        let pool_max_variable = format!("{prefix}_POOL_MAX");
        let pool_max = match variables.optional(&pool_max_variable) {
            Some(value) => value
                .parse()
                .ok()
                .filter(|max| (1..=1000).contains(max))
                .ok_or_else(|| ConfigError::invalid(pool_max_variable, "must be from 1 to 1000"))?,
            None => 10,
        };
        let stem = prefix.strip_suffix("_DB").unwrap_or(prefix).to_lowercase();
        let mut config = Self::new(stem, hosts, variables.required(&format!("{prefix}_NAME"))?);
        config.user = variables.required(&format!("{prefix}_USER"))?;
        config.password = variables.secret(&format!("{prefix}_PASSWORD_FILE"))?;
        config.read_user = variables.required(&format!("{prefix}_READ_USER"))?;
        config.read_password = variables.secret(&format!("{prefix}_READ_PASSWORD_FILE"))?;
        config.set_pool_max(pool_max);
        Ok(config)
    }

    /// One host, which is the primary, with one login for reads and writes. For tests.
    pub fn for_url(name: &str, url: &str) -> Result<Self, ConfigError> {
        let url = url::Url::parse(url).map_err(|error| ConfigError::invalid("the database's URL", error))?;
        let host = format!(
            "{}:{}",
            url.host_str().unwrap_or("127.0.0.1"),
            url.port().unwrap_or(5432)
        );
        let mut config = Self::new(
            name.to_owned(),
            vec![host],
            url.path().trim_start_matches('/').to_owned(),
        );
        url.username().clone_into(&mut config.user);
        config.password = url.password().unwrap_or_default().to_owned().into();
        config.read_user = config.user.clone();
        config.read_password = config.password.clone();
        config.set_pool_max(10);
        Ok(config)
    }

    /// A configuration with the default deadlines, and nobody who could log in yet.
    fn new(name: String, hosts: Vec<String>, database: String) -> Self {
        let application_name = std::env::args()
            .next()
            .and_then(|path| path.rsplit('/').next().map(ToOwned::to_owned))
            .unwrap_or_else(|| "shop".to_owned());
        Self {
            name,
            hosts,
            database,
            user: String::new(),
            password: SecretString::default(),
            read_user: String::new(),
            read_password: SecretString::default(),
            pool_max: 10,
            fallback_reads_max: 5,
            connect_timeout: Duration::from_secs(2),
            acquire_timeout: Duration::from_secs(2),
            write_wait: Duration::from_secs(7),
            read_wait: Duration::from_secs(2),
            replay_wait: Duration::from_millis(50),
            lag_max: Duration::from_secs(1),
            lag_max_of_slow_primary: Duration::from_secs(10),
            probe_interval: Duration::from_millis(250),
            probe_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            idle_in_transaction_timeout: Duration::from_secs(10),
            expects_reads: true,
            application_name,
        }
    }

    /// Sets the number of connections, and with it how many reads the primary takes over.
    pub fn set_pool_max(&mut self, pool_max: u32) {
        self.pool_max = pool_max;
        // A host that is alone serves all reads by design; with replicas, half is left for those that ask for the primary.
        self.fallback_reads_max = if self.hosts.len() == 1 {
            pool_max
        } else {
            (pool_max / 2).max(1)
        };
    }

    /// How to connect to `address` for writing.
    pub(crate) fn write_options(&self, address: &str) -> PgConnectOptions {
        self.options(address, &self.user, &self.password)
    }

    /// How to connect to `address` for reading. A write that is sent there by mistake fails loudly.
    pub(crate) fn read_options(&self, address: &str) -> PgConnectOptions {
        self.options(address, &self.read_user, &self.read_password)
            .options([("default_transaction_read_only", "on")])
    }

    fn options(&self, address: &str, user: &str, password: &SecretString) -> PgConnectOptions {
        let (host, port) = split_address(address).unwrap_or((address, 5432));
        let milliseconds = |duration: Duration| duration.as_millis().to_string();
        PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(port)
            .username(user)
            .password(password.expose_secret())
            .database(&self.database)
            // The database's network is private; TLS would cost a handshake at each reconnect.
            .ssl_mode(PgSslMode::Disable)
            .application_name(&self.application_name)
            .options([
                ("statement_timeout", milliseconds(self.statement_timeout)),
                ("lock_timeout", milliseconds(self.lock_timeout)),
                (
                    "idle_in_transaction_session_timeout",
                    milliseconds(self.idle_in_transaction_timeout),
                ),
            ])
    }
}

/// `a:1,b:2` as a list of addresses, each of them checked.
pub(crate) fn parse_hosts(variable: &str, list: &str) -> Result<Vec<String>, ConfigError> {
    let hosts: Vec<String> = list
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
        .map(ToOwned::to_owned)
        .collect();
    if hosts.is_empty() {
        return Err(ConfigError::Missing(variable.to_owned()));
    }
    match hosts.iter().find(|host| split_address(host).is_none()) {
        Some(host) => Err(ConfigError::invalid(variable, format!("{host:?} is not host:port"))),
        None => Ok(hosts),
    }
}

fn split_address(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, u16::from_str(port).ok()?)).filter(|(host, _)| !host.is_empty())
}

/// What a variable is set to, if it is set.
type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Where variables come from: the process's environment, or a test's own, since nobody may change that of a process.
pub(crate) struct Variables<'a>(Box<Lookup<'a>>);

impl<'a> Variables<'a> {
    pub(crate) fn of_process() -> Self {
        Self(Box::new(|name| std::env::var(name).ok()))
    }

    #[cfg(test)]
    pub(crate) fn of_list(list: &'a [(&'a str, &'a str)]) -> Self {
        let value = |name: &str| {
            list.iter()
                .rev()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| *value)
        };
        Self(Box::new(move |name| value(name).map(ToOwned::to_owned)))
    }

    /// A variable that is set to something.
    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<String, ConfigError> {
        self.optional(name).ok_or_else(|| ConfigError::Missing(name.to_owned()))
    }

    fn secret(&self, name: &str) -> Result<SecretString, ConfigError> {
        let file: SecretFile = self
            .required(name)?
            .parse()
            .map_err(|error| ConfigError::invalid(name, error))?;
        Ok(file.secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_checked_and_the_variable_is_named() {
        assert_eq!(parse_hosts("X_HOSTS", "a:1, b:2,").unwrap(), ["a:1", "b:2"]);
        for bad in ["a", "a:b", "a:1,b", ":5432", "a:70000"] {
            let message = parse_hosts("X_HOSTS", bad).unwrap_err().to_string();
            assert!(message.contains("X_HOSTS"), "{message}");
        }
        assert!(matches!(parse_hosts("X_HOSTS", " , "), Err(ConfigError::Missing(_))));
    }

    #[test]
    fn a_primary_with_replicas_keeps_half_of_its_connections_from_fallback_reads() {
        let mut config = ClusterConfig::for_url("x", "postgres://me:secret@127.0.0.1:1/db").unwrap();
        assert_eq!(config.fallback_reads_max, 10);
        config.hosts.push("127.0.0.1:2".to_owned());
        config.set_pool_max(8);
        assert_eq!(config.fallback_reads_max, 4);
    }
}
