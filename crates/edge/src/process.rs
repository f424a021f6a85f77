//! The edge's process: configuration, parts, threads, and how it stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::access_log::AccessLog;
use crate::admin::{self, AdminState};
use crate::config::Config;
use crate::server::{self, Limits};
use anyhow::Context as _;
use shop_net::listen::ListenSource;
use shop_net::{handover, instance, listen};
use shop_telemetry::startup;
use tokio_util::sync::CancellationToken;

/// Threads that wait for the disk, for each thread that serves.
const DISK_THREADS_MAX: usize = 8;

/// Runs until a signal ends it, or the work is done.
#[tokio::main(worker_threads = 2)]
pub async fn main() -> ExitCode {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return startup::health_check(config.listen_admin, "/readyz").await;
    }
    let _telemetry = shop_telemetry::init("edge");
    match run(&config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "The edge can't run");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config) -> anyhow::Result<()> {
    listen::raise_open_files_limit();
    let instance = instance::name(config.instance.as_deref(), "edge").await;
    shop_telemetry::set_instance(&instance);
    let access_log = AccessLog::start(&instance).context("the access log can't be started")?;
    let app = crate::build(config, instance, access_log.clone())
        .await
        .with_context(|| format!("the cache in {} can't be opened", config.cache_dir.display()))?;

    let source = match &config.gateway_socket {
        Some(path) => handover::follow(path.clone()),
        None => ListenSource::bind(config.listen_public)
            .with_context(|| format!("LISTEN_PUBLIC: {} can't be bound", config.listen_public))?,
    };
    let admin_listener = tokio::net::TcpListener::bind(config.listen_admin)
        .await
        .with_context(|| format!("LISTEN_ADMIN: {} can't be bound", config.listen_admin))?;
    let public = match &config.gateway_socket {
        Some(path) => format!("the gateway behind {}", path.display()),
        None => config.listen_public.to_string(),
    };
    tracing::info!(
        public,
        admin = %config.listen_admin,
        origin = format!("{}:{}", config.origin_url.host, config.origin_url.port),
        "Serving"
    );

    let shutdown = CancellationToken::new();
    let limits = Limits::new(
        config.connections_max,
        Duration::from_millis(config.drain_notice_ms),
        Duration::from_secs(config.drain_seconds),
    );
    let ready = Arc::new(AtomicBool::new(true));
    let admin = admin::router(AdminState {
        app: Arc::clone(&app),
        limits: limits.clone(),
        ready: Arc::clone(&ready),
    });
    // It answers to the end, so that whoever asks sees the process drain.
    tokio::spawn(async move {
        if let Err(error) = axum::serve(admin_listener, admin).await {
            tracing::error!(%error, "The admin listener is gone");
        }
    });

    let mut threads = Vec::new();
    for number in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let serving = server::serve(source.clone(), Arc::clone(&app), limits.clone(), shutdown.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(DISK_THREADS_MAX)
            .build()
            .context("a runtime can't be made")?;
        let thread = std::thread::Builder::new()
            .name(format!("serve-{number}"))
            .spawn(move || runtime.block_on(serving))
            .context("a thread can't be started")?;
        threads.push(thread);
    }
    drop(source);

    startup::shutdown_signal().await;
    ready.store(false, Ordering::Relaxed);
    shutdown.cancel();
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
    let is_whole = joined.await?;
    access_log.flush();
    anyhow::ensure!(is_whole, "a serving thread panicked");
    tracing::info!("Drained");
    Ok(())
}
