//! The process `user`.

use std::process::ExitCode;

use crate::App;
use crate::config::Config;
use shop_telemetry::startup;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Runs until a signal ends it, or the work is done.
#[tokio::main]
pub async fn main() -> ExitCode {
    let config: Config = startup::parse_or_exit();
    let listen = config.listen;
    if config.health_check {
        return startup::health_check(listen, "/readyz").await;
    }
    let _telemetry = shop_telemetry::init("user");
    let app = match App::build(config).await {
        Ok(app) => app,
        Err(error) => startup::exit_config(format!("{error:#}")),
    };
    let listener = match TcpListener::bind(listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%listen, error = &error as &dyn std::error::Error, "Could not listen");
            return ExitCode::FAILURE;
        }
    };
    tracing::info!(%listen, "Serving");
    let shutdown = CancellationToken::new();
    let signal = shutdown.clone();
    tokio::spawn(async move {
        startup::shutdown_signal().await;
        signal.cancel();
    });
    app.run(listener, shutdown).await;
    tracing::info!("Stopped");
    ExitCode::SUCCESS
}
