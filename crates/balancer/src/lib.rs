//! Spreads the shop's requests over the instances of its services, and keeps their failures from the customers.
//!
//! A request's life: `worker` accepts its connection, `framing` watches the raw bytes, `proxy` checks it and lets it
//! in, `forward` sends it to a backend that `choice` finds, once `place` has room there, over a connection from `upstream`,
//! and again to another if that fails; `headers` signs the answer, and `exchange` counts and logs it at its end.

mod access_log;
mod admin;
mod admission;
mod backend;
mod balance;
mod body;
mod choice;
pub mod config;
mod deadline;
mod exchange;
mod forward;
mod framing;
mod headers;
mod health;
mod hedge;
mod identity;
mod isolation;
mod outlier;
mod path;
mod patience;
mod place;
mod proxy;
mod refusal;
pub mod routes;
mod service;
mod stats;
mod upstream;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderValue;
use shop_net::discovery::Discovery;
use shop_net::listen::ListenSource;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::access_log::AccessLog;
use crate::admission::{Admission, RetryBudget};
pub use crate::place::BackendLimits;
use crate::routes::RouteTable;
use crate::service::Service;
use crate::stats::Stats;

const LOG_FLUSH_DEADLINE: Duration = Duration::from_millis(500);
const DRAIN_POLL: Duration = Duration::from_millis(20);

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
    pub(crate) connections: AtomicU32,
    pub(crate) connections_max: u32,
    pub(crate) client_stall_max: Duration,
    pub(crate) backend_limits: BackendLimits,
    /// Whether no backend of any service can be reached.
    is_isolated: AtomicBool,
    /// The gateway's socket. One of this process's own isn't kept here: it shall close when nobody accepts any more.
    handed_over: Option<ListenSource>,
    /// From here on no new customers, and every answer asks its client to close.
    pub(crate) drain: CancellationToken,
    /// From here on nobody new, and idle connections are closed.
    pub(crate) close: CancellationToken,
    /// From here on nothing.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    pub(crate) fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
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
    log_writer: Option<JoinHandle<()>>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Balancer {
    /// Starts discovery, health checks and the threads that serve. Must be called within a tokio runtime, which
    /// carries the first two.
    pub fn start(instance: String, table: RouteTable, sockets: Sockets, limits: Limits) -> io::Result<Self> {
        let (log, log_writer) = AccessLog::start(&instance, limits.access_log)?;
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
            connections: AtomicU32::new(0),
            connections_max: limits.connections_max,
            client_stall_max: limits.client_stall_max,
            backend_limits: limits.backend,
            is_isolated: AtomicBool::new(true),
            handed_over: sockets.public.is_handed_over().then(|| sockets.public.clone()),
            drain: CancellationToken::new(),
            close: CancellationToken::new(),
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
        let threads = start_threads(
            &shared,
            limits.workers,
            &[
                (Side::Public, sockets.public),
                (Side::Origin, sockets.origin),
                (Side::Private, sockets.private),
            ],
        )?;
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
        let began = Instant::now();
        let deadline = began + self.limits.drain_deadline;
        self.shared.drain.cancel();
        let connections = || self.shared.connections.load(Relaxed);
        info!(connections = connections(), "Draining");
        let notice_ends = deadline.min(began + self.limits.drain_notice);
        tokio::time::sleep_until(notice_ends.into()).await;
        self.shared.close.cancel();
        // A moment at least: connections that waited in the sockets' queues are still to be taken.
        tokio::time::sleep(DRAIN_POLL).await;
        while connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        let left = connections();
        if left > 0 {
            warn!(connections = left, "Cut what had not finished in time");
        }
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
        let writer_deadline = Instant::now() + LOG_FLUSH_DEADLINE;
        while self.log_writer.as_ref().is_some_and(|writer| !writer.is_finished()) && Instant::now() < writer_deadline {
            tokio::time::sleep(DRAIN_POLL).await;
        }
        left == 0
    }
}

fn start_threads(
    shared: &Arc<Shared>,
    workers: usize,
    sockets: &[(Side, ListenSource)],
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    (0..workers)
        .map(|index| {
            let shared = shared.clone();
            let sockets = sockets.to_vec();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(shared, sockets))
        })
        .collect()
}
