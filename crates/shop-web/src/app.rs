//! Puts the frame around a service's routes, and serves them.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::WebState;
use crate::frame::{self, Frame};
use crate::problem::Problem;

/// A body larger than this is refused, unless the route says otherwise with a `DefaultBodyLimit` of its own.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// An answer takes at most this long.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// Requests that are under way at shutdown get so long to finish.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// A client that takes longer to send the head of a request is cut off.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Puts around every route: request id, trace, timing, positions, the check for forged requests, limits, problems as the
/// client likes them, and the content security policy.
pub fn router_layers(router: Router, web: WebState) -> Router {
    let router = router
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::of_status(http::StatusCode::METHOD_NOT_ALLOWED));
    layers_with_deadline(router, web, REQUEST_DEADLINE)
}

/// The same with another deadline and no fallback, for routes that take longer, such as uploads; merge it into the rest.
pub fn layers_with_deadline(router: Router, web: WebState, deadline: Duration) -> Router {
    let frame = Frame { web, deadline };
    router
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(frame, frame::around))
}

/// Serves until `shutdown`, then lets the requests that are under way finish, within a deadline.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) {
    shop_net::listen::raise_open_files_limit();
    let graceful = GracefulShutdown::new();
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Usually too many open files; closing connections makes room.
                    tracing::warn!(error = &error as &dyn std::error::Error, "A connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let router = router.clone();
            async move {
                Ok::<_, Infallible>(
                    router
                        .oneshot(request.map(axum::body::Body::new) as Request)
                        .await
                        .unwrap_or_else(|never| match never {}),
                )
            }
        });
        let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT);
        builder.http2().timer(TokioTimer::new()).max_concurrent_streams(128);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "A connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await.is_err() {
        tracing::warn!("Some requests did not finish before the deadline");
    }
}
