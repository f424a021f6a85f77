//! Bodies on their way: the client's to the backend, and the backend's to the client. Neither is collected, except
//! small ones that may have to be sent twice, and neither may stand still for long.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use crate::exchange::Exchange;
use crate::upstream::Lease;

/// How long a client may pause within its body.
const REQUEST_IDLE_MAX: Duration = Duration::from_secs(15);
/// How long a backend may pause within its answer. Event streams send a comment more often than this.
const RESPONSE_IDLE_MAX: Duration = Duration::from_secs(60);

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client's connection failed within a body")]
    Client(#[source] hyper::Error),
    #[error("the backend's connection failed within a body")]
    Backend(#[source] std::io::Error),
    #[error("the client's body ended before its length")]
    Short,
    #[error("the body is larger than allowed")]
    TooLarge,
    #[error("the body stood still for too long")]
    TooSlow,
    #[error("the body could not be compressed")]
    Encoding(#[source] std::io::Error),
}

/// How far a client's body has come: whose doing it is that a request takes long or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upload {
    /// All that has come was passed on: since then it is the backend's turn.
    AwaitsBackend { since: std::time::Instant },
    /// The backend would take more than the client has sent.
    AwaitsClient,
    /// It ended early.
    Failed(BodyFault),
}

impl Upload {
    pub(crate) fn awaits_backend() -> Self {
        Self::AwaitsBackend {
            since: std::time::Instant::now(),
        }
    }
}

/// What was wrong with a client's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFault {
    TooLarge,
    TooSlow,
    Broken,
}

/// A timer that exists only once somebody had to wait.
#[derive(Debug)]
struct IdleTimer {
    allowed: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    is_running: bool,
}

impl IdleTimer {
    fn new(allowed: Duration) -> Self {
        Self {
            allowed,
            sleep: None,
            is_running: false,
        }
    }

    /// Polled while there is nothing to pass on; ready once that has lasted too long.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.allowed;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if !std::mem::replace(&mut self.is_running, true) {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx)
    }

    fn progressed(&mut self) {
        self.is_running = false;
    }
}

/// The body of a request to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// Small, and kept so that it can be sent again.
    Kept(Bytes),
    /// Passed on as it comes; once begun it can't be sent again.
    Streaming(StreamingBody),
}

/// A client's body under way.
#[derive(Debug)]
pub(crate) struct StreamingBody {
    incoming: Incoming,
    /// What was taken of it for a backend that could not be sent anything.
    unsent: Bytes,
    /// What is still allowed.
    bytes_left: u64,
    /// What is still to come by its declared length.
    declared_left: Option<u64>,
    idle: IdleTimer,
    upload: Rc<Cell<Upload>>,
}

impl StreamingBody {
    pub(crate) fn new(incoming: Incoming, bytes_max: u64, upload: Rc<Cell<Upload>>) -> Self {
        Self {
            declared_left: incoming.size_hint().exact(),
            incoming,
            unsent: Bytes::new(),
            bytes_left: bytes_max,
            idle: IdleTimer::new(REQUEST_IDLE_MAX),
            upload,
        }
    }

    fn fail(&self, fault: BodyFault, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.upload.set(Upload::Failed(fault));
        Poll::Ready(Some(Err(error)))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.unsent.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.unsent)))));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            self.upload.set(Upload::AwaitsClient);
            ready!(self.idle.poll_waiting(cx));
            return self.fail(BodyFault::TooSlow, BodyError::TooSlow);
        };
        self.idle.progressed();
        self.upload.set(Upload::awaits_backend());
        match frame {
            // A stream of HTTP/2 that its client has reset may end like this.
            None if self.declared_left.is_some_and(|left| left > 0) => self.fail(BodyFault::Broken, BodyError::Short),
            None => Poll::Ready(None),
            Some(Err(error)) => self.fail(BodyFault::Broken, BodyError::Client(error)),
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.declared_left = self.declared_left.map(|left| left.saturating_sub(bytes));
                match self.bytes_left.checked_sub(bytes) {
                    None => self.fail(BodyFault::TooLarge, BodyError::TooLarge),
                    Some(left) => {
                        self.bytes_left = left;
                        Poll::Ready(Some(Ok(frame)))
                    }
                }
            }
        }
    }
}

impl RequestBody {
    /// The same body again, unless it is one that can be sent only once.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Kept(bytes) => Some(Self::Kept(bytes.clone())),
            Self::Streaming(_) => None,
        }
    }

    /// This body, with a part in front that was taken and not sent.
    pub(crate) fn with_unsent(self, part: Bytes) -> Self {
        match self {
            Self::Empty if !part.is_empty() => Self::Kept(part),
            Self::Streaming(body) => Self::Streaming(StreamingBody { unsent: part, ..body }),
            body => body,
        }
    }

    /// Its length in bytes, where that is known before it has come.
    pub(crate) fn exact_length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Kept(bytes) => Some(bytes.len() as u64),
            Self::Streaming(body) => body.incoming.size_hint().exact(),
        }
    }

    /// The next part.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Kept(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Self::Streaming(body) => body.poll_next(cx),
        }
    }
}

/// The body of an answer to a client. Carries the exchange, which is over when this is dropped.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    source: Source,
    exchange: Exchange,
}

#[derive(Debug)]
enum Source {
    Own(Option<Bytes>),
    Backend {
        lease: Lease,
        idle: IdleTimer,
    },
    /// The backend's answer was read to its end.
    Ended,
    /// It broke off, which is said once what had come is written: hyper writes nothing more once it knows.
    Broken(BodyError),
}

impl ResponseBody {
    pub(crate) fn exchange(&mut self) -> &mut Exchange {
        &mut self.exchange
    }

    /// An answer of the balancer's own.
    pub(crate) fn own(bytes: Bytes, mut exchange: Exchange) -> Self {
        exchange.completed();
        Self {
            source: Source::Own(Some(bytes).filter(|bytes| !bytes.is_empty())),
            exchange,
        }
    }

    /// A backend's answer. The connection goes back to the pool once the answer is complete.
    pub(crate) fn from_backend(lease: Lease, exchange: Exchange) -> Self {
        let idle = IdleTimer::new(RESPONSE_IDLE_MAX);
        let mut body = Self {
            source: Source::Backend { lease, idle },
            exchange,
        };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    fn take_error(&mut self) -> Option<BodyError> {
        match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Broken(error) => Some(error),
            _ => None,
        }
    }

    fn finish(&mut self) {
        if let Source::Backend { lease, .. } = std::mem::replace(&mut self.source, Source::Ended) {
            lease.give_back();
            self.exchange.completed();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let (lease, idle) = match &mut this.source {
            Source::Ended => return Poll::Ready(None),
            Source::Broken(_) => return Poll::Ready(this.take_error().map(Err)),
            Source::Own(bytes) => {
                let bytes = bytes.take();
                this.exchange.sent(bytes.as_ref().map_or(0, Bytes::len));
                return Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))));
            }
            Source::Backend { lease, idle } => (lease, idle),
        };
        let Poll::Ready(frame) = lease.connection.poll_frame(cx) else {
            ready!(idle.poll_waiting(cx));
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        };
        idle.progressed();
        let frame = match frame.transpose() {
            Ok(frame) => frame,
            Err(error) => {
                this.source = Source::Broken(BodyError::Backend(error));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        };
        let data = frame.as_ref().and_then(Frame::data_ref);
        this.exchange.sent(data.map_or(0, Bytes::len));
        // With a known length the end shows at the last frame, after trailers nothing comes, and nobody asks again.
        if lease.connection.is_end_stream() {
            this.finish();
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Ended => true,
            Source::Broken(_) => false,
            Source::Own(bytes) => bytes.is_none(),
            Source::Backend { lease, .. } => lease.connection.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Ended => SizeHint::with_exact(0),
            Source::Broken(_) => SizeHint::default(),
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Backend { lease, .. } => lease.connection.size_hint(),
        }
    }
}
