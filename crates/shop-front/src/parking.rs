//! Connections between two requests. Most of the open ones are, and hyper's buffer and state would be kept for each of
//! them, so only the socket is: hyper begins anew when it becomes readable.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use slab::Slab;
use tokio::io::{AsyncWriteExt as _, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::http1::{self, Rest};
use crate::stream::WatchedStream;
use crate::{Front, OpenConnection};

/// Whose time is over, and whose network is gone, is looked for this often.
const ROUND: Duration = Duration::from_secs(1);

/// Where one thread's connections wait. Timers and tokens of their own would cost each of them more than all else that
/// it keeps.
#[derive(Debug)]
pub(crate) struct Lot {
    front: Arc<Front>,
    places: RefCell<Slab<Place>>,
    is_used: Notify,
}

#[derive(Debug)]
struct Place {
    waker: Waker,
    until: Instant,
    gone: CancellationToken,
}

impl Lot {
    pub(crate) fn new(front: Arc<Front>) -> Rc<Self> {
        Rc::new(Self {
            front,
            places: RefCell::default(),
            is_used: Notify::new(),
        })
    }

    /// Wakes those that have waited for long enough, until the process closes, and then all.
    pub(crate) async fn attend(self: Rc<Self>) {
        let rounds = async {
            loop {
                if self.places.borrow().is_empty() {
                    self.is_used.notified().await;
                }
                tokio::time::sleep(ROUND).await;
                let now = Instant::now();
                self.wake(|place| place.until <= now || place.gone.is_cancelled());
            }
        };
        tokio::select! {
            () = rounds => {}
            () = self.front.close.cancelled() => self.wake(|_| true),
        }
    }

    fn wake(&self, is_due: impl Fn(&Place) -> bool) {
        for (_, place) in self.places.borrow().iter() {
            if is_due(place) {
                place.waker.wake_by_ref();
            }
        }
    }
}

/// A place in the lot, held until it is dropped.
struct Ticket<'a> {
    lot: &'a Lot,
    number: usize,
}

impl<'a> Ticket<'a> {
    fn take(lot: &'a Lot, place: Place) -> Self {
        let number = lot.places.borrow_mut().insert(place);
        lot.is_used.notify_one();
        lot.front.parked.fetch_add(1, Relaxed);
        Self { lot, number }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.lot.places.borrow_mut().remove(self.number);
        self.lot.front.parked.fetch_sub(1, Relaxed);
    }
}

/// A connection of HTTP/1.1 in the clear that has nothing to do.
pub(crate) struct Parked<S> {
    pub(crate) rest: Rest,
    pub(crate) service: S,
    pub(crate) open: OpenConnection,
    pub(crate) gone: CancellationToken,
    pub(crate) lot: Rc<Lot>,
}

/// Why a connection doesn't wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A request begins.
    Request,
    /// The process closes.
    Closing,
    /// The client or its network is gone, or its time is over.
    Over,
}

impl<S, B> Parked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    /// Waits for whatever comes first.
    pub(crate) async fn wait(&self) -> Woken {
        let until = self.rest.idle_since + self.open.front.limits.idle_max;
        let mut ticket = None;
        poll_fn(|cx| {
            if let Poll::Ready(woken) = self.poll_client(cx) {
                return Poll::Ready(woken);
            }
            if self.gone.is_cancelled() || until <= Instant::now() {
                return Poll::Ready(Woken::Over);
            }
            if self.open.front.close.is_cancelled() {
                return Poll::Ready(Woken::Closing);
            }
            // A task is always woken by the same waker.
            ticket.get_or_insert_with(|| {
                let place = Place {
                    waker: cx.waker().clone(),
                    until,
                    gone: self.gone.clone(),
                };
                Ticket::take(&self.lot, place)
            });
            Poll::Pending
        })
        .await
    }

    fn poll_client(&self, cx: &mut Context<'_>) -> Poll<Woken> {
        let mut first = [0];
        match ready!(self.rest.stream.poll_peek(cx, &mut ReadBuf::new(&mut first))) {
            Ok(1..) => Poll::Ready(Woken::Request),
            Ok(0) | Err(_) => Poll::Ready(Woken::Over),
        }
    }

    /// Serves what comes, until the connection ends or can be parked again.
    pub(crate) async fn resume(self) -> Option<Self> {
        let Self {
            rest,
            service,
            open,
            gone,
            lot,
        } = self;
        let stream = WatchedStream::resume(rest.stream, rest.seen, open.front.limits.stall_max);
        let rest = http1::serve(&open.front, stream, &service, rest.idle_since, &gone).await?;
        Some(Self {
            rest,
            service,
            open,
            gone,
            lot,
        })
    }

    /// Closes it in such a way that a client which is just sending can see why.
    pub(crate) async fn close(self) {
        let rest = self.rest;
        let mut stream = WatchedStream::resume(rest.stream, rest.seen, self.open.front.limits.stall_max);
        tokio::select! {
            _ = stream.shutdown() => {}
            () = self.gone.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests;
