//! One client's connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use shop_net::listen::Accepted;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::stream::WatchedStream;
use crate::{Client, Front, OpenConnection};

/// What the kernel takes from us beyond what is on its way to the client. It may take megabytes else, and a client on
/// a slow line would seem to take nothing for as long as they last.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// What the connections of one entrance have in common.
#[derive(Clone, Debug)]
pub(crate) struct Treatment {
    pub(crate) is_public: bool,
}

/// Serves a connection until it ends, whatever the reason.
pub(crate) async fn serve<M, S, B>(open: OpenConnection, accepted: Accepted, treatment: Treatment, make_service: M)
where
    M: Fn(Client) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let front = &open.0;
    let stall_max = front.limits.stall_max;
    watch_in_kernel(&accepted.stream, stall_max);
    let (mut stream, is_ambiguous) = WatchedStream::new(accepted.stream, stall_max);
    if treatment.is_public {
        stream.expect_request();
    }
    let client = Client {
        peer: accepted.peer,
        is_ambiguous,
    };
    serve_http1(front, stream, make_service(client), &accepted.gone).await;
}

async fn serve_http1<S, B>(front: &Arc<Front>, stream: WatchedStream, service: S, gone: &CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(front.limits.idle_max)
        .max_headers(front.limits.headers_max)
        .max_header_size(front.limits.head_bytes_max)
        .max_buf_size(2 * front.limits.head_bytes_max)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // Whether the client is gone, sent nonsense or is done: nobody is left to be told.
        _ = connection.as_mut() => return,
        // The network that the connection came through is gone; nobody will ever reset it.
        () = gone.cancelled() => return,
        () = front.close.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = gone.cancelled() => {}
    }
}

/// The kernel gives up on a client that acknowledges nothing, also while nothing here is waiting for it, and tells of
/// progress in small steps. A socket that won't have it is served all the same.
fn watch_in_kernel(stream: &TcpStream, stall_max: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(stall_max));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
