//! HTTP/1.1, from a first byte until the connection ends or has nothing to do.

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::Front;
use crate::stream::{Seen, WatchedStream};

/// A connection on which nothing happens for so long is taken apart. Short enough that few are whole at a time, long
/// enough that a client which asks one thing after the other isn't met in between.
const PARK_AFTER: Duration = Duration::from_millis(100);

/// Lines of a head that hyper takes if it isn't told otherwise.
const HEADERS_OF_HYPER: usize = 100;

/// What is left of a connection that waits for another request.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) seen: Arc<Seen>,
    pub(crate) idle_since: Instant,
}

/// Serves a connection until it ends, which is None, or can be parked.
pub(crate) async fn serve<S, B>(
    front: &Front,
    stream: WatchedStream,
    service: &S,
    idle_since: Instant,
    gone: &CancellationToken,
) -> Option<Rest>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let seen = stream.seen();
    let work = Rc::new(Work::default());
    let mut quiet = Quiet::new(work.clone(), seen, idle_since, front.limits.idle_max);
    let tracked = service_fn(move |request| {
        let task = Task::begin(&work);
        async move {
            let response = service.call(request).await?;
            Ok::<_, Infallible>(response.map(|body| Answer { body, _task: task }))
        }
    });
    let mut builder = http1::Builder::new();
    builder
        // Who is idle for too long is noticed here, without a timer for each request.
        .header_read_timeout(None)
        .max_header_size(front.limits.head_bytes_max)
        .max_buf_size(2 * front.limits.head_bytes_max);
    // For its own limit hyper has room on the stack.
    if front.limits.headers_max != HEADERS_OF_HYPER {
        builder.max_headers(front.limits.headers_max);
    }
    let mut connection = builder.serve_connection(TokioIo::new(stream), tracked).with_upgrades();
    let mut closing = pin!(front.close.cancelled());
    let mut losing = pin!(gone.cancelled());
    let next = std::future::poll_fn(|cx| {
        // Whether the client is gone, sent nonsense or is done: nobody is left to be told.
        if Pin::new(&mut connection).poll(cx).is_ready() {
            return Poll::Ready(Next::Drop);
        }
        // The network that the connection came through is gone; nobody will ever reset it.
        if losing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Next::Drop);
        }
        if closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Next::Close);
        }
        quiet.poll(cx)
    });
    match next.await {
        Next::Drop => None,
        Next::Close => {
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = losing => {}
            }
            None
        }
        Next::Park => {
            let parts = connection.into_parts()?;
            let (stream, seen) = parts.io.into_inner().take_apart()?;
            // Empty lines before a request mean nothing. There is nothing else, or the requests would not be told apart
            // any more: then the connection is of no use.
            let is_blank = parts.read_buf.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if !is_blank {
                return None;
            }
            Some(Rest {
                stream: stream.into_std().ok()?,
                seen,
                idle_since: quiet.since,
            })
        }
    }
}

enum Next {
    Park,
    /// Once what is under way is done.
    Close,
    Drop,
}

/// Requests of one connection, counted by who answers them.
#[derive(Debug, Default)]
struct Work {
    begun: Cell<u32>,
    done: Cell<u32>,
}

/// A request in work, until the last of its answer is handed to hyper.
#[derive(Debug)]
struct Task(Rc<Work>);

impl Task {
    fn begin(work: &Rc<Work>) -> Self {
        work.begun.update(|begun| begun.wrapping_add(1));
        Self(work.clone())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.done.update(|done| done.wrapping_add(1));
    }
}

/// An answer's body, which is in work for as long as hyper has it.
struct Answer<B> {
    body: B,
    _task: Task,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Notices that a connection has nothing to do. It looks now and then instead of setting a timer anew with each
/// request: a busy connection costs it a look every [`PARK_AFTER`], and one with a long answer none.
#[derive(Debug)]
struct Quiet {
    work: Rc<Work>,
    seen: Arc<Seen>,
    idle_max: Duration,
    look: Pin<Box<Sleep>>,
    /// Whether the next look is for [`Quiet::idle_max`], since the connection is quiet but can't be parked.
    is_last_look: bool,
    /// What was done when the next look was decided on.
    done: u32,
    /// Nothing was done since then.
    since: Instant,
}

impl Quiet {
    fn new(work: Rc<Work>, seen: Arc<Seen>, since: Instant, idle_max: Duration) -> Self {
        Self {
            work,
            seen,
            idle_max,
            look: Box::pin(tokio::time::sleep(PARK_AFTER)),
            is_last_look: false,
            done: 0,
            since,
        }
    }

    /// Polled after hyper, which so has done what it could.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        let done = self.work.done.get();
        if self.work.begun.get() != done || !self.seen.is_flushed() {
            return Poll::Pending;
        }
        if self.is_last_look && done != self.done {
            self.look_soon(done);
        }
        loop {
            ready!(self.look.as_mut().poll(cx));
            if done != self.done {
                self.look_soon(done);
            } else if self.since.elapsed() >= self.idle_max {
                return Poll::Ready(Next::Drop);
            } else if self.seen.is_resting() {
                return Poll::Ready(Next::Park);
            } else {
                self.is_last_look = true;
                self.look.as_mut().reset(self.since + self.idle_max);
            }
        }
    }

    fn look_soon(&mut self, done: u32) {
        self.is_last_look = false;
        self.done = done;
        self.since = Instant::now();
        self.look.as_mut().reset(self.since + PARK_AFTER);
    }
}
