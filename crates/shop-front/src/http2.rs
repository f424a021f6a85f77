//! HTTP/2, within bounds of its own: streams, headers, resets, and clients that open streams and take nothing of them.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderName, TRANSFER_ENCODING, UPGRADE};
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::patience::Patience;
use crate::stream::WatchedStream;
use crate::tunnel::StreamEnd;
use crate::{Front, Signals};

/// Requests at a time on one connection.
const STREAMS_MAX: u32 = 100;
/// What a client may send ahead of us, for one request and for all of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// What is kept of an answer that the client doesn't take yet.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
const FRAME_BYTES_MAX: u32 = 16 * 1024;
/// The last part of an answer is no larger. hyper waits until the client's window has room for a byte of it, and then
/// nobody waits for the rest: it stays until the client takes it, however long that is.
const LAST_PART_BYTES_MAX: usize = 1024;
/// Streams that the client has reset before we looked at them ("rapid reset").
const RESETS_PENDING_MAX: usize = 20;
/// Streams that we had to reset for what the client did on them.
const ERROR_RESETS_MAX: usize = 64;
/// Streams that the client may reset later, beyond as many as were answered to their end.
const ABANDONED_MAX: u32 = 100;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// How long a client that was told to go elsewhere may take to close, once nothing is under way.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a connection until it ends, whatever the reason. The first request has to come within `first_wait`. The client
/// is told to go elsewhere when this process drains, or when `signals` says so.
pub(crate) async fn serve<S, B>(
    front: &Front,
    stream: WatchedStream,
    service: S,
    first_wait: Duration,
    gone: &CancellationToken,
    signals: Arc<Signals>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let streams = Streams(Rc::new(Activity::new(front.limits.stall_max)));
    let activity = streams.0.clone();
    let service = Tracked {
        service,
        activity: activity.clone(),
    };
    let mut builder = http2::Builder::new(streams);
    if front.limits.tunnels_max > 0 {
        builder.enable_connect_protocol();
    }
    let connection = builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(front.limits.head_bytes_max).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
        .max_local_error_reset_streams(ERROR_RESETS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut look = pin!(tokio::time::sleep(first_wait));
    let mut is_leaving = false;
    let mut told_to_go = pin!(async {
        tokio::select! {
            () = front.drain.cancelled() => {}
            () = signals.leaving.cancelled() => {}
        }
    });
    loop {
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = gone.cancelled() => return,
            () = activity.is_abusive.cancelled() => return,
            () = told_to_go.as_mut(), if !is_leaving => {}
            () = look.as_mut() => {
                let allowed = if is_leaving {
                    FAREWELL
                } else if activity.has_begun.get() {
                    front.limits.idle_max
                } else {
                    first_wait
                };
                let idle_since = activity.idle_since();
                if idle_since.elapsed() < allowed {
                    look.as_mut().reset(idle_since + allowed);
                    continue;
                }
                if is_leaving {
                    return;
                }
            }
        }
        // To be told costs the client nothing: what it sends meanwhile is still answered, or known not to be.
        is_leaving = true;
        connection.as_mut().graceful_shutdown();
        look.as_mut().reset(Instant::now() + FAREWELL);
    }
}

/// What goes on on one connection.
struct Activity {
    stall_max: Duration,
    has_begun: Cell<bool>,
    open: Cell<u32>,
    last_closed: Cell<Instant>,
    completed: Cell<u32>,
    abandoned: Cell<u32>,
    is_abusive: CancellationToken,
    /// The exchange whose stream hyper is about to spawn.
    beginning: RefCell<Option<Rc<Exchange>>>,
    /// The exchange whose stream is being polled.
    polled: RefCell<Option<Rc<Exchange>>>,
}

impl Activity {
    fn new(stall_max: Duration) -> Self {
        Self {
            stall_max,
            has_begun: Cell::new(false),
            open: Cell::new(0),
            last_closed: Cell::new(Instant::now()),
            completed: Cell::new(0),
            abandoned: Cell::new(0),
            is_abusive: CancellationToken::new(),
            beginning: RefCell::new(None),
            polled: RefCell::new(None),
        }
    }

    fn idle_since(&self) -> Instant {
        if self.open.get() > 0 {
            Instant::now()
        } else {
            self.last_closed.get()
        }
    }
}

/// One request and its answer, or the tunnel that its stream became.
struct Exchange {
    activity: Rc<Activity>,
    patience: RefCell<Patience>,
    /// What hyper was given last, while it has not asked for more: it waits for the client to take what came before.
    handed_bytes: Cell<Option<usize>>,
    is_complete: Cell<bool>,
    /// Of a request to leave HTTP.
    tunnel_end: Option<CancellationToken>,
    is_tunnel: Cell<bool>,
}

impl Exchange {
    fn begin(activity: &Rc<Activity>, asks_to_leave: bool) -> Rc<Self> {
        activity.has_begun.set(true);
        activity.open.update(|open| open + 1);
        Rc::new(Self {
            activity: activity.clone(),
            patience: RefCell::new(Patience::new(activity.stall_max)),
            handed_bytes: Cell::new(None),
            is_complete: Cell::new(false),
            tunnel_end: asks_to_leave.then(CancellationToken::new),
            is_tunnel: Cell::new(false),
        })
    }

    /// When the client has not taken the rest for too long since its tunnel ended.
    async fn tunnel_overdue(&self) {
        match &self.tunnel_end {
            Some(end) => end.cancelled().await,
            None => std::future::pending().await,
        }
        tokio::time::sleep(self.activity.stall_max).await;
    }

    fn asked_for_more(&self, cx: &mut Context<'_>) {
        if let Some(bytes) = self.handed_bytes.take() {
            // What was taken can't fail.
            let _ = self.patience.borrow_mut().after_write(cx, Poll::Ready(Ok(bytes)));
        }
    }

    /// Ready once the client has let us wait for too long.
    fn poll_overdue(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.handed_bytes.get().is_none() {
            return Poll::Pending;
        }
        self.patience.borrow_mut().after_write(cx, Poll::Pending).map(|_| ())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let activity = &self.activity;
        activity.open.update(|open| open - 1);
        activity.last_closed.set(Instant::now());
        if self.is_tunnel.get() {
            // It has its own limits, and says nothing about answers.
            return;
        }
        if self.is_complete.get() {
            activity.completed.update(|completed| completed.saturating_add(1));
            return;
        }
        activity.abandoned.update(|abandoned| abandoned.saturating_add(1));
        if activity.abandoned.get() > activity.completed.get().saturating_add(ABANDONED_MAX) {
            activity.is_abusive.cancel();
        }
    }
}

/// Runs the streams of one connection on its thread. hyper asks the service first and spawns the stream at once, so
/// that what the service has left belongs to it. What writes to a stream that has left HTTP is spawned while that stream is
/// polled.
#[derive(Clone)]
struct Streams(Rc<Activity>);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + 'static,
{
    fn execute(&self, stream: F) {
        let activity = self.0.clone();
        let Some(exchange) = activity.beginning.take() else {
            if let Some(exchange) = activity.polled.borrow().clone() {
                exchange.is_tunnel.set(true);
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        biased;
                        _ = stream => {}
                        () = exchange.tunnel_overdue() => {}
                    }
                });
            }
            return;
        };
        tokio::task::spawn_local(async move {
            let mut stream = pin!(stream);
            std::future::poll_fn(|cx| {
                activity.polled.replace(Some(exchange.clone()));
                let polled = stream.as_mut().poll(cx);
                activity.polled.take();
                if polled.is_ready() {
                    return Poll::Ready(());
                }
                // Given up, the stream is dropped, and so reset.
                exchange.poll_overdue(cx)
            })
            .await;
        });
    }
}

/// Notes the beginning and the end of each exchange.
struct Tracked<S> {
    service: S,
    activity: Rc<Activity>,
}

impl<S, B> Service<Request<Incoming>> for Tracked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body + 'static,
{
    type Response = Response<TrackedBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>>>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let exchange = Exchange::begin(&self.activity, request.method() == Method::CONNECT);
        if let Some(end) = &exchange.tunnel_end {
            request.extensions_mut().insert(StreamEnd(end.clone()));
        }
        self.activity.beginning.replace(Some(exchange.clone()));
        let answering = self.service.call(request);
        Box::pin(async move {
            let response = answering.await?;
            Ok(response.map(|body| TrackedBody::new(body, exchange)))
        })
    }
}

struct TrackedBody<B> {
    body: B,
    last_part: Option<Bytes>,
    exchange: Rc<Exchange>,
}

impl<B: Body> TrackedBody<B> {
    fn new(body: B, exchange: Rc<Exchange>) -> Self {
        exchange.is_complete.set(body.is_end_stream());
        Self {
            body,
            last_part: None,
            exchange,
        }
    }
}

impl<B> Body for TrackedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        this.exchange.asked_for_more(cx);
        if let Some(last_part) = this.last_part.take() {
            this.exchange.handed_bytes.set(Some(last_part.len()));
            this.exchange.is_complete.set(true);
            return Poll::Ready(Some(Ok(Frame::data(last_part))));
        }
        let mut frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &mut frame {
            None => this.exchange.is_complete.set(true),
            Some(Ok(frame)) => {
                if this.body.is_end_stream()
                    && let Some(data) = frame.data_mut()
                    && data.len() > LAST_PART_BYTES_MAX
                {
                    this.last_part = Some(data.split_off(data.len() - LAST_PART_BYTES_MAX));
                }
                this.exchange
                    .handed_bytes
                    .set(Some(frame.data_ref().map_or(0, Bytes::len)));
                if this.is_end_stream() || frame.is_trailers() {
                    this.exchange.is_complete.set(true);
                }
                if let Some(trailers) = frame.trailers_mut() {
                    for name in CONNECTION_SPECIFIC {
                        trailers.remove(name);
                    }
                }
            }
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.last_part.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.last_part {
            Some(last_part) => SizeHint::with_exact(last_part.len() as u64),
            None => self.body.size_hint(),
        }
    }
}

/// Fields that make a message malformed in HTTP/2 (RFC 9113, section 8.2.2). hyper drops them from heads, not from
/// trailers.
const CONNECTION_SPECIFIC: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];
