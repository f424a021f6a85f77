//! Where the broker is, and who logs in.

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use shop_telemetry::startup::SecretFile;

/// Seconds between two signs of life. A frozen node is given up after two of them.
const HEARTBEAT_S: u16 = 5;

/// Time for a node to accept the connection.
pub(crate) const CONNECT_TIMEOUT_MS: u64 = 2000;

/// The broker's nodes and the login.
#[derive(Clone, Debug, clap::Args)]
pub struct QueueArgs {
    /// The broker's nodes, separated by commas: `rabbitmq-1:5672,rabbitmq-2:5672`.
    #[arg(long, env = "RABBITMQ_NODES", value_delimiter = ',', required = true, value_parser = parse_node)]
    pub rabbitmq_nodes: Vec<BrokerNode>,

    /// Who logs in.
    #[arg(long, env = "RABBITMQ_USER", default_value = "shop")]
    pub rabbitmq_user: String,

    /// File with the password.
    #[arg(long, env = "RABBITMQ_PASSWORD_FILE")]
    pub rabbitmq_password_file: SecretFile,
}

/// The address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerNode {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What is not configuration of the process.
#[derive(Clone, Debug, Default)]
pub struct QueueOptions {
    /// Put before every name of a queue or exchange, so that tests don't meet each other.
    pub prefix: String,
}

impl QueueArgs {
    /// One node by its URL (`amqp://user:password@host:port`), for tests. None if that isn't one.
    pub fn for_url(url: &str) -> Option<Self> {
        let uri: AMQPUri = url.parse().ok()?;
        let node = BrokerNode {
            host: uri.authority.host,
            port: uri.authority.port,
        };
        Some(Self {
            rabbitmq_nodes: vec![node],
            rabbitmq_user: uri.authority.userinfo.username,
            rabbitmq_password_file: SecretFile::from_value(&uri.authority.userinfo.password),
        })
    }

    /// How to reach `node`.
    pub(crate) fn uri(&self, node: &BrokerNode) -> AMQPUri {
        AMQPUri {
            scheme: AMQPScheme::AMQP,
            authority: AMQPAuthority {
                userinfo: AMQPUserInfo {
                    username: self.rabbitmq_user.clone(),
                    password: self.rabbitmq_password_file.expose().to_owned(),
                },
                host: node.host.clone(),
                port: node.port,
            },
            vhost: "/".to_owned(),
            query: AMQPQueryString {
                heartbeat: Some(HEARTBEAT_S),
                connection_timeout: Some(CONNECT_TIMEOUT_MS),
                ..AMQPQueryString::default()
            },
        }
    }
}

fn parse_node(text: &str) -> Result<BrokerNode, String> {
    text.trim()
        .rsplit_once(':')
        .and_then(|(host, port)| {
            Some(BrokerNode {
                host: host.to_owned(),
                port: port.parse().ok()?,
            })
        })
        .filter(|node| !node.host.is_empty())
        .ok_or_else(|| format!("{text:?} is not host:port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_a_host_and_a_port() {
        assert_eq!(
            parse_node(" rabbitmq-1:5672"),
            Ok(BrokerNode {
                host: "rabbitmq-1".to_owned(),
                port: 5672
            })
        );
        for bad in ["rabbitmq-1", ":5672", "rabbitmq-1:", "rabbitmq-1:x", ""] {
            assert!(parse_node(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_needs_no_escaping() {
        let args = QueueArgs {
            rabbitmq_nodes: Vec::new(),
            rabbitmq_user: "shop".to_owned(),
            rabbitmq_password_file: SecretFile::from_value("a/b@c:d%"),
        };
        let uri = args.uri(&parse_node("rabbitmq-1:5672").unwrap());
        assert_eq!(uri.authority.userinfo.password, "a/b@c:d%");
    }
}
