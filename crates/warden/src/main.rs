//! Keeps one node of a Postgres cluster: supervises Patroni, notices a dead leader before its lease runs out, and makes
//! sure that nothing acknowledged is lost by the haste. ARCHITECTURE.md has the argument, rule by rule.

mod cluster;
mod config;
mod etcd;
mod fence;
mod follow;
mod postgres;
mod probe;
mod supervise;
mod suspicion;
mod watch;

use std::process::ExitCode;

use shop_telemetry::startup;
use tokio::net::TcpListener;
use tracing::info;

use crate::config::{Command, Config, WatchConfig};

const SERVICE: &str = "warden";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let config: Config = startup::parse_or_exit();
    match config.command {
        Command::Supervise(config) => {
            let _telemetry = shop_telemetry::init(SERVICE);
            Ok(supervise::run(&config, supervise::signals()?).await?)
        }
        Command::Watch(config) if config.health_check => Ok(startup::health_check(config.listen_admin, "/livez").await),
        Command::Watch(config) => {
            let _telemetry = shop_telemetry::init(SERVICE);
            watch_until_stopped(config).await?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Fence(config) => {
            let _telemetry = shop_telemetry::init(SERVICE);
            Ok(if fence::run(&config).await {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

async fn watch_until_stopped(config: WatchConfig) -> anyhow::Result<()> {
    let admin = TcpListener::bind(config.listen_admin).await?;
    info!(listen = %config.listen_admin, "Watching; serving metrics");
    tokio::select! {
        () = watch::run(config) => {}
        served = axum::serve(admin, shop_telemetry::admin::router()) => served?,
        () = startup::shutdown_signal() => {}
    }
    Ok(())
}
