//! Every variable that this process reads.

use std::net::SocketAddr;

use clap::Parser;
use shop_objects::ObjectArgs;
use shop_queue::QueueArgs;
use shop_telemetry::startup::SecretFile;

/// Makes pictures from uploads.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Where health checks and metrics are served.
    #[arg(long, env = "LISTEN_ADMIN", default_value = "0.0.0.0:9100")]
    pub listen_admin: SocketAddr,

    /// Photos that are computed at once; each takes a core and up to about 450 MB.
    #[arg(long, env = "PHOTOS_AT_ONCE", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=16))]
    pub photos_at_once: u16,

    /// The balancer's private listener, by which inventory is reached.
    #[arg(long, env = "INTERNAL_URL", default_value = "http://balancer:9000")]
    pub internal_url: String,

    /// File with the token that services show each other.
    #[arg(long, env = "INTERNAL_TOKEN_FILE")]
    pub internal_token_file: SecretFile,

    /// Name of this instance, if it is not to be found out.
    #[arg(long, env = "INSTANCE")]
    pub instance: Option<String>,

    /// Ask the process on this machine whether it is ready, and exit with 0 or 1.
    #[arg(long)]
    pub health_check: bool,

    #[command(flatten)]
    pub queue: QueueArgs,
    #[command(flatten)]
    pub objects: ObjectArgs,
}
