//! A network in between that can be frozen and cut.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the network does now.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Weather {
    Fair,
    /// Connections are accepted and stay open, and nothing comes through: a paused machine.
    Frozen,
    /// Connections are closed, and new ones too: a killed process.
    Cut,
}

/// Passes bytes to an address, until told otherwise. Stops when it is dropped.
pub struct FaultyProxy {
    addr: SocketAddr,
    weather: Arc<watch::Sender<Weather>>,
    task: JoinHandle<()>,
}

impl FaultyProxy {
    /// Starts a proxy to `upstream` (`host:port`).
    pub async fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("the port");
        let weather = Arc::new(watch::Sender::new(Weather::Fair));
        let (upstream, seen) = (upstream.to_owned(), Arc::clone(&weather));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, upstream.clone(), seen.subscribe()));
            }
        });
        Self { addr, weather, task }
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing comes through, and no connection is closed.
    pub fn freeze(&self) {
        self.weather.send_replace(Weather::Frozen);
    }

    /// From now on all connections are closed.
    pub fn cut(&self) {
        self.weather.send_replace(Weather::Cut);
    }

    /// From now on everything works. Connections that were cut stay closed; what was frozen flows on.
    pub fn thaw(&self) {
        self.weather.send_replace(Weather::Fair);
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.task.abort();
        self.weather.send_replace(Weather::Cut);
    }
}

async fn pass(client: TcpStream, upstream: String, mut weather: watch::Receiver<Weather>) {
    let mut cut = weather.clone();
    let work = async move {
        if weather.wait_for(|now| *now == Weather::Fair).await.is_err() {
            return;
        }
        let Ok(server) = TcpStream::connect(upstream).await else {
            return;
        };
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        tokio::select! {
            () = copy(client_read, server_write, weather.clone()) => {}
            () = copy(server_read, client_write, weather) => {}
        }
    };
    tokio::select! {
        () = work => {}
        _ = cut.wait_for(|now| *now == Weather::Cut) => {}
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
) {
    let mut buffer = vec![0_u8; 16 * 1024];
    loop {
        let Ok(length) = from.read(&mut buffer).await else {
            return;
        };
        if length == 0 || weather.wait_for(|now| *now == Weather::Fair).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
