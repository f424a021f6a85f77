//! Spreads the shop's requests over the instances of its services, and keeps their failures from the customers.
//!
//! A request's life: [`shop_front`] accepts its connection and watches the raw bytes, `proxy` checks it and lets it in,
//! `forward` sends it to a backend that `choice` finds, once `place` has room there, over a connection from `upstream`,
//! and again to another if that fails; `headers` signs the answer, and `exchange` counts and logs it at its end.

mod access_log;
mod admin;
mod admission;
mod answer;
mod backend;
mod balance;
mod body;
mod choice;
pub mod config;
mod deadline;
mod exchange;
mod forward;
mod headers;
mod health;
mod hedge;
mod identity;
mod isolation;
mod outlier;
mod path;
mod place;
mod proxy;
mod refusal;
pub mod routes;
mod service;
mod stats;
mod text;
mod upgrade;
mod upstream;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use http::HeaderValue;
use shop_front::access_log::{AccessLog, LogWriter};
use shop_front::tls::Tls;
use shop_front::{Entrance, Front};
use shop_net::discovery::Discovery;
use shop_net::listen::ListenSource;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Admission, RetryBudget};
pub use crate::place::BackendLimits;
use crate::routes::RouteTable;
use crate::service::Service;
use crate::stats::Stats;

const CLIENT_IDLE_MAX: Duration = Duration::from_secs(75);
/// How long a WebSocket may be silent. Most that are in use send a ping more often.
const TUNNEL_IDLE_MAX: Duration = Duration::from_secs(300);
const HEADERS_MAX: usize = 100;
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// From where a request came, and so what it may ask and claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Customers, through the gateway's socket.
    Public,
    /// The edges: customers' requests, with forwarding headers that can be believed.
    Origin,
    /// The services among themselves.
    Private,
}

impl Side {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Origin => "origin",
            Self::Private => "private",
        }
    }
}

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) instance: String,
    pub(crate) via: HeaderValue,
    pub(crate) table: RouteTable,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) budget: RetryBudget,
    pub(crate) stats: Stats,
    pub(crate) log: AccessLog,
    pub(crate) front: Arc<Front>,
    pub(crate) backend_limits: BackendLimits,
    /// Whether no backend of any service can be reached.
    is_isolated: AtomicBool,
    /// The gateway's socket. One of this process's own isn't kept here: it shall close when nobody accepts any more.
    handed_over: Option<ListenSource>,
    /// From here on nothing.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.front.is_draining()
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.is_isolated.load(Relaxed)
    }

    /// It can serve: the routes are there, the public socket, and somebody behind it.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && !self.is_isolated() && self.handed_over.as_ref().is_none_or(ListenSource::is_open)
    }
}

/// Where connections come from.
#[derive(Debug)]
pub struct Sockets {
    /// Customers.
    pub public: ListenSource,
    /// Customers who speak TLS.
    pub public_tls: Option<(ListenSource, Tls)>,
    /// Edges.
    pub origin: ListenSource,
    /// Services.
    pub private: ListenSource,
    /// Operators.
    pub admin: ListenSource,
}

/// How much, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Threads that serve; 0 means one for each core.
    pub workers: usize,
    /// Requests in work at a time.
    pub in_flight_max: u32,
    /// Open client connections.
    pub connections_max: u32,
    /// Open client connections among them that have left HTTP behind (WebSocket).
    pub tunnels_max: u32,
    /// How long a client may make this process wait until it takes the next part of its answer.
    pub client_stall_max: Duration,
    /// What goes to one backend.
    pub backend: BackendLimits,
    /// From the beginning of draining until idle connections are closed.
    pub drain_notice: Duration,
    /// From the beginning of draining until running requests are cut.
    pub drain_deadline: Duration,
    /// Whether each request is logged.
    pub access_log: bool,
}

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    shared: Arc<Shared>,
    limits: Limits,
    threads: Vec<JoinHandle<io::Result<()>>>,
    log_writer: LogWriter,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Balancer {
    /// Starts discovery, health checks and the threads that serve. Must be called within a tokio runtime, which
    /// carries the first two.
    pub fn start(instance: String, table: RouteTable, sockets: Sockets, limits: Limits) -> io::Result<Self> {
        let (log, log_writer) = AccessLog::start(limits.access_log)?;
        let services = table
            .services
            .iter()
            .map(|names| Arc::new(Service::new(names.name.clone())))
            .collect();
        let shared = Arc::new(Shared {
            via: HeaderValue::from_str(&format!("1.1 {instance}")).map_err(io::Error::other)?,
            instance,
            services,
            admission: Arc::new(Admission::new(limits.in_flight_max)),
            budget: RetryBudget::default(),
            stats: Stats::new(table.routes.len()),
            table,
            log,
            front: Front::new(shop_front::Limits {
                connections_max: limits.connections_max,
                tunnels_max: limits.tunnels_max,
                tunnel_idle_max: TUNNEL_IDLE_MAX,
                stall_max: limits.client_stall_max,
                idle_max: CLIENT_IDLE_MAX,
                headers_max: HEADERS_MAX,
                head_bytes_max: HEAD_BYTES_MAX,
            }),
            backend_limits: limits.backend,
            is_isolated: AtomicBool::new(true),
            handed_over: sockets.public.is_handed_over().then(|| sockets.public.clone()),
            stop: CancellationToken::new(),
        });
        if let Some(source) = &shared.handed_over {
            source.set_reluctant(true);
        }
        let mut tasks = vec![AbortOnDropHandle::new(tokio::spawn(isolation::follow(shared.clone())))];
        for (service, names) in shared.services.iter().zip(&shared.table.services) {
            let discovery = Discovery::watch_all(names.addresses.clone());
            tasks.push(AbortOnDropHandle::new(tokio::spawn(health::follow(
                service.clone(),
                discovery,
            ))));
        }
        tasks.push(AbortOnDropHandle::new(tokio::spawn(admin::serve(
            shared.clone(),
            sockets.admin,
        ))));
        let mut entrances: Vec<(Side, Entrance)> = [
            (Side::Public, sockets.public),
            (Side::Origin, sockets.origin),
            (Side::Private, sockets.private),
        ]
        .map(|(side, source)| (side, entrance(side, source, None)))
        .into();
        if let Some((source, tls)) = sockets.public_tls {
            tasks.push(AbortOnDropHandle::new(tokio::spawn(tls.clone().reload_forever())));
            entrances.push((Side::Public, entrance(Side::Public, source, Some(tls))));
        }
        let threads = start_threads(&shared, limits.workers, &entrances)?;
        Ok(Self {
            shared,
            limits,
            threads,
            log_writer,
            tasks,
        })
    }

    /// Stops accepting, lets requests finish, and ends. Returns whether everything finished before the deadline.
    pub async fn drain(self) -> bool {
        let front = &self.shared.front;
        let left = front.drain(self.limits.drain_notice, self.limits.drain_deadline).await;
        self.shared.stop.cancel();
        drop(self.tasks);
        let threads = self.threads;
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A thread that panicked has said so in the log.
                let _ = thread.join();
            }
        });
        let _ = joined.await;
        // The writer ends with the last log. An operator's open connection may hold one a little longer.
        drop(self.shared);
        self.log_writer.finish().await;
        left == 0
    }
}

fn entrance(side: Side, source: ListenSource, tls: Option<Tls>) -> Entrance {
    Entrance {
        source,
        tls,
        is_public: side == Side::Public,
    }
}

fn start_threads(
    shared: &Arc<Shared>,
    workers: usize,
    entrances: &[(Side, Entrance)],
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    (0..workers)
        .map(|index| {
            let shared = shared.clone();
            let entrances = entrances.to_vec();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(shared, entrances))
        })
        .collect()
}
