//! What has left HTTP behind (WebSocket), a connection of HTTP/1.1 or a stream of HTTP/2: bytes pass both ways until both
//! ends are done, nothing moves any more, or the process closes.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::stream::WatchedStream;
use crate::{Client, Front, OpenConnection, Signals};

const BUFFER_BYTES: usize = 8 * 1024;

/// A place among the tunnels, taken until it is dropped. Counts as a connection as well.
#[derive(Debug)]
pub struct Tunnel {
    front: Arc<Front>,
    gone: CancellationToken,
    /// Of the connection whose stream it is.
    signals: Option<Arc<Signals>>,
    _open: OpenConnection,
}

impl Tunnel {
    pub(crate) fn reserve(client: &Client) -> Option<Self> {
        let front = &client.front;
        let reserved = front.tunnels.fetch_update(Relaxed, Relaxed, |open| {
            (open < front.limits.tunnels_max).then_some(open + 1)
        });
        reserved.ok()?;
        if let Some(signals) = &client.signals {
            signals.tunnels.fetch_add(1, Relaxed);
        }
        Some(Self {
            front: front.clone(),
            gone: client.gone.clone(),
            signals: client.signals.clone(),
            _open: OpenConnection::count(front, client.place.clone()),
        })
    }

    /// Passes bytes between a client and a server that have both agreed to leave HTTP.
    pub async fn run(self, client: Upgraded, server: Upgraded) {
        match client.downcast::<TokioIo<WatchedStream>>() {
            // What is no HTTP must not be watched as if it were.
            Ok(client) => {
                let transport = client.io.into_inner().into_transport();
                self.join(transport, &client.read_buf, server).await;
            }
            Err(stream) => self.join(TokioIo::new(stream), &[], server).await,
        }
    }

    async fn join(self, client: impl AsyncRead + AsyncWrite, said: &[u8], server: Upgraded) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
        let stall_max = self.front.limits.stall_max;
        let moved = Cell::new(Instant::now());
        let passing = async {
            timeout(stall_max, to_server.write_all(said)).await??;
            tokio::try_join!(
                pass(from_client, to_server, stall_max, &moved),
                pass(from_server, to_client, stall_max, &moved),
            )
        };
        tokio::select! {
            // Whatever ends it, both ends see their connection close.
            _ = passing => {}
            () = idle_for_too_long(&moved, self.front.limits.tunnel_idle_max) => {}
            () = self.front.close.cancelled() => {}
            () = self.gone.cancelled() => {}
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.front.tunnels.fetch_sub(1, Relaxed);
        if let Some(signals) = &self.signals {
            signals.tunnels.fetch_sub(1, Relaxed);
        }
    }
}

/// One direction. When its source ends, so does what its sink gets; the other direction goes on.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    stall_max: Duration,
    moved: &Cell<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        if bytes == 0 {
            return timeout(stall_max, to.shutdown()).await?;
        }
        moved.set(Instant::now());
        timeout(stall_max, to.write_all(&buffer[..bytes])).await??;
        timeout(stall_max, to.flush()).await??;
    }
}

async fn idle_for_too_long(moved: &Cell<Instant>, idle_max: Duration) {
    loop {
        let end = moved.get() + idle_max;
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}
