//! Everything that the balancer can be told by its environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::client_address::parse_network;

/// Spreads the shop's requests over the services.
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct Config {
    /// Unix socket at which the gateway hands over the public listening socket. Unset: bind LISTEN_PUBLIC.
    #[arg(long, env = "GATEWAY_SOCKET")]
    pub gateway_socket: Option<PathBuf>,

    /// Public address, used only where there is no gateway.
    #[arg(long, env = "LISTEN_PUBLIC", default_value = "0.0.0.0:8080")]
    pub listen_public: SocketAddr,

    #[command(flatten)]
    pub tls: shop_front::tls::TlsSettings,

    /// Address for the edges: the public routes, with forwarding headers believed. Where there is no gateway it must
    /// differ from LISTEN_PUBLIC.
    #[arg(long, env = "LISTEN_ORIGIN", default_value = "0.0.0.0:8090")]
    pub listen_origin: SocketAddr,

    /// Address for the services among themselves: only /internal.
    #[arg(long, env = "LISTEN_PRIVATE", default_value = "0.0.0.0:9000")]
    pub listen_private: SocketAddr,

    /// Address for operators: /, /livez, /readyz, /metrics and /backends.
    #[arg(long, env = "LISTEN_ADMIN", default_value = "0.0.0.0:9100")]
    pub listen_admin: SocketAddr,

    /// Routes and services, in place of the built-in ones (see routes.toml). Read again when it changes; what can't be
    /// used then is refused, and the routes in force stay.
    #[arg(long, env = "ROUTES_FILE")]
    pub routes_file: Option<PathBuf>,

    /// Name of this instance, in place of the one that DNS knows.
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,

    /// Threads that serve; 0 means one for each core.
    #[arg(long, env = "WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Requests in work at a time in this process; what is more is refused with 503.
    #[arg(long, env = "IN_FLIGHT_MAX", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    pub in_flight_max: u32,

    /// Requests, and so connections, that one backend has at a time from this process.
    #[arg(long, env = "BACKEND_IN_FLIGHT_MAX", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub backend_in_flight_max: u32,

    /// Requests that wait for a place while all backends of a service have as many as they may; what is more is refused
    /// with 503.
    #[arg(long, env = "BACKEND_WAITING_MAX", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub backend_waiting_max: u32,

    /// How long each of them waits until it is refused with 503.
    #[arg(long, env = "BACKEND_WAIT_MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub backend_wait_ms: u64,

    /// Open client connections in this process; what is more waits in the kernel or goes to another process.
    #[arg(long, env = "CONNECTIONS_MAX", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    pub connections_max: u32,

    /// Open WebSockets among them, each stream of HTTP/2 being one more; what is more is refused with 503.
    #[arg(long, env = "TUNNELS_MAX", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(..=100_000))]
    pub tunnels_max: u32,
    /// Open connections of one client address in this process; what is more is closed at once. 0: no such limit, since
    /// behind Docker's bridge all clients have one address.
    #[arg(long, env = "CONNECTIONS_PER_ADDRESS_MAX", default_value_t = 0)]
    pub connections_per_address_max: u32,

    /// After so long a client's connection is closed with its next answer, so that clients spread anew.
    #[arg(long, env = "CONNECTION_AGE_MAX_S", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..))]
    pub connection_age_max_s: u64,

    /// Proxies before the public side whose X-Forwarded-For and Forwarded are believed, as addresses or networks,
    /// separated by commas. None: the client is whoever connects.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',', value_parser = parse_network)]
    pub trusted_proxies: Vec<IpNet>,

    /// How long after SIGTERM connections are still kept, each answer asking its client to close.
    #[arg(long, env = "DRAIN_NOTICE_MS", default_value_t = 1500)]
    pub drain_notice_ms: u64,

    /// How long after SIGTERM requests may still run.
    #[arg(long, env = "DRAIN_DEADLINE_MS", default_value_t = 20_000)]
    pub drain_deadline_ms: u64,

    /// Ask the running balancer on this machine whether it is ready, and exit with 0 or 1.
    #[arg(long)]
    pub health_check: bool,
}
