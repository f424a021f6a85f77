//! The threads that serve. Each has a single-threaded runtime, a pool of connections and a log buffer of its own, so
//! that a request never crosses threads and nothing on its way takes a lock.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use shop_net::listen::{Accepted, ListenSource, Listeners};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::access_log::LogBuffer;
use crate::client_address;
use crate::framing::WatchedStream;
use crate::proxy::{self, Client};
use crate::upstream::Pool;
use crate::{Shared, Side};

const CLIENT_IDLE_MAX: Duration = Duration::from_secs(75);
/// What the kernel takes from us beyond what is on its way to the client. It may take megabytes else, and a client on
/// a slow line would seem to take nothing for as long as they last.
const UNSENT_BYTES_MAX: u32 = 64 * 1024;
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 32 * 1024;
const LOG_INTERVAL: Duration = Duration::from_millis(200);
const SWEEP_TURNS: u32 = 25;
/// Pause before looking again whether there is room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Connections that were made before a socket closed are still taken from its queue, up to this many.
const LEFT_OVER_MAX: u32 = 64;

/// One thread's own things.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) log: LogBuffer,
}

/// Serves until the process stops. `sockets` are where each side's connections come from.
pub(crate) fn run(shared: Arc<Shared>, sockets: Vec<(Side, ListenSource)>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stop = shared.stop.clone();
    let worker = Rc::new(Worker {
        log: shared.log.buffer(),
        pool: Pool::default(),
        shared,
    });
    let local = LocalSet::new();
    for (side, source) in sockets {
        local.spawn_local(accept_forever(worker.clone(), side, source));
    }
    local.spawn_local(keep_house(worker.clone()));
    local.block_on(&runtime, stop.cancelled());
    worker.log.flush();
    Ok(())
}

async fn keep_house(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(LOG_INTERVAL);
    for turn in 0u32.. {
        ticks.tick().await;
        worker.log.flush();
        if turn.is_multiple_of(SWEEP_TURNS) {
            worker.pool.sweep();
        }
    }
}

/// From the gateway's socket nothing more is accepted once draining begins: another process takes it. Who comes to a
/// socket of this process's own has found it by DNS or by configuration, and is served for as long as possible.
async fn accept_forever(worker: Rc<Worker>, side: Side, source: ListenSource) {
    let others_accept = source.is_handed_over();
    let until = if others_accept {
        &worker.shared.drain
    } else {
        &worker.shared.close
    }
    .clone();
    let mut listeners = source.listeners();
    drop(source);
    loop {
        let accepted = tokio::select! {
            biased;
            () = until.cancelled() => break,
            accepted = accept_when_there_is_room(&worker, side, &mut listeners) => accepted,
        };
        tokio::task::spawn_local(serve_connection(worker.clone(), side, accepted));
    }
    if others_accept {
        return;
    }
    for _ in 0..LEFT_OVER_MAX {
        let Ok(accepted) = timeout(FULL_PAUSE, listeners.accept()).await else {
            break;
        };
        tokio::task::spawn_local(serve_connection(worker.clone(), side, accepted));
    }
}

async fn accept_when_there_is_room(worker: &Worker, side: Side, listeners: &mut Listeners) -> Accepted {
    // Services and edges always get through: they are few, and others wait for them.
    while side == Side::Public && worker.shared.connections.load(Relaxed) >= worker.shared.connections_max {
        tokio::time::sleep(FULL_PAUSE).await;
    }
    listeners.accept().await
}

/// Counts a connection for as long as it is open.
struct OpenConnection(Arc<Shared>);

impl OpenConnection {
    fn count(shared: &Arc<Shared>) -> Self {
        shared.connections.fetch_add(1, Relaxed);
        shared.stats.connections_accepted.fetch_add(1, Relaxed);
        Self(shared.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

async fn serve_connection(worker: Rc<Worker>, side: Side, accepted: Accepted) {
    let is_trusted = client_address::is_in(&worker.shared.trusted_proxies, accepted.peer.ip());
    let is_limited = side == Side::Public && !is_trusted;
    let Some(_place) = worker.shared.address_connections.enter(accepted.peer.ip(), is_limited) else {
        worker.shared.stats.connections_refused.fetch_add(1, Relaxed);
        return;
    };
    let _open = OpenConnection::count(&worker.shared);
    let close: CancellationToken = worker.shared.close.clone();
    let stall_max = worker.shared.client_stall_max;
    watch_in_kernel(&accepted.stream, stall_max);
    let (mut stream, is_ambiguous) = WatchedStream::new(accepted.stream, stall_max);
    if side == Side::Public {
        stream.expect_request();
    }
    let client = Rc::new(Client {
        side,
        peer: accepted.peer,
        is_trusted,
        is_tls: false,
        opened: Instant::now(),
        is_ambiguous,
    });
    let service = service_fn(move |request| proxy::serve(worker.clone(), client.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(CLIENT_IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(2 * HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // Whether the client is gone, sent nonsense or is done: nobody is left to be told.
        _ = connection.as_mut() => return,
        // The network that the connection came through is gone; nobody will ever reset it.
        () = accepted.gone.cancelled() => return,
        () = close.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = accepted.gone.cancelled() => {}
    }
}

/// The kernel gives up on a client that acknowledges nothing, also while nothing here is waiting for it, and tells of
/// progress in small steps. A socket that won't have it is served all the same.
fn watch_in_kernel(stream: &TcpStream, stall_max: Duration) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(stall_max));
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}
