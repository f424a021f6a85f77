//! Accepting connections from a listening socket that several threads and processes share.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::left_over::LeftOver;
use crate::readable;
use crate::turn::{COURTESY, Courtesy, Turn};

/// Pause after an error like "too many open files", which would otherwise be met again at once.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Connections that the kernel completes and keeps until somebody accepts them. The kernel lowers it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds a listening socket that doesn't block, with room for a burst of connections.
pub fn bind_tcp(address: SocketAddr) -> io::Result<StdListener> {
    let socket = bound(address, false)?;
    listen(socket)
}

/// The same, for a socket beside which this process may bind others on the same address.
fn bind_divisible(address: SocketAddr) -> io::Result<StdListener> {
    // The kernel would let another process of the same user in as well, which would get half of all connections. Whoever
    // starts it by mistake while one listens is told.
    drop(bound(address, false)?);
    listen(bound(address, true)?)
}

fn listen(socket: OwnedFd) -> io::Result<StdListener> {
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

fn bound(address: SocketAddr, is_divisible: bool) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Connections of the last owner that linger must not keep the next one from binding.
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::sockopt::set_socket_reuseport(&socket, is_divisible)?;
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

/// Raises this process's limit of open files as far as it may. Every connection is one, and container engines may begin
/// at 1024. What can't be raised is met later as an error at accept, which is survived.
pub fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: limit.maximum,
                maximum: limit.maximum,
            },
        );
    }
}

/// One listening socket, for as long as its network lives.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) listener: StdListener,
    pub(crate) gone: CancellationToken,
}

/// Where listening sockets come from: bound by this process, or handed over by the gateway (see
/// [`crate::handover::follow`]), and then replaced whenever the gateway comes back. Cheap to clone and to send to
/// other threads, each of which accepts by its own [`Listeners`].
#[derive(Clone, Debug)]
pub struct ListenSource {
    generations: watch::Receiver<Option<Arc<Generation>>>,
    courtesy: Arc<Courtesy>,
}

impl ListenSource {
    /// Binds a socket of this process's own.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self::own(bind_divisible(address)?))
    }

    fn own(listener: StdListener) -> Self {
        let generation = Generation {
            listener,
            gone: CancellationToken::new(),
        };
        let (_, generations) = watch::channel(Some(Arc::new(generation)));
        Self {
            generations,
            courtesy: Arc::new(Courtesy::new(false)),
        }
    }

    /// A source for each of so many threads. A socket of this process's own becomes as many on the same address
    /// (`SO_REUSEPORT`), over which the kernel spreads connections, so that no thread is woken for what another takes.
    /// One that is handed over stays one: whoever is frozen must not keep a part of the connections to itself.
    pub fn divide(self, threads: usize) -> io::Result<Vec<Self>> {
        let Some(address) = self.local_addr().filter(|_| !self.is_handed_over()) else {
            return Ok(vec![self; threads]);
        };
        let others = (1..threads).map(|_| listen(bound(address, true)?).map(Self::own));
        let others: Vec<Self> = others.collect::<io::Result<_>>()?;
        Ok([self].into_iter().chain(others).collect())
    }

    /// Uses the sockets that a gateway hands over, one after the other.
    pub(crate) fn from_gateway(generations: watch::Receiver<Option<Arc<Generation>>>) -> Self {
        Self {
            generations,
            courtesy: Arc::new(Courtesy::new(true)),
        }
    }

    /// Whether the socket is the gateway's, so that others accept from it too.
    pub fn is_handed_over(&self) -> bool {
        self.courtesy.has_other_processes
    }

    /// From now on, or no longer, takes only the connections that nobody else has taken for a while: for a process that
    /// could do little with them, but more than nobody at all.
    pub fn set_reluctant(&self, is_reluctant: bool) {
        self.courtesy.set_reluctant(is_reluctant);
    }

    /// Whether there is a socket to accept from just now.
    pub fn is_open(&self) -> bool {
        self.generations.borrow().is_some()
    }

    /// The address of the socket, if there is one just now.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.generations
            .borrow()
            .as_ref()
            .and_then(|generation| generation.listener.local_addr().ok())
    }

    /// Something to accept by, for one task. Dropping all of them and the source closes a socket of one's own.
    pub fn listeners(&self) -> Listeners {
        Listeners {
            generations: self.generations.clone(),
            is_stale: true,
            current: None,
            turn: Turn::new(self.courtesy.clone()),
            left_over: LeftOver::default(),
        }
    }
}

/// A connection, and the token that tells when its network is gone: then it must be closed, since nobody will ever
/// reset it.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, with Nagle's algorithm switched off.
    pub stream: TcpStream,
    /// The client's address.
    pub peer: SocketAddr,
    /// Cancelled when the gateway that opened the listening socket is gone.
    pub gone: CancellationToken,
}

/// Accepts from the current socket of a [`ListenSource`].
#[derive(Debug)]
pub struct Listeners {
    generations: watch::Receiver<Option<Arc<Generation>>>,
    /// Whether `current` is older than the latest of the generations.
    is_stale: bool,
    current: Option<(AsyncFd<StdListener>, CancellationToken)>,
    turn: Turn,
    left_over: LeftOver,
}

impl Listeners {
    /// The next connection. Waits without end while there is no socket. Cancel safe.
    pub async fn accept(&mut self) -> Accepted {
        loop {
            if std::mem::take(&mut self.is_stale)
                && let Err(error) = self.take_generation()
            {
                warn!(%error, "Could not listen on a socket");
                self.is_stale = true;
                tokio::time::sleep(ERROR_PAUSE).await;
                continue;
            }
            let Some((listener, gone)) = &self.current else {
                wait_for_change(&mut self.generations).await;
                self.is_stale = true;
                continue;
            };
            tokio::select! {
                biased;
                () = wait_for_change(&mut self.generations) => {
                    self.is_stale = true;
                }
                ready = listener.readable() => {
                    let Ok(mut ready) = ready else {
                        tokio::time::sleep(ERROR_PAUSE).await;
                        continue;
                    };
                    if self.turn.is_reluctant() && !self.left_over.is_ours(listener.get_ref(), &self.turn).await {
                        // Does nothing if a connection has come since: then it is looked at next.
                        ready.clear_ready();
                        continue;
                    }
                    if self.turn.is_for_others() {
                        tokio::time::sleep(COURTESY).await;
                        self.turn.has_waited();
                    }
                    match ready.try_io(|listener| listener.get_ref().accept()) {
                        Err(_would_block) => {
                            self.turn.missed();
                            self.left_over.missed();
                        }
                        Ok(Ok((stream, peer))) => {
                            self.turn.accepted();
                            match prepare(stream) {
                                Ok(stream) => return Accepted { stream, peer, gone: gone.clone() },
                                Err(error) => warn!(%error, "Could not use an accepted connection"),
                            }
                        }
                        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                        Ok(Err(error)) => {
                            warn!(%error, "Could not accept a connection");
                            tokio::time::sleep(ERROR_PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    fn take_generation(&mut self) -> io::Result<()> {
        let generation = self.generations.borrow_and_update().clone();
        self.turn.burst_left = 0;
        self.current = None;
        if let Some(generation) = generation {
            self.current = Some((register(&generation)?, generation.gone.clone()));
        }
        Ok(())
    }
}

fn register(generation: &Generation) -> io::Result<AsyncFd<StdListener>> {
    readable::watch(generation.listener.try_clone()?)
}

fn prepare(stream: std::net::TcpStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    TcpStream::from_std(stream)
}

/// A socket of one's own has no sender and never changes.
async fn wait_for_change(generations: &mut watch::Receiver<Option<Arc<Generation>>>) {
    if generations.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_idle_listeners_of_one_socket_both_get_work() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        let (sender, mut accepted) = tokio::sync::mpsc::channel(8);
        for index in 0..2 {
            let mut listeners = source.listeners();
            let sender = sender.clone();
            tokio::spawn(async move {
                loop {
                    let connection = listeners.accept().await;
                    sender.send((index, connection)).await.expect("the test listens");
                }
            });
        }
        let mut counts = [0; 2];
        for _ in 0..40 {
            let _client = TcpStream::connect(address).await.expect("connected");
            let (index, _connection) = accepted.recv().await.expect("accepted");
            counts[index] += 1;
        }
        assert!(counts.iter().all(|count| *count >= 10), "uneven: {counts:?}");
    }

    #[tokio::test]
    async fn each_thread_gets_a_part_of_what_comes_to_a_socket_of_its_own() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        let mut listeners: Vec<Listeners> = source
            .divide(2)
            .expect("two")
            .iter()
            .map(ListenSource::listeners)
            .collect();
        let mut clients = Vec::new();
        for _ in 0..64 {
            clients.push(TcpStream::connect(address).await.expect("connected"));
        }
        let (first, second) = listeners.split_at_mut(1);
        let mut counts = [0; 2];
        while counts.iter().sum::<usize>() < clients.len() {
            tokio::select! {
                _ = accept_in_time(&mut first[0]) => counts[0] += 1,
                _ = accept_in_time(&mut second[0]) => counts[1] += 1,
            }
        }
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }

    #[tokio::test]
    async fn nobody_binds_an_address_that_another_listens_on() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        let error = ListenSource::bind(address).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_burst_is_accepted_by_one_listener_alone() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        let mut clients = Vec::new();
        for _ in 0..100 {
            clients.push(TcpStream::connect(address).await.expect("connected"));
        }
        let mut listeners = source.listeners();
        for _ in 0..100 {
            tokio::time::timeout(Duration::from_secs(5), listeners.accept())
                .await
                .expect("accepted");
        }
    }

    async fn accept_in_time(listeners: &mut Listeners) -> Accepted {
        tokio::time::timeout(Duration::from_secs(5), listeners.accept())
            .await
            .expect("a connection in time")
    }

    #[tokio::test]
    async fn who_is_reluctant_takes_what_nobody_else_does() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        source.set_reluctant(true);
        let mut listeners = source.listeners();
        let mut clients = Vec::new();
        for _ in 0..20 {
            clients.push(TcpStream::connect(address).await.expect("connected"));
        }
        let began = tokio::time::Instant::now();
        accept_in_time(&mut listeners).await;
        assert!(began.elapsed() >= Duration::from_millis(150), "others had their time");
        for _ in 1..20 {
            accept_in_time(&mut listeners).await;
        }
    }

    #[tokio::test]
    async fn dropping_the_source_and_its_listeners_closes_the_socket() {
        let source = ListenSource::bind(([127, 0, 0, 1], 0).into()).expect("a socket");
        let address = source.local_addr().expect("an address");
        let mut listeners = source.listeners();
        assert!(
            tokio::time::timeout(Duration::from_millis(20), listeners.accept())
                .await
                .is_err()
        );
        drop((source, listeners));
        assert!(TcpStream::connect(address).await.is_err());
    }
}
