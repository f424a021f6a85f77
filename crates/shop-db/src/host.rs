//! One member of a cluster: what is known of it, and the connections to it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::pool::{HostPool, Purpose};
use crate::{ClusterConfig, Position};

/// A host whose probe is out this long, or was the last time, is the last choice for reads, before it counts as dead.
const SLOW_AFTER: Duration = Duration::from_millis(300);

/// What a host does in its cluster.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows the primary.
    Replica,
}

impl Role {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// What is known of a host, for status pages and logs.
#[derive(Clone, Debug)]
pub struct HostStatus {
    /// The host's name, without the port where it has a name.
    pub host: String,
    /// Whether it answers probes.
    pub up: bool,
    /// Its role when it was last heard of.
    pub role: Option<Role>,
    /// The timeline and byte that it has reached; none if that is not known.
    pub position: Option<Position>,
    /// How far behind the primary it is; none if that is not known.
    pub lag: Option<Duration>,
}

/// What the last probe found.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) up: bool,
    pub(crate) role: Option<Role>,
    /// Zero while unknown: then no position is covered.
    pub(crate) timeline: u32,
    pub(crate) lsn: u64,
    pub(crate) lag: Option<Duration>,
    /// When the server process started, in Unix seconds: a timeline once seen holds until it is another process.
    pub(crate) started_unix: f64,
    pub(crate) probing_since: Option<Instant>,
    /// How long the last probe took.
    pub(crate) took: Duration,
}

impl View {
    pub(crate) fn position(&self) -> Option<Position> {
        (self.timeline > 0).then_some(Position {
            timeline: self.timeline,
            lsn: self.lsn,
        })
    }

    pub(crate) fn is_slow(&self) -> bool {
        self.took > SLOW_AFTER || self.probing_since.is_some_and(|since| since.elapsed() > SLOW_AFTER)
    }
}

pub(crate) struct Host {
    pub(crate) address: String,
    /// What it is called in logs, metrics and the anatomy strip.
    pub(crate) label: String,
    pub(crate) probe_now: Notify,
    view: Mutex<View>,
    read_pool: ArcSwap<HostPool>,
    write_pool: ArcSwap<HostPool>,
}

impl Host {
    pub(crate) fn new(config: &ClusterConfig, address: &str) -> Self {
        let label = label_of(address);
        Self {
            address: address.to_owned(),
            read_pool: ArcSwap::new(Self::new_pool(config, address, &label, Purpose::Read)),
            write_pool: ArcSwap::new(Self::new_pool(config, address, &label, Purpose::Write)),
            label,
            probe_now: Notify::new(),
            view: Mutex::new(View::default()),
        }
    }

    pub(crate) fn view(&self) -> View {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn pool(&self, purpose: Purpose) -> Arc<HostPool> {
        match purpose {
            Purpose::Read => self.read_pool.load_full(),
            Purpose::Write => self.write_pool.load_full(),
        }
    }

    /// When it last answered anybody but its probe.
    pub(crate) fn answered_at(&self) -> Option<Instant> {
        let (read, write) = (
            self.read_pool.load().answered_at(),
            self.write_pool.load().answered_at(),
        );
        read.max(write)
    }

    /// Drops all connections: idle ones now, those that are out when they come back; waiters are sent elsewhere.
    pub(crate) fn drop_connections(&self, config: &ClusterConfig) {
        for (slot, purpose) in [(&self.read_pool, Purpose::Read), (&self.write_pool, Purpose::Write)] {
            slot.swap(Self::new_pool(config, &self.address, &self.label, purpose))
                .close();
        }
    }

    /// Turns everybody away for good.
    pub(crate) fn close(&self) {
        self.read_pool.load().close();
        self.write_pool.load().close();
        self.update(|view| view.up = false);
    }

    pub(crate) fn status(&self) -> HostStatus {
        let view = self.view();
        HostStatus {
            host: self.label.clone(),
            up: view.up,
            role: view.role,
            position: view.position(),
            lag: view.lag,
        }
    }

    fn new_pool(config: &ClusterConfig, address: &str, label: &str, purpose: Purpose) -> Arc<HostPool> {
        let options = match purpose {
            Purpose::Read => config.read_options(address),
            Purpose::Write => config.write_options(address),
        };
        HostPool::new(
            options,
            purpose,
            config.pool_max,
            config.connect_timeout,
            &config.name,
            label,
        )
    }
}

/// `postgres-1` of `postgres-1:5432`; where hosts differ only by port, as in tests, the whole address.
fn label_of(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, _)) if host != "localhost" && host.parse::<std::net::IpAddr>().is_err() => host.to_owned(),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_host_is_called_by_its_name_and_a_bare_address_keeps_its_port() {
        assert_eq!(label_of("postgres-1:5432"), "postgres-1");
        assert_eq!(label_of("127.0.0.1:25432"), "127.0.0.1:25432");
        assert_eq!(label_of("localhost:25432"), "localhost:25432");
    }
}
