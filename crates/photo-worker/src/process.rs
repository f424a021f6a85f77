//! `photo-worker`: parse, telemetry, build, work, drain.

use std::process::ExitCode;

use crate::config::Config;
use crate::worker::Worker;
use shop_objects::Objects;
use shop_queue::{Queue, QueueOptions};
use shop_telemetry::startup;
use shop_web::internal::InternalClient;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

const SERVICE: &str = "photo-worker";

/// Runs until a signal ends it, or the work is done.
#[tokio::main]
pub async fn main() -> anyhow::Result<ExitCode> {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return Ok(startup::health_check(config.listen_admin, "/readyz").await);
    }
    let objects = Objects::connect(&config.objects).unwrap_or_else(|error| startup::exit_config(error));
    let inventory = InternalClient::new(&config.internal_url, config.internal_token_file.expose())
        .unwrap_or_else(|error| startup::exit_config(format!("INTERNAL_URL: {error}")));
    let _telemetry = shop_telemetry::init(SERVICE);
    shop_telemetry::set_instance(&shop_net::instance::name(config.instance.as_deref(), SERVICE).await);

    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    tokio::spawn(async move {
        startup::shutdown_signal().await;
        signal.cancel();
    });

    let admin = TcpListener::bind(config.listen_admin).await?;
    info!(listen = %config.listen_admin, "Serving health and metrics");
    let until_shutdown = shutdown.clone().cancelled_owned();
    let admin = tokio::spawn(async move {
        axum::serve(admin, crate::admin_router())
            .with_graceful_shutdown(until_shutdown)
            .await
    });

    let queue = Queue::connect(config.queue, QueueOptions::default()).await;
    Worker::new(objects, inventory, config.photos_at_once, shutdown)
        .run(&queue, config.photos_at_once)
        .await;
    admin.await??;
    info!("Drained");
    Ok(ExitCode::SUCCESS)
}
