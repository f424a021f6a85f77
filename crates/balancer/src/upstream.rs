//! Connections to backends: opened with a deadline, used again last in first out, one pool a thread.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::Backend;
use crate::body::RequestBody;
use crate::place::Place;
use crate::worker::Worker;

const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// A pooled connection becomes ready within a turn of the event loop, or not at all.
const READY_DEADLINE: Duration = Duration::from_millis(100);
const IDLE_PER_BACKEND_MAX: usize = 128;
/// Less than the services keep idle connections (10 s), so that it is mostly this side that closes them.
const IDLE_MAX: Duration = Duration::from_secs(8);
/// Largest head of an answer, and most that is read at a time: a photo's 64 KiB come together with their head.
const READ_BYTES_MAX: usize = 80 * 1024;

pub(crate) type Sender = SendRequest<RequestBody>;

/// Idle connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// The connection that was used last and not longer than this ago: the likeliest to be alive.
    async fn take(&self, backend: u64, idle_max: Duration) -> Option<Sender> {
        loop {
            let mut sender = {
                let mut idle = self.idle.borrow_mut();
                let pool = idle.get_mut(&backend)?;
                if pool.last()?.since.elapsed() > idle_max {
                    // The others are older still. For another request they, and this one, may do.
                    if idle_max >= IDLE_MAX {
                        idle.remove(&backend);
                    }
                    return None;
                }
                pool.pop()?.sender
            };
            if sender.is_ready() || matches!(timeout(READY_DEADLINE, sender.ready()).await, Ok(Ok(()))) {
                return Some(sender);
            }
        }
    }

    fn put(&self, backend: u64, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut pools = self.idle.borrow_mut();
        let pool = pools.entry(backend).or_default();
        if pool.len() < IDLE_PER_BACKEND_MAX {
            pool.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes what has not been used for long, also of backends that are no more.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, pool| {
            pool.retain(|idle| idle.since.elapsed() < IDLE_MAX && !idle.sender.is_closed());
            !pool.is_empty()
        });
    }
}

/// A connection in use by one request, which keeps its place at the backend for as long.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) sender: Sender,
    pub(crate) place: Place,
    /// Whether it was used before, so that the backend may have closed it meanwhile.
    pub(crate) is_reused: bool,
    worker: Rc<Worker>,
}

impl Lease {
    /// A pooled connection that was idle for no longer than `idle_max`, or a new one.
    pub(crate) async fn obtain(worker: &Rc<Worker>, place: Place, idle_max: Duration) -> io::Result<Self> {
        let backend = &place.backend;
        backend.counters.requests.fetch_add(1, Relaxed);
        let pooled = worker.pool.take(backend.id, idle_max.min(IDLE_MAX)).await;
        let is_reused = pooled.is_some();
        let sender = match pooled {
            Some(sender) => sender,
            None => connect(backend).await?,
        };
        Ok(Self {
            sender,
            place,
            is_reused,
            worker: worker.clone(),
        })
    }

    /// The answer was read to its end: the connection may serve another request.
    pub(crate) fn give_back(self) {
        self.worker.pool.put(self.place.backend.id, self.sender);
    }
}

async fn connect(backend: &Backend) -> io::Result<Sender> {
    let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(backend.address)).await??;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // Its errors reach whoever waits for an answer on it; an idle one just ends.
    tokio::task::spawn_local(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

/// Whether no connection could be made because this process, or its machine, has run out of something. That says
/// nothing about the backend, and would make all of them look dead at once.
pub(crate) fn is_own_fault(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::ADDRNOTAVAIL | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_too_old_for_one_request_is_kept_for_the_next() {
        let local = LocalSet::new();
        let taken = local.run_until(async {
            let (ours, _theirs) = tokio::io::duplex(1024);
            let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.expect("a connection");
            tokio::task::spawn_local(connection);
            sender.ready().await.expect("ready");
            let pool = Pool::default();
            pool.put(1, sender);
            assert!(pool.take(1, Duration::ZERO).await.is_none());
            pool.take(1, IDLE_MAX).await
        });
        assert!(taken.await.is_some());
    }

    #[test]
    fn running_out_of_files_or_ports_is_nobody_else_s_fault() {
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL] {
            assert!(is_own_fault(&io::Error::from(errno)), "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH] {
            assert!(!is_own_fault(&io::Error::from(errno)), "{errno}");
        }
        assert!(!is_own_fault(&io::ErrorKind::TimedOut.into()));
    }
}
