//! Holds the public listening sockets and hands them to whoever serves them. It never touches a connection itself, but for
//! those that come while there is no edge, so there is next to nothing in it that could fail or need an update.

mod config;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use shop_telemetry::startup;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::Config;

const KIND: &str = "gateway";

/// After a restart, holders of the old sockets need a moment to notice and to close them.
const BIND_TRIES: u32 = 50;
const BIND_PAUSE: Duration = Duration::from_millis(100);
/// After this without any edge its clients are turned away: pages then fetch their pictures from the shop. Longer than edges
/// need to find a gateway that was started again.
const EDGES_GONE: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let config: Config = startup::parse_or_exit();
    if config.health_check {
        return Ok(startup::health_check(config.listen_admin, "/livez").await);
    }
    let _telemetry = shop_telemetry::init(KIND);
    let instance = shop_net::instance::name(config.instance.as_deref(), KIND).await;
    shop_telemetry::set_instance(&instance);
    run(&config, startup::shutdown_signal()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves the sockets until `shutdown` completes. Holders see the gateway go by the end of their Unix connections.
async fn run(config: &Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    let mut handovers = JoinSet::new();
    // Without a balancer there is nothing to do but wait; without an edge there is the shop to ask.
    let (waits, turned_away) = (None, Some(EDGES_GONE));
    for (name, address, path, turn_away_after) in [
        ("LISTEN_SHOP", Some(config.listen_shop), &config.shop_socket, waits),
        (
            "LISTEN_EDGE",
            Some(config.listen_edge),
            &config.edge_socket,
            turned_away,
        ),
        (
            "LISTEN_SHOP_TLS",
            config.listen_shop_tls,
            &config.shop_tls_socket,
            waits,
        ),
        (
            "LISTEN_EDGE_TLS",
            config.listen_edge_tls,
            &config.edge_tls_socket,
            turned_away,
        ),
    ] {
        let Some(address) = address else { continue };
        let listener = bind_patiently(address).await.context(name)?;
        handovers.spawn(shop_net::handover::serve(listener, path, turn_away_after).context(name)?);
        info!(%address, path = %path.display(), "Listening");
    }
    let admin = bind_patiently(config.listen_admin).await.context("LISTEN_ADMIN")?;
    info!(admin = %config.listen_admin, "Serving operators");
    let admin = tokio::net::TcpListener::from_std(admin)?;
    tokio::select! {
        _ = handovers.join_next() => {}
        served = axum::serve(admin, shop_telemetry::admin::router()) => served.context("admin listener")?,
        () = shutdown => {}
    }
    Ok(())
}

async fn bind_patiently(address: SocketAddr) -> io::Result<TcpListener> {
    let mut tries = 0;
    loop {
        tries += 1;
        match shop_net::listen::bind_tcp(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < BIND_TRIES => {
                if tries == 1 {
                    warn!(%address, "Address in use, waiting for its last owner to let go");
                }
                tokio::time::sleep(BIND_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    fn free_port() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
        listener.local_addr().expect("an address").port()
    }

    fn config(folder: &std::path::Path) -> Config {
        let address = || format!("127.0.0.1:{}", free_port());
        let socket = |name: &str| folder.join(name).display().to_string();
        Config::parse_from([
            "gateway",
            "--listen-shop",
            &address(),
            "--listen-edge",
            &address(),
            "--listen-shop-tls",
            &address(),
            "--listen-edge-tls",
            &address(),
            "--listen-admin",
            &address(),
            "--shop-socket",
            &socket("shop.sock"),
            "--edge-socket",
            &socket("edge.sock"),
            "--shop-tls-socket",
            &socket("shop-tls.sock"),
            "--edge-tls-socket",
            &socket("edge-tls.sock"),
        ])
    }

    #[tokio::test]
    async fn each_socket_reaches_its_own_kind_of_holder() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let running = config.clone();
        let gateway = tokio::spawn(async move { run(&running, std::future::pending()).await });
        let holders = [
            (Some(config.listen_shop), config.shop_socket),
            (Some(config.listen_edge), config.edge_socket),
            (config.listen_shop_tls, config.shop_tls_socket),
            (config.listen_edge_tls, config.edge_tls_socket),
        ];
        for (address, path) in holders {
            let address = address.expect("given above");
            let source = shop_net::handover::follow(path);
            let mut listeners = source.listeners();
            let accepting = tokio::spawn(async move { listeners.accept().await });
            let connecting = async {
                while TcpStream::connect(address).await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(Duration::from_secs(5), connecting).await.expect("connected");
            timeout(Duration::from_secs(5), accepting)
                .await
                .expect("in time")
                .expect("accepted");
            assert_eq!(source.local_addr(), Some(address));
        }
        gateway.abort();
    }

    #[tokio::test]
    async fn an_address_that_is_let_go_in_time_is_taken() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a socket");
        let address = held.local_addr().expect("an address");
        let waiting = tokio::spawn(bind_patiently(address));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        timeout(Duration::from_secs(6), waiting)
            .await
            .expect("in time")
            .expect("ran")
            .expect("bound");
    }
}
