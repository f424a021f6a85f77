//! Everything that can be configured, each by an environment variable.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Parser;
use url::Url;

use crate::store::StoreConfig;

/// Caches the shop's photos and assets in front of the balancers.
#[derive(Clone, Debug, Parser)]
#[command(version, about)]
pub struct Config {
    /// Asks the process that runs on this machine whether it is ready, and exits with 0 or 1.
    #[arg(long)]
    pub health_check: bool,

    /// What this instance is called. Default: the container's name as Docker's DNS knows it.
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,

    /// The Unix socket on which the gateway hands out its listening socket. Without it LISTEN_PUBLIC is bound.
    #[arg(long, env = "GATEWAY_SOCKET")]
    pub gateway_socket: Option<PathBuf>,

    /// Where to listen where there is no gateway.
    #[arg(long, env = "LISTEN_PUBLIC", default_value = "0.0.0.0:8081")]
    pub listen_public: SocketAddr,

    #[command(flatten)]
    pub tls: shop_front::tls::TlsSettings,

    /// Where operators, health checks and purges are served.
    #[arg(long, env = "LISTEN_ADMIN", default_value = "0.0.0.0:9100")]
    pub listen_admin: SocketAddr,

    /// Where misses are fetched: a host of which DNS may know several addresses.
    #[arg(long, env = "ORIGIN_URL", default_value = "http://balancer:8080")]
    pub origin_url: OriginUrl,

    /// Where the cache's files are. Several processes may share it: each takes a folder of its own.
    #[arg(long, env = "CACHE_DIR", default_value = "/var/cache/zillion")]
    pub cache_dir: PathBuf,

    /// What the cache may take of the disk, in bytes.
    #[arg(long, env = "CACHE_BYTES_MAX", default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1 << 16..))]
    pub cache_bytes_max: u64,

    /// What the most wanted bodies may take of memory, in bytes.
    #[arg(long, env = "HOT_BYTES_MAX", default_value_t = 64 << 20)]
    pub hot_bytes_max: u64,

    /// What other bodies may take of memory on their way to clients, in bytes. When all of it is taken, as it may be by
    /// clients that read slowly, the next ones are read from their files piece by piece.
    #[arg(long, env = "LENT_BYTES_MAX", default_value_t = 48 << 20)]
    pub lent_bytes_max: u64,

    /// A body that is larger is passed on and not cached, in bytes.
    #[arg(long, env = "OBJECT_BYTES_MAX", default_value_t = 32 << 20)]
    pub object_bytes_max: u64,

    /// What all bodies that are just arriving may take of memory, in bytes.
    #[arg(long, env = "ARRIVING_BYTES_MAX", default_value_t = 64 << 20, value_parser = clap::value_parser!(u64).range(1 << 16..=1 << 40))]
    pub arriving_bytes_max: u64,

    /// How many clients may be connected at once.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 10_000)]
    pub connections_max: u32,

    /// How many requests may be under way to the origin at once.
    #[arg(long, env = "FETCHES_MAX", default_value_t = 256)]
    pub fetches_max: usize,

    /// How long one address of the origin may take to begin an answer, in milliseconds.
    #[arg(long, env = "ORIGIN_TRY_TIMEOUT_MS", default_value_t = 2500, value_parser = clap::value_parser!(u64).range(1..))]
    pub origin_try_timeout_ms: u64,

    /// How long the origin may take to begin an answer in all, over several addresses, in milliseconds.
    #[arg(long, env = "ORIGIN_DEADLINE_MS", default_value_t = 8000, value_parser = clap::value_parser!(u64).range(1..))]
    pub origin_deadline_ms: u64,

    /// How long the origin may pause in the middle of a body, in milliseconds.
    #[arg(long, env = "ORIGIN_BODY_PAUSE_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    pub origin_body_pause_ms: u64,

    /// For how long a stale object may stand in for an origin that can't be reached, where the object itself says
    /// nothing about that, in seconds.
    #[arg(long, env = "STALE_IF_UNREACHABLE_SECONDS", default_value_t = 86_400)]
    pub stale_if_unreachable_seconds: u64,

    /// For how long after SIGTERM clients are told by their next answer to connect anew, in milliseconds.
    #[arg(long, env = "DRAIN_NOTICE_MS", default_value_t = 1500, value_parser = clap::value_parser!(u64).range(..=10_000))]
    pub drain_notice_ms: u64,

    /// How long requests may take to finish after that, in seconds.
    #[arg(long, env = "DRAIN_SECONDS", default_value_t = 20)]
    pub drain_seconds: u64,
}

impl Config {
    /// The bounds of the cache.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            path: self.cache_dir.clone(),
            disk_bytes_max: self.cache_bytes_max,
            hot_bytes_max: self.hot_bytes_max,
            // One body must not push out all others.
            hot_object_bytes_max: (self.hot_bytes_max / 8).min(4 << 20),
            lent_bytes_max: self.lent_bytes_max,
        }
    }

    /// See [`Config::origin_try_timeout_ms`].
    pub fn origin_try_timeout(&self) -> Duration {
        Duration::from_millis(self.origin_try_timeout_ms)
    }

    /// See [`Config::origin_deadline_ms`].
    pub fn origin_deadline(&self) -> Duration {
        Duration::from_millis(self.origin_deadline_ms)
    }

    /// See [`Config::origin_body_pause_ms`].
    pub fn origin_body_pause(&self) -> Duration {
        Duration::from_millis(self.origin_body_pause_ms)
    }
}

/// The origin's host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    /// A name or an address.
    pub host: String,
    /// The port there.
    pub port: u16,
}

/// Why an origin's URL can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OriginUrlError {
    /// It is no URL.
    #[error("not a URL: {0}")]
    NotAUrl(url::ParseError),
    /// It asks for something that is not supported.
    #[error("an origin is http://host or http://host:port, nothing more")]
    Unsupported,
}

impl FromStr for OriginUrl {
    type Err = OriginUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(OriginUrlError::NotAUrl)?;
        let plain = url.scheme() == "http"
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        match (url.host_str(), url.port_or_known_default()) {
            (Some(host), Some(port)) if plain => Ok(Self {
                host: host.trim_matches(['[', ']']).to_owned(),
                port,
            }),
            _ => Err(OriginUrlError::Unsupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_host_and_a_port() {
        let parsed: OriginUrl = "http://balancer:8080".parse().unwrap();
        assert_eq!(
            parsed,
            OriginUrl {
                host: "balancer".to_owned(),
                port: 8080
            }
        );
        assert_eq!(
            "http://[::1]".parse::<OriginUrl>().unwrap(),
            OriginUrl {
                host: "::1".to_owned(),
                port: 80
            }
        );
    }

    #[test]
    fn an_origin_with_anything_else_is_refused() {
        for text in [
            "https://balancer",
            "http://balancer/shop",
            "http://a:b@balancer",
            "balancer:8080",
            "http://x/?a",
            "",
        ] {
            assert!(text.parse::<OriginUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        Config::try_parse_from(["edge"]).unwrap();
        assert!(Config::try_parse_from(["edge", "--cache-bytes-max", "12"]).is_err());
    }
}
