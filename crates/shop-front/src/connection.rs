//! One client's connection, from its first byte to its last.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use shop_net::listen::Accepted;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::parking::{Lot, Parked};
use crate::stream::{HEAD_DEADLINE, Transport, WatchedStream};
use crate::tls::{self, Tls};
use crate::{Client, Front, OpenConnection, Signals, http1, http2};

/// What the kernel takes from us beyond what is on its way to the client. It may take megabytes else, and a client on
/// a slow line would seem to take nothing for as long as they last.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

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

/// Serves a connection until it ends, whatever the reason, or is parked.
pub(crate) async fn serve<M, S, B>(
    open: OpenConnection,
    accepted: Accepted,
    treatment: Treatment,
    make_service: M,
    lot: Rc<Lot<S>>,
) where
    M: Fn(Client) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    if let Some(parked) = begin(open, accepted, treatment, make_service).await {
        lot.park(parked);
    }
}

/// Serves a connection until it ends or can be parked.
async fn begin<M, S, B>(
    open: OpenConnection,
    accepted: Accepted,
    treatment: Treatment,
    make_service: M,
) -> Option<Parked<S>>
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
    let (transport, protocol) = begun?;
    let mut stream = WatchedStream::new(transport, front.limits.stall_max);
    let signals = (protocol == Protocol::Http2).then(Arc::<Signals>::default);
    let service = make_service(Client {
        peer,
        is_tls,
        signals: signals.clone(),
        seen: stream.seen(),
        front: front.clone(),
        place: open.place.clone(),
        gone: gone.clone(),
    });
    match signals {
        None => {
            if treatment.is_public {
                stream.expect_request();
            }
            let rest = http1::serve(front, stream, &service, Instant::now(), &gone).await?;
            Some(Parked {
                rest,
                service,
                open,
                gone,
            })
        }
        Some(signals) => {
            stream.stop_scanning();
            Box::pin(http2::serve(front, stream, service, first_wait, &gone, signals)).await;
            None
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

/// The kernel gives up on a client that acknowledges nothing, also while nothing here is waiting for it, and tells of
/// progress in small steps. A socket that won't have it is served all the same.
fn watch_in_kernel(stream: &TcpStream, stall_max: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(stall_max));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
