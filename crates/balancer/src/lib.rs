//! Spreads the shop's requests over the instances of its services, and keeps their failures from the customers.
//!
//! A request's life: [`shop_front`] accepts its connection and watches the raw bytes, `proxy` checks it and finds its
//! route in `live`, `gate` and `admission` let it in, `forward` sends it to a backend that `choice` finds, once `place`
//! has room there, over a connection from `upstream`, and again to another if that fails; `headers` signs the answer,
//! `compress` makes it smaller, and `exchange` counts and logs it at its end.

mod access_log;
mod admin;
mod admission;
mod backend;
mod balance;
mod body;
mod choice;
pub mod client_address;
mod compress;
pub mod config;
mod deadline;
mod exchange;
mod forward;
mod forwarded;
mod gate;
mod headers;
mod health;
mod hedge;
mod identity;
mod isolation;
mod journal;
mod live;
mod outlier;
mod overload;
mod path;
mod place;
mod policy;
mod proxy;
mod rate_limit;
mod refusal;
mod reload;
pub mod routes;
mod service;
mod stats;
mod text;
mod typical;
mod upgrade;
mod upstream;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use ipnet::IpNet;
use shop_front::access_log::{AccessLog, LogWriter};
use shop_front::tls::Tls;
use shop_front::{Entrance, Front};
use shop_net::listen::ListenSource;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admission::{Admission, RetryBudget};
use crate::compress::Encoders;
use crate::live::Live;
pub use crate::place::BackendLimits;
use crate::rate_limit::RateLimiter;
use crate::reload::{Followers, RoutesFile};
use crate::routes::RouteTable;
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
    /// Each request keeps what it began with.
    pub(crate) live: ArcSwap<Live>,
    pub(crate) routes_file: RoutesFile,
    pub(crate) admission: Arc<Admission>,
    pub(crate) rates: RateLimiter,
    pub(crate) encoders: Arc<Encoders>,
    pub(crate) budget: RetryBudget,
    pub(crate) stats: Stats,
    pub(crate) log: AccessLog,
    pub(crate) front: Arc<Front>,
    pub(crate) backend_limits: BackendLimits,
    pub(crate) connection_age_max: Duration,
    pub(crate) trusted_proxies: Vec<IpNet>,
    /// Whether no backend of any service can be reached.
    is_isolated: AtomicBool,
    /// The gateway's sockets. One of this process's own isn't kept here: it shall close when nobody accepts any more.
    handed_over: Vec<ListenSource>,
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

    /// It can serve: the routes are there, the public sockets, and somebody behind them.
    pub(crate) fn is_ready(&self) -> bool {
        !self.is_draining() && !self.is_isolated() && self.handed_over.iter().all(ListenSource::is_open)
    }

    /// A process that can do little for customers leaves them to others, where there are others.
    pub(crate) fn set_reluctant(&self, is_reluctant: bool) {
        for source in &self.handed_over {
            source.set_reluctant(is_reluctant);
        }
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

/// How much, for how long, and for whom more than for others.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Threads that serve; 0 means one for each core.
    pub workers: usize,
    /// Requests in work at a time.
    pub in_flight_max: u32,
    /// Open client connections.
    pub connections_max: u32,
    /// Open client connections among them that have left HTTP behind (WebSocket); a stream of HTTP/2 that has counts as
    /// one more.
    pub tunnels_max: u32,
    /// Open connections of one client's address; 0 means that there is no such limit.
    pub connections_per_address_max: u32,
    /// After so long a client is asked to connect anew.
    pub connection_age_max: Duration,
    /// Proxies on the public side whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
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
    /// Until the routes file is watched, which takes them along.
    followers: Followers,
}

impl Balancer {
    /// Starts discovery, health checks and the threads that serve. Must be called within a tokio runtime, which
    /// carries the first two.
    pub fn start(instance: String, table: RouteTable, sockets: Sockets, limits: Limits) -> io::Result<Self> {
        let (log, log_writer) = AccessLog::start(limits.access_log)?;
        let shared = Arc::new(Shared {
            via: HeaderValue::from_str(&format!("1.1 {instance}")).map_err(io::Error::other)?,
            instance,
            live: ArcSwap::from_pointee(Live::first(table)),
            routes_file: RoutesFile::default(),
            admission: Arc::new(Admission::new(limits.in_flight_max)),
            rates: RateLimiter::new(),
            encoders: Arc::default(),
            budget: RetryBudget::default(),
            stats: Stats::default(),
            log,
            front: Front::new(shop_front::Limits {
                connections_max: limits.connections_max,
                connections_per_address_max: limits.connections_per_address_max,
                unlimited: limits.trusted_proxies.clone(),
                tunnels_max: limits.tunnels_max,
                tunnel_idle_max: TUNNEL_IDLE_MAX,
                stall_max: limits.client_stall_max,
                idle_max: CLIENT_IDLE_MAX,
                headers_max: HEADERS_MAX,
                head_bytes_max: HEAD_BYTES_MAX,
            }),
            backend_limits: limits.backend,
            connection_age_max: limits.connection_age_max,
            trusted_proxies: limits.trusted_proxies.clone(),
            is_isolated: AtomicBool::new(true),
            handed_over: handed_over(&sockets),
            stop: CancellationToken::new(),
        });
        shared.set_reluctant(true);
        let mut followers = Followers::default();
        followers.begin(&shared.live.load());
        let mut tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(isolation::follow(shared.clone()))),
            AbortOnDropHandle::new(tokio::spawn(adjust_limits(shared.clone()))),
            AbortOnDropHandle::new(tokio::spawn(admin::serve(shared.clone(), sockets.admin))),
        ];
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
        let threads = start_threads(&shared, limits.workers, entrances)?;
        Ok(Self {
            shared,
            limits,
            threads,
            log_writer,
            tasks,
            followers,
        })
    }

    /// From now on the routes are those of this file, whenever it changes. `in_force` is the text that the process was
    /// started with.
    pub fn watch_routes(&mut self, path: PathBuf, in_force: String) {
        let followers = std::mem::take(&mut self.followers);
        let watching = reload::watch(self.shared.clone(), followers, path, in_force);
        self.tasks.push(AbortOnDropHandle::new(tokio::spawn(watching)));
    }

    /// Stops accepting, lets requests finish, and ends. Returns whether everything finished before the deadline.
    pub async fn drain(self) -> bool {
        let front = &self.shared.front;
        let left = front.drain(self.limits.drain_notice, self.limits.drain_deadline).await;
        self.shared.stop.cancel();
        drop(self.tasks);
        drop(self.followers);
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

/// Lets each service have as much in work as it can do in time.
async fn adjust_limits(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(overload::WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for service in &shared.live.load().services {
            service.limit.adjust(shared.admission.service_max());
        }
    }
}

fn handed_over(sockets: &Sockets) -> Vec<ListenSource> {
    let tls = sockets.public_tls.as_ref().map(|(source, _)| source);
    let public = [Some(&sockets.public), tls].into_iter().flatten();
    public.filter(|source| source.is_handed_over()).cloned().collect()
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
    entrances: Vec<(Side, Entrance)>,
) -> io::Result<Vec<JoinHandle<io::Result<()>>>> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let mut of_threads = vec![Vec::new(); workers];
    for (side, Entrance { source, tls, is_public }) in entrances {
        // Edges and services keep few connections for long. The threads take turns at those, which the kernel, going by
        // addresses, would not.
        let sources = if is_public {
            source.divide(workers)?
        } else {
            vec![source; workers]
        };
        for (entrances, source) in of_threads.iter_mut().zip(sources) {
            let tls = tls.clone();
            entrances.push((side, Entrance { source, tls, is_public }));
        }
    }
    of_threads
        .into_iter()
        .enumerate()
        .map(|(index, entrances)| {
            let shared = shared.clone();
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || worker::run(shared, entrances))
        })
        .collect()
}
