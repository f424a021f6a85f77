//! Connections between two requests. Most of the open ones are, and hyper's buffer and state, a task and a registration
//! with tokio would be kept for each of them, so only the socket is: one `epoll` of our own watches all of a thread's, and
//! hyper begins anew on the one that becomes readable.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use shop_net::readable;
use slab::Slab;
use tokio::io::AsyncWriteExt as _;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::http1::{self, Rest};
use crate::stream::WatchedStream;
use crate::{Front, OpenConnection};

/// Whose time is over, and whose network is gone, is looked for this often.
const ROUND: Duration = Duration::from_secs(1);
/// Connections taken back before others of the thread have their turn.
const WOKEN_AT_ONCE: usize = 64;
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Where one thread's connections wait. Timers and tokens of their own would cost each of them more than all else that
/// it keeps.
pub(crate) struct Lot<S> {
    front: Arc<Front>,
    poller: AsyncFd<OwnedFd>,
    places: RefCell<Slab<Parked<S>>>,
    is_used: Notify,
    /// Nobody attends to it any more.
    is_over: Cell<bool>,
}

/// A connection of HTTP/1.1 in the clear that has nothing to do.
pub(crate) struct Parked<S> {
    pub(crate) rest: Rest,
    pub(crate) service: S,
    pub(crate) open: OpenConnection,
    pub(crate) gone: CancellationToken,
}

impl<S, B> Lot<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    /// Fails only where the kernel has no file descriptor left for it.
    pub(crate) fn new(front: Arc<Front>) -> io::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            front,
            poller: readable::watch(epoll::create(epoll::CreateFlags::CLOEXEC)?)?,
            places: RefCell::default(),
            is_used: Notify::new(),
            is_over: Cell::new(false),
        }))
    }

    /// Lets a connection wait. Once nobody attends to the lot it is closed instead.
    pub(crate) fn park(&self, parked: Parked<S>) {
        if self.is_over.get() {
            spawn_local(parked.close());
            return;
        }
        let mut places = self.places.borrow_mut();
        let place = places.vacant_entry();
        let number = epoll::EventData::new_u64(place.key() as u64);
        // Of a socket that can't be watched nobody would know when to go on: it is closed.
        if epoll::add(&self.poller, &parked.rest.stream, number, epoll::EventFlags::IN).is_ok() {
            place.insert(parked);
            self.front.parked.fetch_add(1, Relaxed);
            self.is_used.notify_one();
        }
    }

    /// Goes on with those that are asked something, and ends those that have waited for long enough, until the process
    /// closes, and then all.
    pub(crate) async fn attend(self: Rc<Self>) {
        tokio::select! {
            () = self.end_in_rounds() => {}
            failed = self.take_back() => {
                if let Err(error) = failed {
                    error!(%error, "Idle connections can't be watched any more, and are closed");
                }
            }
            () = self.front.close.cancelled() => {}
        }
        self.is_over.set(true);
        let all = self.places.take();
        self.front.parked.fetch_sub(all.len() as u32, Relaxed);
        for (_, parked) in all {
            spawn_local(parked.close());
        }
    }

    async fn end_in_rounds(&self) {
        loop {
            if self.places.borrow().is_empty() {
                self.is_used.notified().await;
            }
            tokio::time::sleep(ROUND).await;
            let now = Instant::now();
            let mut places = self.places.borrow_mut();
            let before = places.len();
            places.retain(|_, parked| parked.until() > now && !parked.gone.is_cancelled());
            self.front.parked.fetch_sub((before - places.len()) as u32, Relaxed);
        }
    }

    async fn take_back(self: &Rc<Self>) -> io::Result<()> {
        let mut events = Vec::with_capacity(WOKEN_AT_ONCE);
        loop {
            let mut ready = self.poller.readable().await?;
            epoll::wait(&self.poller, spare_capacity(&mut events), Some(&AT_ONCE))?;
            let is_all = events.len() < WOKEN_AT_ONCE;
            if is_all {
                ready.clear_ready();
            }
            for event in events.drain(..) {
                let Some(parked) = self.places.borrow_mut().try_remove(event.data.u64() as usize) else {
                    continue;
                };
                self.front.parked.fetch_sub(1, Relaxed);
                if parked.has_client() && epoll::delete(&self.poller, &parked.rest.stream).is_ok() {
                    spawn_local(self.clone().serve(parked));
                }
            }
            if !is_all {
                tokio::task::yield_now().await;
            }
        }
    }

    async fn serve(self: Rc<Self>, parked: Parked<S>) {
        if let Some(parked) = parked.resume().await {
            self.park(parked);
        }
    }
}

impl<S> Parked<S> {
    fn until(&self) -> Instant {
        self.rest.idle_since + self.open.front.limits.idle_max
    }

    /// Whether what became readable is more than its end.
    fn has_client(&self) -> bool {
        match self.rest.stream.peek(&mut [0]) {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    fn unpark(rest: Rest, stall_max: Duration) -> io::Result<WatchedStream> {
        let stream = TcpStream::from_std(rest.stream)?;
        Ok(WatchedStream::resume(stream, rest.seen, stall_max))
    }

    /// Closes it in such a way that a client which is just sending can see why.
    async fn close(self) {
        let Ok(mut stream) = Self::unpark(self.rest, self.open.front.limits.stall_max) else {
            return;
        };
        tokio::select! {
            _ = stream.shutdown() => {}
            () = self.gone.cancelled() => {}
        }
    }
}

impl<S, B> Parked<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    /// Serves what comes, until the connection ends or can be parked again.
    async fn resume(self) -> Option<Self> {
        let Self {
            rest,
            service,
            open,
            gone,
        } = self;
        let idle_since = rest.idle_since;
        let stream = Self::unpark(rest, open.front.limits.stall_max).ok()?;
        let rest = http1::serve(&open.front, stream, &service, idle_since, &gone).await?;
        Some(Self {
            rest,
            service,
            open,
            gone,
        })
    }
}

#[cfg(test)]
mod tests;
