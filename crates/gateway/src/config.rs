//! Everything that the gateway can be told by its environment.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Opens the shop's public sockets and hands them to the processes that serve them.
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub(crate) struct Config {
    /// Public address of the shop, served by the balancers.
    #[arg(long, env = "LISTEN_SHOP", default_value = "0.0.0.0:8080")]
    pub(crate) listen_shop: SocketAddr,

    /// Public address of photos and assets, served by the edges.
    #[arg(long, env = "LISTEN_EDGE", default_value = "0.0.0.0:8081")]
    pub(crate) listen_edge: SocketAddr,

    /// Public address of the shop over TLS. Unset: none.
    #[arg(long, env = "LISTEN_SHOP_TLS")]
    pub(crate) listen_shop_tls: Option<SocketAddr>,

    /// Public address of photos and assets over TLS. Unset: none.
    #[arg(long, env = "LISTEN_EDGE_TLS")]
    pub(crate) listen_edge_tls: Option<SocketAddr>,

    /// Unix socket at which balancers fetch the shop's socket.
    #[arg(long, env = "GATEWAY_SHOP_SOCKET", default_value = "/run/zillion/shop/gateway.sock")]
    pub(crate) shop_socket: PathBuf,

    /// Unix socket at which edges fetch the edge's socket.
    #[arg(long, env = "GATEWAY_EDGE_SOCKET", default_value = "/run/zillion/edge/gateway.sock")]
    pub(crate) edge_socket: PathBuf,

    /// Unix socket at which balancers fetch the shop's socket for TLS.
    #[arg(
        long,
        env = "GATEWAY_SHOP_TLS_SOCKET",
        default_value = "/run/zillion/shop/gateway-tls.sock"
    )]
    pub(crate) shop_tls_socket: PathBuf,

    /// Unix socket at which edges fetch the edge's socket for TLS.
    #[arg(
        long,
        env = "GATEWAY_EDGE_TLS_SOCKET",
        default_value = "/run/zillion/edge/gateway-tls.sock"
    )]
    pub(crate) edge_tls_socket: PathBuf,

    /// Address for operators: /livez and /metrics.
    #[arg(long, env = "LISTEN_ADMIN", default_value = "0.0.0.0:9100")]
    pub(crate) listen_admin: SocketAddr,

    /// Name of this instance, in place of the one that DNS knows.
    #[arg(long, env = "INSTANCE")]
    pub(crate) instance: Option<String>,

    /// Ask the running gateway on this machine whether it lives, and exit with 0 or 1.
    #[arg(long)]
    pub(crate) health_check: bool,
}
