//! Connections: accepted, served, drained.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
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
    drain: Duration,
    notice: Duration,
}

impl Limits {
    /// At most so many connections. When the process shuts down, connections are told to go elsewhere for as long as
    /// `notice`, and whatever is under way then may take as long as `drain`.
    pub fn new(connections_max: usize, notice: Duration, drain: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(connections_max)),
            open: Arc::default(),
            notice,
            drain,
        }
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// Serves until shutdown, then lets requests finish. To be run by each thread, on a runtime of its own.
pub async fn serve(source: ListenSource, app: Arc<App>, limits: Limits, shutdown: CancellationToken) {
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
        let notice = limits.notice;
        connections.spawn(async move {
            open.fetch_add(1, Ordering::Relaxed);
            converse(accepted, app, shutdown, notice).await;
            open.fetch_sub(1, Ordering::Relaxed);
            drop(place);
        });
    }
    drop(listeners);
    connections.close();
    if tokio::time::timeout(limits.notice + limits.drain, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "Connections did not finish in time and are closed"
        );
    }
}

async fn converse(accepted: Accepted, app: Arc<App>, shutdown: CancellationToken, notice: Duration) {
    let Accepted { stream, gone, .. } = accepted;
    // The kernel watches over a client that stops reading; a deadline for the whole answer would punish slow lines.
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(STALLED_TIMEOUT));
    let closing = shutdown.clone();
    let service = service_fn(move |request| {
        let (app, closing) = (Arc::clone(&app), closing.clone());
        async move {
            let mut response = handle(app, request).await;
            if closing.is_cancelled() {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response)
        }
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
        () = shutdown.cancelled() => {}
    }
    // To close an idle connection at once would cross the next request on its way here. A client that is told so with
    // an answer goes elsewhere without a loss; only who stays silent is closed.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = gone.cancelled() => return,
        () = tokio::time::sleep(notice) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = gone.cancelled() => {}
    }
}
