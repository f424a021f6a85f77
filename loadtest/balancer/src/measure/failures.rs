//! Requests that customers lose while something dies: GETs and POSTs with an `Idempotency-Key` in turn.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde::Serialize;

use crate::backends::Backend;
use crate::client::{Connection, get};
use crate::hosts::Hosts;
use crate::load::{ClosedLoop, Tally, gets_and_keyed_posts};
use crate::proxies::{Pair, Place, Proxy, Running, admin};
use crate::statistics::percentile;

pub(crate) const REQUESTS: u64 = 200_000;
const CONNECTIONS: usize = 64;
const FROZEN: Duration = Duration::from_secs(10);
/// Between two instances of a rolling restart, as the shop's own scripts wait for health.
const BETWEEN_RESTARTS: Duration = Duration::from_secs(2);
const AFTERWARDS: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    KillUpstream,
    FreezeUpstream,
    Scale,
    RollingRestart,
    StopBalancer,
    KillBalancer,
}

const EVENTS: [Event; 6] = [
    Event::KillUpstream,
    Event::FreezeUpstream,
    Event::Scale,
    Event::RollingRestart,
    Event::StopBalancer,
    Event::KillBalancer,
];
/// What can be done to the peers as well: they find no upstreams by the name that changes here, and there is one of each.
const EVENTS_OF_PEERS: [Event; 3] = [Event::KillUpstream, Event::FreezeUpstream, Event::RollingRestart];

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::KillUpstream => "SIGKILL of one of three upstreams",
            Self::FreezeUpstream => "SIGSTOP of one of three upstreams for 10 s",
            Self::Scale => "three upstreams, five, and three again",
            Self::RollingRestart => "rolling restart of all three upstreams",
            Self::StopBalancer => "SIGTERM of one of two balancers",
            Self::KillBalancer => "SIGKILL of one of two balancers",
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Failures {
    pub(crate) proxy: &'static str,
    pub(crate) event: &'static str,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    /// Requests that may fail: those in flight on a balancer that was killed.
    pub(crate) failed_max: u64,
    pub(crate) slowest_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) failures: Vec<(String, u64)>,
}

/// What stands in front of the upstreams.
enum Front {
    Pair(Pair, Hosts),
    Single { _running: Running },
}

pub(crate) fn run(requests: u64, with_peers: bool, place: &Place) -> Result<Vec<Failures>> {
    let mut all = Vec::new();
    for event in EVENTS {
        all.push(happen(event, Proxy::Ours, requests, place)?);
        if with_peers && EVENTS_OF_PEERS.contains(&event) {
            for proxy in [Proxy::Haproxy, Proxy::Nginx] {
                all.push(happen(event, proxy, requests, place)?);
            }
        }
    }
    Ok(all)
}

fn happen(event: Event, proxy: Proxy, requests: u64, place: &Place) -> Result<Failures> {
    let mut upstreams = Backend::start_all(&[0, 0, 0], &place.folder)?;
    let mut front = match proxy {
        Proxy::Ours => {
            let hosts = Hosts::create(&[1, 2, 3], place)?;
            Front::Pair(Pair::start(&hosts, place)?, hosts)
        }
        proxy => Front::Single {
            _running: Running::start(proxy, 3, place)?,
        },
    };
    let load = ClosedLoop::start(
        proxy.address(),
        CONNECTIONS,
        requests,
        gets_and_keyed_posts("/bytes/1024"),
    );
    load.wait_for(requests / 5);
    let failed_max = cause(event, &mut front, &mut upstreams, place).with_context(|| event.name())?;
    sleep(AFTERWARDS);
    let tally = load.finish()?;
    Ok(judge(event, proxy, failed_max, &tally))
}

/// Returns how many requests may fail by it.
fn cause(event: Event, front: &mut Front, upstreams: &mut Vec<Backend>, place: &Place) -> Result<u64> {
    match (event, front) {
        (Event::KillUpstream, _) => upstreams[1].process.signal(Signal::KILL)?,
        (Event::FreezeUpstream, _) => {
            upstreams[1].process.signal(Signal::STOP)?;
            sleep(FROZEN);
            upstreams[1].process.signal(Signal::CONT)?;
        }
        (Event::RollingRestart, _) => {
            for upstream in upstreams {
                upstream.process.signal(Signal::TERM)?;
                upstream.process.wait()?;
                *upstream = Backend::start(upstream.number, 0, &place.folder)?;
                sleep(BETWEEN_RESTARTS);
            }
        }
        (Event::Scale, Front::Pair(_, hosts)) => scale(hosts, upstreams, place)?,
        (Event::StopBalancer, Front::Pair(pair, _)) => {
            pair.balancers[0].signal(Signal::TERM)?;
            pair.balancers[0].wait()?;
        }
        (Event::KillBalancer, Front::Pair(pair, _)) => {
            let connections = metric(1, "balancer_connections")?;
            pair.balancers[0].signal(Signal::KILL)?;
            pair.balancers[0].wait()?;
            // Each connection of the load has at most one request on its way.
            return Ok(connections.min(CONNECTIONS as u64));
        }
        (Event::Scale | Event::StopBalancer | Event::KillBalancer, Front::Single { .. }) => {}
    }
    Ok(0)
}

/// The name changes at the moment when the instances that leave are told to stop, as with `docker compose up --scale`.
fn scale(hosts: &Hosts, upstreams: &mut Vec<Backend>, place: &Place) -> Result<()> {
    for number in [4, 5] {
        upstreams.push(Backend::start(number, 0, &place.folder)?);
    }
    hosts.set(&[1, 2, 3, 4, 5])?;
    sleep(Duration::from_secs(4));
    for newcomer in &upstreams[3..] {
        ensure!(
            newcomer.answered()? > 0,
            "upstream {} was not found within 4 s",
            newcomer.number
        );
    }
    hosts.set(&[3, 4, 5])?;
    for leaving in &mut upstreams[..2] {
        leaving.process.signal(Signal::TERM)?;
    }
    for leaving in &mut upstreams[..2] {
        leaving.process.wait()?;
    }
    Ok(())
}

/// A figure of one of our balancers.
fn metric(balancer: usize, name: &str) -> Result<u64> {
    let answer = Connection::open_with_buffer(admin(balancer), 256 * 1024)?.ask(&get("/metrics"))?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(value.with_context(|| format!("no {name} in its metrics"))?.parse()?)
}

fn judge(event: Event, proxy: Proxy, failed_max: u64, tally: &Tally) -> Failures {
    let mut latencies = tally.all_latencies_us();
    Failures {
        proxy: proxy.name(),
        event: event.name(),
        requests: tally.answered() + tally.failed(),
        failed: tally.failed(),
        failed_max,
        slowest_ms: percentile(&mut latencies, 100.0) / 1e3,
        p99_ms: percentile(&mut latencies, 99.0) / 1e3,
        failures: tally
            .failures
            .iter()
            .map(|(what, count)| (what.clone(), *count))
            .collect(),
    }
}

pub(crate) fn table(all: &[Failures]) -> String {
    let mut text = String::from(
        "| what happens | proxy | requests | failed | p99 | slowest |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in all {
        let allowed = match row.failed_max {
            0 => String::new(),
            max => format!(" (at most {max} in flight)"),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {}{allowed} | {:.1} ms | {:.0} ms |",
            row.event, row.proxy, row.requests, row.failed, row.p99_ms, row.slowest_ms
        );
    }
    text
}
