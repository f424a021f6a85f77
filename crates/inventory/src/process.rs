//! `inventory`: parse, telemetry, build, serve, drain.

use std::process::ExitCode;

use crate::config::Config;
use crate::state::AppState;
use shop_cache::Cache;
use shop_db::{Cluster, ClusterConfig};
use shop_objects::Objects;
use shop_queue::{Queue, QueueOptions};
use shop_session::Sessions;
use shop_telemetry::startup;
use shop_web::WebState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

const SERVICE: &str = "inventory";

/// Runs until a signal ends it, or the work is done.
#[tokio::main]
pub async fn main() -> anyhow::Result<ExitCode> {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return Ok(startup::health_check(config.listen, "/readyz").await);
    }
    let db = ClusterConfig::from_env("INVENTORY_DB").unwrap_or_else(|error| startup::exit_config(error));
    let objects = Objects::connect(&config.objects).unwrap_or_else(|error| startup::exit_config(error));
    let _telemetry = shop_telemetry::init(SERVICE);

    let sessions = Sessions::connect(config.sessions).await?;
    let app = AppState::new(
        Cluster::connect(db).await?,
        Cache::connect(&config.cache),
        Queue::connect(config.queue, QueueOptions::default()).await,
        objects,
        WebState::new(SERVICE, &config.web, sessions).await,
    );
    shop_telemetry::set_instance(&app.web.instance);

    let listener = TcpListener::bind(config.listen).await?;
    info!(listen = %config.listen, "Serving");
    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    tokio::spawn(async move {
        startup::shutdown_signal().await;
        signal.cancel();
    });
    let db = app.db.clone();
    crate::run(app, listener, shutdown).await;
    db.close().await;
    info!("Drained");
    Ok(ExitCode::SUCCESS)
}
