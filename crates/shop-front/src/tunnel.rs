//! Connections that have left HTTP behind (WebSocket): bytes pass both ways until both ends are done, nothing moves any
//! more, or the process closes.

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

use crate::addresses::AddressPlace;
use crate::stream::WatchedStream;
use crate::{Front, OpenConnection};

const BUFFER_BYTES: usize = 8 * 1024;

/// A place among the tunnels, taken until it is dropped. Counts as a connection as well.
#[derive(Debug)]
pub struct Tunnel {
    front: Arc<Front>,
    gone: CancellationToken,
    _open: OpenConnection,
}

impl Tunnel {
    pub(crate) fn reserve(front: &Arc<Front>, place: &Arc<AddressPlace>, gone: &CancellationToken) -> Option<Self> {
        let reserved = front.tunnels.fetch_update(Relaxed, Relaxed, |open| {
            (open < front.limits.tunnels_max).then_some(open + 1)
        });
        reserved.ok()?;
        Some(Self {
            front: front.clone(),
            gone: gone.clone(),
            _open: OpenConnection::count(front, place.clone()),
        })
    }

    /// Passes bytes between a client and a server that have both agreed to leave HTTP.
    pub async fn run(self, client: Upgraded, server: Upgraded) {
        let Ok(client) = client.downcast::<TokioIo<WatchedStream>>() else {
            return;
        };
        // What is no HTTP must not be watched as if it were.
        let (from_client, to_client) = tokio::io::split(client.io.into_inner().into_transport());
        let (from_server, mut to_server) = tokio::io::split(TokioIo::new(server));
        let stall_max = self.front.limits.stall_max;
        let moved = Cell::new(Instant::now());
        let passing = async {
            timeout(stall_max, to_server.write_all(&client.read_buf)).await??;
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
