//! What has left HTTP behind (WebSocket), a connection of HTTP/1.1 or a stream of HTTP/2: bytes pass both ways until both
//! ends are done, nothing moves any more, or the process closes.

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use http::Extensions;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::stream::WatchedStream;
use crate::{Client, Front, Limits, OpenConnection, Signals};

const BUFFER_BYTES: usize = 8 * 1024;
/// Of one connection of HTTP/2. Whoever needs more opens another.
const TUNNELS_PER_CONNECTION_MAX: u32 = 10;

/// Tells the stream of a request of HTTP/2 that its tunnel has ended. It travels with the request.
#[derive(Clone, Debug)]
pub(crate) struct StreamEnd(pub(crate) CancellationToken);

/// A place among the tunnels, taken until it is dropped. Counts as a connection as well.
#[derive(Debug)]
pub struct Tunnel {
    front: Arc<Front>,
    gone: CancellationToken,
    _stream: Option<Stream>,
    _open: OpenConnection,
}

/// A place among the tunnels of one connection of HTTP/2.
#[derive(Debug)]
struct Stream {
    signals: Arc<Signals>,
    end: StreamEnd,
}

impl Stream {
    fn reserve(signals: &Arc<Signals>, extensions: &mut Extensions) -> Option<Self> {
        let end = extensions.remove::<StreamEnd>()?;
        take_one(&signals.tunnels, TUNNELS_PER_CONNECTION_MAX)?;
        Some(Self {
            signals: signals.clone(),
            end,
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.signals.tunnels.fetch_sub(1, Relaxed);
        self.end.0.cancel();
    }
}

impl Tunnel {
    pub(crate) fn reserve(client: &Client, extensions: &mut Extensions) -> Option<Self> {
        let front = &client.front;
        let (stream, place) = match &client.signals {
            // The connection becomes the tunnel.
            None => (None, client.place.clone()),
            // The tunnel comes beside its connection.
            Some(signals) => (
                Some(Stream::reserve(signals, extensions)?),
                Arc::new(client.place.another()?),
            ),
        };
        take_one(&front.tunnels, front.limits.tunnels_max)?;
        Some(Self {
            front: front.clone(),
            gone: client.gone.clone(),
            _stream: stream,
            _open: OpenConnection::count(front, place),
        })
    }

    /// Passes bytes between a client and a server that have both agreed to leave HTTP.
    pub async fn run(self, client: Upgraded, server: impl AsyncRead + AsyncWrite) {
        match client.downcast::<TokioIo<WatchedStream>>() {
            // What is no HTTP must not be watched as if it were.
            Ok(client) => {
                let transport = client.io.into_inner().into_transport();
                self.join(transport, &client.read_buf, server).await;
            }
            Err(stream) => self.join(TokioIo::new(stream), &[], server).await,
        }
    }

    async fn join(self, client: impl AsyncRead + AsyncWrite, said: &[u8], server: impl AsyncRead + AsyncWrite) {
        let (from_client, to_client) = tokio::io::split(client);
        let (from_server, mut to_server) = tokio::io::split(server);
        let stall_max = self.front.limits.stall_max;
        let activity = Activity::default();
        let passing = async {
            timeout(stall_max, to_server.write_all(said)).await??;
            tokio::try_join!(
                pass(from_client, to_server, stall_max, &activity),
                pass(from_server, to_client, stall_max, &activity),
            )
        };
        tokio::select! {
            // Whatever ends it, both ends see their connection close.
            _ = passing => {}
            () = idle_for_too_long(&activity, &self.front.limits) => {}
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

/// Takes one, unless so many are taken.
fn take_one(taken: &AtomicU32, max: u32) -> Option<()> {
    taken
        .fetch_update(Relaxed, Relaxed, |taken| (taken < max).then_some(taken + 1))
        .ok()
        .map(drop)
}

/// What moves in a tunnel.
struct Activity {
    last: Cell<Instant>,
    /// One direction is done.
    is_half_closed: Cell<bool>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            last: Cell::new(Instant::now()),
            is_half_closed: Cell::new(false),
        }
    }
}

/// One direction. When its source ends, so does what its sink gets; the other direction goes on.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    stall_max: Duration,
    activity: &Activity,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let bytes = from.read(&mut buffer).await?;
        activity.last.set(Instant::now());
        if bytes == 0 {
            activity.is_half_closed.set(true);
            return timeout(stall_max, to.shutdown()).await?;
        }
        timeout(stall_max, to.write_all(&buffer[..bytes])).await??;
        timeout(stall_max, to.flush()).await??;
    }
}

/// Who has nothing more to say may be gone for good: a stream that was reset looks like one that was ended. Then the other
/// is waited for no longer than for any client that takes nothing.
async fn idle_for_too_long(activity: &Activity, limits: &Limits) {
    loop {
        let idle_max = if activity.is_half_closed.get() {
            limits.stall_max
        } else {
            limits.tunnel_idle_max
        };
        let end = activity.last.get() + idle_max;
        if Instant::now() >= end {
            return;
        }
        // Looked at more often than it ends, since the limit may become a shorter one meanwhile.
        tokio::time::sleep_until(end.min(Instant::now() + limits.stall_max)).await;
    }
}
