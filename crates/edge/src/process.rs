//! The edge's process: configuration, parts, threads, and how it stops.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use shop_front::Entrance;
use shop_front::access_log::AccessLog;
use shop_front::tls::Tls;
use shop_net::listen::ListenSource;
use shop_net::{handover, instance, listen};
use shop_telemetry::startup;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminState};
use crate::config::Config;
use crate::{isolation, server};

/// Runs until a signal ends it, or the work is done.
#[tokio::main(worker_threads = 2)]
pub async fn main() -> ExitCode {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return startup::health_check(config.listen_admin, "/readyz").await;
    }
    let tls = config
        .tls
        .load()
        .unwrap_or_else(|error| startup::exit_config(format!("{:#}", anyhow::Error::from(error))));
    let _telemetry = shop_telemetry::init("edge");
    match run(&config, tls).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "The edge can't run");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: &Config, tls: Option<Tls>) -> anyhow::Result<()> {
    listen::raise_open_files_limit();
    let instance = instance::name(config.instance.as_deref(), "edge").await;
    shop_telemetry::set_instance(&instance);
    let (access_log, log_writer) = AccessLog::start(true).context("the access log can't be started")?;
    let app = crate::build(config, instance)
        .await
        .with_context(|| format!("the cache in {} can't be opened", config.cache_dir.display()))?;

    let source = match &config.gateway_socket {
        Some(path) => handover::follow(path.clone()),
        None => ListenSource::bind(config.listen_public)
            .with_context(|| format!("LISTEN_PUBLIC: {} can't be bound", config.listen_public))?,
    };
    let public_tls = config.tls.listen().context("LISTEN_PUBLIC_TLS")?.zip(tls);
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

    let stop = CancellationToken::new();
    let front = server::front(config.connections_max);
    let ready = Arc::new(AtomicBool::new(true));
    let admin = admin::router(AdminState {
        app: Arc::clone(&app),
        front: Arc::clone(&front),
        lost_batches: access_log.lost_counter(),
        ready: Arc::clone(&ready),
    });
    // It answers to the end, so that whoever asks sees the process drain.
    tokio::spawn(async move {
        if let Err(error) = axum::serve(admin_listener, admin).await {
            tracing::error!(%error, "The admin listener is gone");
        }
    });

    let mut entrances = vec![Entrance {
        source,
        tls: None,
        is_public: true,
    }];
    if let Some((source, tls)) = public_tls {
        tokio::spawn(tls.clone().reload_forever());
        entrances.push(Entrance {
            source,
            tls: Some(tls),
            is_public: true,
        });
    }
    let sources = entrances.iter().map(|entrance| entrance.source.clone()).collect();
    let isolation = isolation::follow(Arc::clone(&app), sources);
    tokio::spawn(stop.clone().run_until_cancelled_owned(isolation));
    let mut threads = Vec::new();
    for number in 0..std::thread::available_parallelism().map_or(1, usize::from) {
        let thread = server::start_thread(
            number,
            entrances.clone(),
            Arc::clone(&app),
            Arc::clone(&front),
            access_log.buffer(),
            stop.clone(),
        )
        .context("a thread can't be started")?;
        threads.push(thread);
    }
    drop(entrances);

    startup::shutdown_signal().await;
    ready.store(false, Ordering::Relaxed);
    let notice = Duration::from_millis(config.drain_notice_ms);
    front
        .drain(notice, notice + Duration::from_secs(config.drain_seconds))
        .await;
    stop.cancel();
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
    let is_whole = joined.await?;
    drop(access_log);
    log_writer.finish().await;
    anyhow::ensure!(is_whole, "a serving thread panicked");
    tracing::info!("Drained");
    Ok(())
}
