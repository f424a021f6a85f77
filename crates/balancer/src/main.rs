//! The balancer's process: parse, telemetry, build, serve, drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use balancer::config::Config;
use balancer::routes::RouteTable;
use balancer::{BackendLimits, Balancer, Limits, Sockets};
use shop_net::listen::ListenSource;
use shop_telemetry::startup;
use tracing::info;

const KIND: &str = "balancer";
/// It keeps small blocks apart from large ones. Otherwise what stays of an idle connection lies between the buffers that
/// are gone, and no page can be given back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
/// Long enough for a phone in a tunnel.
const CLIENT_STALL_MAX: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return Ok(startup::health_check(config.listen_admin, "/readyz").await);
    }
    let (table, text) = load_routes(&config).unwrap_or_else(|error| startup::exit_config(format!("{error:#}")));
    let tls = config
        .tls
        .load()
        .unwrap_or_else(|error| startup::exit_config(format!("{:#}", anyhow::Error::from(error))));
    let _telemetry = shop_telemetry::init(KIND);
    let instance = shop_net::instance::name(config.instance.as_deref(), KIND).await;
    shop_telemetry::set_instance(&instance);
    shop_net::listen::raise_open_files_limit();

    let public = match &config.gateway_socket {
        Some(path) => shop_net::handover::follow(path.clone()),
        None => ListenSource::bind(config.listen_public).context("LISTEN_PUBLIC")?,
    };
    let public_tls = config.tls.listen().context("LISTEN_PUBLIC_TLS")?.zip(tls);
    let sockets = Sockets {
        public,
        public_tls,
        origin: ListenSource::bind(config.listen_origin).context("LISTEN_ORIGIN")?,
        private: ListenSource::bind(config.listen_private).context("LISTEN_PRIVATE")?,
        admin: ListenSource::bind(config.listen_admin).context("LISTEN_ADMIN")?,
    };
    let limits = Limits {
        workers: config.workers,
        in_flight_max: config.in_flight_max,
        connections_max: config.connections_max,
        tunnels_max: config.tunnels_max,
        connections_per_address_max: config.connections_per_address_max,
        connection_age_max: Duration::from_secs(config.connection_age_max_s),
        trusted_proxies: config.trusted_proxies.clone(),
        client_stall_max: CLIENT_STALL_MAX,
        backend: BackendLimits {
            in_flight_max: config.backend_in_flight_max,
            waiting_max: config.backend_waiting_max,
            wait_max: Duration::from_millis(config.backend_wait_ms),
        },
        drain_notice: Duration::from_millis(config.drain_notice_ms),
        drain_deadline: Duration::from_millis(config.drain_deadline_ms),
        access_log: tracing::enabled!(target: "access", tracing::Level::INFO),
    };
    let mut balancer = Balancer::start(instance, table, sockets, limits)?;
    if let Some(path) = &config.routes_file {
        balancer.watch_routes(path.clone(), text);
    }
    info!(
        gateway = ?config.gateway_socket,
        origin = %config.listen_origin,
        private = %config.listen_private,
        admin = %config.listen_admin,
        "Serving"
    );
    startup::shutdown_signal().await;
    balancer.drain().await;
    info!("Drained");
    Ok(ExitCode::SUCCESS)
}

/// The routes, and the text that they were read from.
fn load_routes(config: &Config) -> anyhow::Result<(RouteTable, String)> {
    let Some(path) = &config.routes_file else {
        return Ok((RouteTable::built_in()?, String::new()));
    };
    let text = std::fs::read_to_string(path).with_context(|| format!("ROUTES_FILE {}", path.display()))?;
    let table = RouteTable::parse(&text).with_context(|| format!("ROUTES_FILE {}", path.display()))?;
    Ok((table, text))
}
