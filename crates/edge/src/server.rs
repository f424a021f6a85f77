//! Connections: accepted, served, drained.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shop_net::listen::{Accepted, ListenSource};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handler::{App, handle};

/// A client that has not sent a whole request head for so long is closed, also between two requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A client that takes nothing of what is sent for so long is gone.
const STALLED_TIMEOUT: Duration = Duration::from_secs(30);
const HEADERS_MAX: usize = 64;
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// The bounds that all threads share.
#[derive(Clone)]
pub struct Limits {
    places: Arc<Semaphore>,
    open: Arc<AtomicUsize>,
    /// How long requests may take to finish once shutting down.
    pub drain: Duration,
}

impl Limits {
    /// At most so many connections.
    pub fn new(connections_max: usize, drain: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(connections_max)),
            open: Arc::default(),
            drain,
        }
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Serves until shutdown, then lets requests finish. To be run by each thread, on a runtime of its own.
pub async fn serve(
    source: ListenSource,
    app: Arc<App>,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let mut listeners = source.listeners();
    drop(source);
    let connections = TaskTracker::new();
    loop {
        // Without a place nothing is accepted: the connection is left to another process, or to the kernel's queue.
        let place = tokio::select! {
            place = Arc::clone(&limits.places).acquire_owned() => place,
            () = shutdown.cancelled() => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listeners.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (app, shutdown, open) = (Arc::clone(&app), shutdown.clone(), Arc::clone(&limits.open));
        connections.spawn(async move {
            open.fetch_add(1, Ordering::Relaxed);
            converse(accepted, app, shutdown).await;
            open.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listeners);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "Connections did not finish in time and are closed"
        );
    }
}

async fn converse(accepted: Accepted, app: Arc<App>, shutdown: CancellationToken) {
    let Accepted { stream, gone, .. } = accepted;
    // The kernel watches over a client that stops reading; a deadline for the whole answer would punish slow lines.
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_TIMEOUT));
    let service = service_fn(move |request| {
        let app = Arc::clone(&app);
        async move { Ok::<_, Infallible>(handle(app, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // Errors here are the client's: it went away, or it doesn't speak HTTP.
        _ = connection.as_mut() => return,
        () = gone.cancelled() => return,
        () = shutdown.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = gone.cancelled() => {}
    }
}
