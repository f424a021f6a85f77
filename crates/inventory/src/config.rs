//! Every variable that this process reads. Databases are configured by `INVENTORY_DB_*`, see `shop-db`.

use std::net::SocketAddr;

use clap::Parser;
use shop_cache::CacheArgs;
use shop_objects::ObjectArgs;
use shop_queue::QueueArgs;
use shop_session::SessionArgs;
use shop_web::WebArgs;

/// Products, stock and photos of the shop.
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Where pages, API and health checks are served.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,

    /// Ask the process on this machine whether it is ready, and exit with 0 or 1.
    #[arg(long)]
    pub health_check: bool,

    #[command(flatten)]
    pub web: WebArgs,
    #[command(flatten)]
    pub sessions: SessionArgs,
    #[command(flatten)]
    pub cache: CacheArgs,
    #[command(flatten)]
    pub queue: QueueArgs,
    #[command(flatten)]
    pub objects: ObjectArgs,
}
