//! One client's connection, from its first byte to its last.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use shop_net::listen::Accepted;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::http2;
use crate::stream::{HEAD_DEADLINE, Transport, WatchedStream};
use crate::tls::{self, Tls};
use crate::{Client, Front, OpenConnection};

/// What the kernel takes from us beyond what is on its way to the client. It may take megabytes else, and a client on
/// a slow line would seem to take nothing for as long as they last.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Lines of a head that hyper takes if it isn't told otherwise.
const HEADERS_OF_HYPER: usize = 100;

/// How HTTP/2 begins by prior knowledge, and nothing else.
const PREFACE_START: &[u8] = b"PRI ";
/// A first segment of one to three bytes that may be the start of the preface is looked at again so many times.
const PREFACE_LOOKS: u32 = 10;
const PREFACE_PAUSE: Duration = Duration::from_millis(20);
/// Who has said nothing when the process closes is heard for so long: a request may be on its way.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What the connections of one entrance have in common.
#[derive(Clone, Debug)]
pub(crate) struct Treatment {
    pub(crate) tls: Option<Tls>,
    pub(crate) is_public: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves a connection until it ends, whatever the reason.
pub(crate) async fn serve<M, S, B>(open: OpenConnection, accepted: Accepted, treatment: Treatment, make_service: M)
where
    M: Fn(Client) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let front = &open.front;
    let Accepted { stream, peer, gone } = accepted;
    watch_in_kernel(&stream, front.limits.stall_max);
    let first_wait = if treatment.is_public {
        HEAD_DEADLINE
    } else {
        front.limits.idle_max
    };
    let is_tls = treatment.tls.is_some();
    let begun = match &treatment.tls {
        None => begin_in_the_clear(front, stream, first_wait, &gone).await,
        // Larger than all else that a connection keeps, and of no use once it is over.
        Some(tls) => Box::pin(begin_tls(front, tls, stream, &gone)).await,
    };
    let Some((transport, protocol)) = begun else { return };
    let (mut stream, is_ambiguous) = WatchedStream::new(transport, front.limits.stall_max);
    let service = make_service(Client {
        peer,
        is_tls,
        is_ambiguous,
        front: front.clone(),
        place: open.place.clone(),
        gone: gone.clone(),
    });
    match protocol {
        Protocol::Http1 => {
            if treatment.is_public {
                stream.expect_request();
            }
            serve_http1(front, stream, service, &gone).await;
        }
        Protocol::Http2 => {
            stream.stop_scanning();
            Box::pin(http2::serve(front, stream, service, first_wait, &gone)).await;
        }
    }
}

/// HTTP/1.1, or HTTP/2 by prior knowledge.
async fn begin_in_the_clear(
    front: &Front,
    stream: TcpStream,
    first_wait: Duration,
    gone: &CancellationToken,
) -> Option<(Transport, Protocol)> {
    let looking = async {
        let mut start = [0; PREFACE_START.len()];
        let mut looks = 0;
        loop {
            let start = match stream.peek(&mut start).await {
                Ok(bytes) if bytes > 0 => &start[..bytes],
                _ => return None,
            };
            if start == PREFACE_START {
                return Some(Protocol::Http2);
            }
            looks += 1;
            if !PREFACE_START.starts_with(start) || looks > PREFACE_LOOKS {
                return Some(Protocol::Http1);
            }
            tokio::time::sleep(PREFACE_PAUSE).await;
        }
    };
    let protocol = tokio::select! {
        biased;
        protocol = timeout(first_wait, looking) => protocol.ok()??,
        () = gone.cancelled() => return None,
        () = closing(front) => return None,
    };
    Some((Transport::Plain(stream), protocol))
}

async fn begin_tls(
    front: &Front,
    tls: &Tls,
    stream: TcpStream,
    gone: &CancellationToken,
) -> Option<(Transport, Protocol)> {
    let shaken = tokio::select! {
        biased;
        shaken = tls.accept(stream) => shaken,
        () = gone.cancelled() => return None,
        () = closing(front) => return None,
    };
    let Ok(stream) = shaken else {
        front.handshakes_failed.fetch_add(1, Relaxed);
        return None;
    };
    let protocol = if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
        Protocol::Http2
    } else {
        Protocol::Http1
    };
    Some((Transport::Tls(Box::new(stream)), protocol))
}

async fn closing(front: &Front) {
    front.close.cancelled().await;
    tokio::time::sleep(LAST_WAIT).await;
}

async fn serve_http1<S, B>(front: &Front, stream: WatchedStream, service: S, gone: &CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(front.limits.idle_max)
        .max_header_size(front.limits.head_bytes_max)
        .max_buf_size(2 * front.limits.head_bytes_max);
    // For its own limit hyper has room on the stack.
    if front.limits.headers_max != HEADERS_OF_HYPER {
        builder.max_headers(front.limits.headers_max);
    }
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
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
