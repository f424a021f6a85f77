//! Connections to backends: opened with a deadline, used again last in first out, one pool a thread.

mod answer;
mod chunked;
mod connection;
mod fields;
mod request;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::timeout;

pub(crate) use self::connection::{Connection, NoAnswer};
pub(crate) use self::request::Head;
use crate::backend::Backend;
use crate::place::Place;
use crate::worker::Worker;

const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
const IDLE_PER_BACKEND_MAX: usize = 128;
/// Less than the services keep idle connections (10 s), so that it is mostly this side that closes them.
const IDLE_MAX: Duration = Duration::from_secs(8);

/// Idle connections of one thread.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    idle: RefCell<HashMap<u64, Vec<Idle>>>,
}

#[derive(Debug)]
struct Idle {
    /// In a box, since it goes from hand to hand.
    connection: Box<Connection>,
    since: Instant,
}

impl Pool {
    /// The connection that was used last and not longer than this ago: the likeliest to be alive.
    fn take(&self, backend: u64, idle_max: Duration) -> Option<Box<Connection>> {
        let mut pools = self.idle.borrow_mut();
        let pool = pools.get_mut(&backend)?;
        while let Some(last) = pool.last() {
            if last.since.elapsed() > idle_max {
                // The others are older still. For another request they, and this one, may do.
                if idle_max >= IDLE_MAX {
                    pools.remove(&backend);
                }
                return None;
            }
            let connection = pool.pop()?.connection;
            if connection.is_alive() {
                return Some(connection);
            }
        }
        None
    }

    fn put(&self, backend: u64, connection: Box<Connection>) {
        if !connection.is_idle() {
            return;
        }
        let mut pools = self.idle.borrow_mut();
        let pool = pools.entry(backend).or_default();
        if pool.len() < IDLE_PER_BACKEND_MAX {
            pool.push(Idle {
                connection,
                since: Instant::now(),
            });
        }
    }

    /// Closes what has not been used for long or was closed by its backend, also of backends that are no more.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|_, pool| {
            pool.retain(|idle| idle.since.elapsed() < IDLE_MAX && idle.connection.is_alive());
            !pool.is_empty()
        });
    }
}

/// A connection in use by one request, which keeps its place at the backend for as long.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) connection: Box<Connection>,
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
        let pooled = worker.pool.take(backend.id, idle_max.min(IDLE_MAX));
        let is_reused = pooled.is_some();
        let connection = match pooled {
            Some(connection) => connection,
            None => connect(backend).await?,
        };
        Ok(Self {
            connection,
            place,
            is_reused,
            worker: worker.clone(),
        })
    }

    /// The answer was read to its end: the connection may serve another request, if it lets one follow.
    pub(crate) fn give_back(self) {
        self.worker.pool.put(self.place.backend.id, self.connection);
    }
}

async fn connect(backend: &Backend) -> io::Result<Box<Connection>> {
    let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(backend.address)).await??;
    stream.set_nodelay(true)?;
    Ok(Box::new(Connection::new(stream)))
}

/// Takes what has come of a body, or of a chunk, of which so much is left.
fn take_part(input: &mut BytesMut, left: &mut u64) -> Bytes {
    let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    *left -= taken as u64;
    input.split_to(taken).freeze()
}

/// The backend said what no HTTP is.
fn nonsense(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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
    use tokio::net::TcpListener;

    use super::*;

    /// A connection: this side of it, and the backend's.
    pub(super) async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let address = listener.local_addr().expect("an address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.expect("connected"), theirs.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_connection_that_is_too_old_for_one_request_is_kept_for_the_next() {
        let (stream, _backend) = pair().await;
        let pool = Pool::default();
        pool.put(1, Box::new(Connection::new(stream)));
        assert!(pool.take(1, Duration::ZERO).is_none());
        assert!(pool.take(1, IDLE_MAX).is_some());
    }

    #[tokio::test]
    async fn a_connection_that_its_backend_has_closed_is_not_used_again() {
        let pool = Pool::default();
        let (first, _open) = pair().await;
        let (second, closed) = pair().await;
        for stream in [first, second] {
            pool.put(1, Box::new(Connection::new(stream)));
        }
        drop(closed);
        let alive = || {
            pool.idle.borrow()[&1]
                .iter()
                .filter(|idle| idle.connection.is_alive())
                .count()
        };
        while alive() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(pool.take(1, IDLE_MAX).is_some());
        assert!(pool.take(1, IDLE_MAX).is_none());
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
