//! Everything that the warden can be told by its command line and environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use shop_telemetry::startup::SecretFile;

/// Keeps one node of a Postgres cluster: starts Patroni, notices a dead leader, and guards promotions.
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Runs Patroni and the watcher as child processes; ends as Patroni ends.
    Supervise(SuperviseConfig),
    /// Votes when the leader is dead, and deletes its key when enough watchers have voted.
    Watch(WatchConfig),
    /// Says by its exit code whether this node may be promoted: 0 if nothing acknowledged could be lost. Patroni runs it.
    Fence(FenceConfig),
}

/// What every subcommand but the supervisor needs to know of the cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ClusterConfig {
    /// Name of this node, as Patroni knows it. Nodes are reached by their names.
    #[arg(long, env = "HOSTNAME")]
    pub(crate) node: NodeName,

    /// The etcd nodes, `host:port` with commas between.
    #[arg(
        long,
        env = "ETCD_HOSTS",
        value_delimiter = ',',
        default_value = "etcd-1:2379,etcd-2:2379,etcd-3:2379"
    )]
    pub(crate) etcd_hosts: Vec<HostPort>,

    /// What the names of the cluster's keys in etcd begin with: Patroni's namespace and scope.
    #[arg(long, env = "ETCD_PREFIX", default_value = "/db/shop/")]
    pub(crate) etcd_prefix: Prefix,

    /// Folder of the socket at which this node's Postgres lets the superuser in.
    #[arg(long, env = "POSTGRES_SOCKET_DIR", default_value = "/run/zillion")]
    pub(crate) postgres_socket_dir: PathBuf,

    /// Port of every node's Postgres.
    #[arg(long, env = "POSTGRES_PORT", default_value_t = 5432)]
    pub(crate) postgres_port: u16,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SuperviseConfig {
    /// Run before anything else, once.
    #[arg(
        long,
        env = "WARDEN_PREPARE",
        default_value = "/usr/local/lib/zillion/discard-unfinished"
    )]
    pub(crate) prepare: PathBuf,

    /// Prints Patroni's configuration.
    #[arg(long, env = "WARDEN_CONFIGURE", default_value = "/usr/local/lib/zillion/configure")]
    pub(crate) configure: PathBuf,

    /// Where Patroni's configuration is written. It holds passwords: memory is the place for it.
    #[arg(long, env = "PATRONI_CONFIG", default_value = "/run/zillion/patroni.yml")]
    pub(crate) patroni_config: PathBuf,

    /// Patroni, started with its configuration as only argument.
    #[arg(
        long,
        env = "WARDEN_PATRONI",
        default_value = "/usr/local/lib/zillion/patroni-with-rules"
    )]
    pub(crate) patroni: PathBuf,

    /// The program that is started as `PROGRAM watch`, in place of this one.
    #[arg(long, env = "WARDEN_WATCHER")]
    pub(crate) watcher: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WatchConfig {
    #[command(flatten)]
    pub(crate) cluster: ClusterConfig,

    /// Port of every node's Patroni.
    #[arg(long, env = "PATRONI_PORT", default_value_t = 8008)]
    pub(crate) patroni_port: u16,

    /// How often this node looks at its own WAL receiver, in milliseconds.
    #[arg(long, env = "WARDEN_LOOK_INTERVAL_MS", default_value = "200", value_parser = milliseconds)]
    pub(crate) look_interval: Duration,

    /// A WAL receiver that heard nothing for so long is not fresh, in milliseconds. On an idle cluster it hears
    /// something every half `wal_receiver_timeout`.
    #[arg(long, env = "WARDEN_WAL_SILENCE_MS", default_value = "1700", value_parser = milliseconds)]
    pub(crate) wal_silence: Duration,

    /// How long a leader that accepts no connection is given, in milliseconds.
    #[arg(long, env = "WARDEN_GONE_AFTER_MS", default_value = "700", value_parser = milliseconds)]
    pub(crate) gone_after: Duration,

    /// How long a leader that accepts connections and says nothing is given, in milliseconds.
    #[arg(long, env = "WARDEN_FROZEN_AFTER_MS", default_value = "2000", value_parser = milliseconds)]
    pub(crate) frozen_after: Duration,

    /// Address for operators: /livez and /metrics.
    #[arg(long, env = "LISTEN_ADMIN", default_value = "0.0.0.0:9100")]
    pub(crate) listen_admin: SocketAddr,

    /// Ask the running watcher on this machine whether it lives, and exit with 0 or 1.
    #[arg(long)]
    pub(crate) health_check: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FenceConfig {
    #[command(flatten)]
    pub(crate) cluster: ClusterConfig,

    /// Who asks the other nodes what they have received: a role with `pg_monitor`.
    #[arg(long, env = "MONITOR_USER", default_value = "monitor")]
    pub(crate) monitor_user: String,

    /// File with the password of that role.
    #[arg(
        long,
        env = "MONITOR_PASSWORD_FILE",
        default_value = "/run/secrets/zillion/postgres_monitor_password"
    )]
    pub(crate) monitor_password_file: SecretFile,

    /// How long the others may take to come over to this node, in milliseconds.
    #[arg(long, env = "WARDEN_FENCE_TIMEOUT_MS", default_value = "3000", value_parser = milliseconds)]
    pub(crate) fence_timeout: Duration,
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(milliseconds @ 1..=60_000) => Ok(Duration::from_millis(milliseconds)),
        _ => Err("a number from 1 to 60000 is needed".to_owned()),
    }
}

/// The name of a node: a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeName(String);

impl NodeName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if text.is_empty() || text.len() > 253 || !text.chars().all(fits) {
            return Err("this is not a host name".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address as `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort(String);

impl HostPort {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = text.rsplit_once(':').ok_or("host:port is needed")?;
        host.parse::<NodeName>()?;
        port.parse::<u16>().map_err(|_| format!("{port} is not a port"))?;
        Ok(Self(text.to_owned()))
    }
}

/// What a cluster's keys begin with: starts and ends with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.0)
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() < 3 || !text.starts_with('/') || !text.ends_with('/') {
            return Err("it must start and end with a slash".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_watcher_needs_nothing_but_its_name() {
        let config = Config::try_parse_from(["warden", "watch", "--node", "postgres-1"]).unwrap();
        let Command::Watch(watch) = config.command else {
            panic!("not a watcher")
        };
        assert_eq!(watch.cluster.node.as_str(), "postgres-1");
        assert_eq!(watch.cluster.etcd_hosts.len(), 3);
        assert_eq!(watch.cluster.etcd_prefix.key("leader"), "/db/shop/leader");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |name: &str, value: &str| {
            let mut all = vec!["warden", "watch", name, value];
            if name != "--node" {
                all.extend(["--node", "postgres-1"]);
            }
            Config::try_parse_from(all).unwrap_err().to_string()
        };
        assert!(refused("--etcd-hosts", "etcd-1").contains("host:port"));
        assert!(refused("--etcd-hosts", "etcd-1:many").contains("not a port"));
        assert!(refused("--etcd-prefix", "db").contains("slash"));
        assert!(refused("--gone-after", "0").contains("60000"));
        assert!(refused("--node", "a b").contains("host name"));
    }
}
