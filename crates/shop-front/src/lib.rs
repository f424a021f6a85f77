//! What the processes share that customers connect to: the balancer and the edge.
//!
//! [`accept_forever`] takes connections from a listening socket and serves each on the thread that took it: a
//! `WatchedStream` watches its bytes and its time, and hyper speaks HTTP/1.1 or HTTP/2 over it, in the clear or by [`tls`].
//! Between two requests nothing is kept of a connection but its socket (`parking`). [`Front`] is what the threads have in
//! common: how many connections are open, and whether the process drains. [`access_log`] writes a line for each request.

mod accept;
pub mod access_log;
mod addresses;
mod connection;
mod framing;
mod http1;
mod http2;
mod parking;
mod patience;
mod stream;
pub mod tls;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use http::Extensions;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use crate::accept::{Entrance, accept_forever};
use crate::addresses::{AddressConnections, AddressPlace};
pub use crate::addresses::{is_in, neighbourhood};
use crate::stream::Seen;
pub use crate::tunnel::Tunnel;

const DRAIN_POLL: Duration = Duration::from_millis(20);

/// How much one process bears of its clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections; what is more waits in the kernel or goes to another process.
    pub connections_max: u32,
    /// Open connections of one public client's address, or its /64 of IPv6; what is more is closed at once; 0 for no such
    /// limit.
    pub connections_per_address_max: u32,
    /// For whom that doesn't hold: proxies, by way of which many come.
    pub unlimited: Vec<IpNet>,
    /// Connections among them that have left HTTP behind (WebSocket). A stream of HTTP/2 that has is one more, of its
    /// client's address as well. Where there may be none, clients of HTTP/2 are not told that they could ask.
    pub tunnels_max: u32,
    /// How long such a connection may stay open while nothing passes.
    pub tunnel_idle_max: Duration,
    /// How long a client may make this process wait until it takes the next part of its answer.
    pub stall_max: Duration,
    /// How long a connection may stay open between two requests.
    pub idle_max: Duration,
    /// Headers of one request.
    pub headers_max: usize,
    /// All headers of one request together.
    pub head_bytes_max: usize,
}

/// What all threads of a process share about its clients' connections.
#[derive(Debug)]
pub struct Front {
    limits: Limits,
    addresses: Arc<AddressConnections>,
    open: AtomicU32,
    parked: AtomicU32,
    tunnels: AtomicU32,
    accepted: AtomicU64,
    refused: AtomicU64,
    handshakes_failed: AtomicU64,
    drain: CancellationToken,
    close: CancellationToken,
}

impl Front {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            addresses: Arc::new(AddressConnections::new(
                limits.connections_per_address_max,
                limits.unlimited.clone(),
            )),
            limits,
            open: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            tunnels: AtomicU32::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
            drain: CancellationToken::new(),
            close: CancellationToken::new(),
        })
    }

    /// Connections that are open now, and streams of HTTP/2 that have left HTTP behind.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Connections among them that wait for another request and hold nothing but their sockets meanwhile.
    pub fn parked(&self) -> u32 {
        self.parked.load(Relaxed)
    }

    /// Those among them that have left HTTP behind.
    pub fn tunnels(&self) -> u32 {
        self.tunnels.load(Relaxed)
    }

    /// Connections that ended before TLS was spoken.
    pub fn handshakes_failed(&self) -> u64 {
        self.handshakes_failed.load(Relaxed)
    }

    /// Connections that were ever accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that were closed at once, because their address had as many as it may.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// From then on there are no new customers, and every answer should ask its client to close.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Tells clients for as long as `notice` to go elsewhere, then closes connections that are idle, and returns once all
    /// are closed or `deadline` has passed since the call. Returns how many are left.
    ///
    /// To close an idle connection at once would cross the next request on its way here. A client that is told so with
    /// an answer goes elsewhere without a loss; only who stays silent is closed.
    pub async fn drain(&self, notice: Duration, deadline: Duration) -> u32 {
        let began = Instant::now();
        let deadline = began + deadline;
        self.drain.cancel();
        info!(connections = self.open(), "Draining");
        tokio::time::sleep_until(deadline.min(began + notice).into()).await;
        self.close.cancel();
        // A moment at least: connections that waited in the sockets' queues are still to be taken.
        tokio::time::sleep(DRAIN_POLL).await;
        while self.open() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let left = self.open();
        if left > 0 {
            warn!(connections = left, "Cut what had not finished in time");
        }
        left
    }

    fn is_full(&self) -> bool {
        self.open() >= self.limits.connections_max
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
struct OpenConnection {
    front: Arc<Front>,
    place: Arc<AddressPlace>,
}

impl OpenConnection {
    fn count(front: &Arc<Front>, place: Arc<AddressPlace>) -> Self {
        front.open.fetch_add(1, Relaxed);
        Self {
            front: front.clone(),
            place,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.front.open.fetch_sub(1, Relaxed);
    }
}

/// What all requests of one client's connection have in common.
#[derive(Debug)]
pub struct Client {
    /// Where it comes from.
    pub peer: SocketAddr,
    /// Whether it speaks TLS with us.
    pub is_tls: bool,
    seen: Arc<Seen>,
    front: Arc<Front>,
    place: Arc<AddressPlace>,
    gone: CancellationToken,
    /// Of HTTP/2 only.
    signals: Option<Arc<Signals>>,
}

/// What the streams of a connection of HTTP/2 tell it, and what they share.
#[derive(Debug, Default)]
struct Signals {
    /// The client is to go elsewhere.
    leaving: CancellationToken,
    /// Streams that have left HTTP.
    tunnels: AtomicU32,
}

impl Client {
    /// Whether a request of ambiguous length was seen on the connection. Nothing that follows on it can be trusted, so
    /// that this request and any later one is to be refused.
    pub fn is_ambiguous(&self) -> bool {
        self.seen.is_ambiguous()
    }

    /// Tells a client that speaks HTTP/2 to go elsewhere; what it has asked is still answered. One of HTTP/1.1 is told
    /// with an answer, by `Connection: close`.
    pub fn leave(&self) {
        if let Some(signals) = &self.signals {
            signals.leaving.cancel();
        }
    }

    /// A place for the connection, or the stream, when it leaves HTTP, if there is one. The extensions are the request's.
    pub fn reserve_tunnel(&self, extensions: &mut Extensions) -> Option<Tunnel> {
        Tunnel::reserve(self, extensions)
    }
}
