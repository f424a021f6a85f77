//! Load by threads that each hold one connection: as fast as answers come, or at a fixed rate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::client::{Connection, get, keyed_post};

const UPSTREAMS_MAX: usize = 16;
const RECONNECT_PAUSE: Duration = Duration::from_millis(1);
/// Before the first request at a fixed rate is due.
const CONNECTING: Duration = Duration::from_millis(100);

/// What became of some requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// How long each good answer took, by the upstream that gave it.
    pub(crate) latencies_us: Vec<Vec<u32>>,
    /// Everything else, by what went wrong.
    pub(crate) failures: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Self {
        Self {
            latencies_us: vec![Vec::new(); UPSTREAMS_MAX],
            failures: BTreeMap::new(),
        }
    }

    fn merge(&mut self, other: Self) {
        for (own, mut others) in self.latencies_us.iter_mut().zip(other.latencies_us) {
            own.append(&mut others);
        }
        for (what, count) in other.failures {
            *self.failures.entry(what).or_default() += count;
        }
    }

    pub(crate) fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.latencies_us.iter().map(|latencies| latencies.len() as u64).sum()
    }

    pub(crate) fn all_latencies_us(&self) -> Vec<u32> {
        self.latencies_us.concat()
    }
}

/// One thread's connection, opened when it is needed, and its tally.
struct Asker {
    address: SocketAddr,
    connection: Option<Connection>,
    tally: Tally,
}

impl Asker {
    fn new(address: SocketAddr) -> Self {
        Self {
            address,
            connection: None,
            tally: Tally::new(),
        }
    }

    /// A request that began at this time.
    fn ask(&mut self, request: &[u8], began: Instant) {
        let outcome = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.address),
        }
        .and_then(|mut connection| connection.ask(request).map(|answer| (connection, answer)));
        match outcome {
            Ok((connection, answer)) => {
                let us = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.tally.latencies_us[answer.upstream.min(UPSTREAMS_MAX - 1)].push(us);
                self.connection = (!answer.is_last).then_some(connection);
            }
            Err(error) => {
                *self.tally.failures.entry(error.to_string()).or_default() += 1;
                std::thread::sleep(RECONNECT_PAUSE);
            }
        }
    }
}

/// A load that goes on until it has had its number of requests and was told that it may end.
#[derive(Debug)]
pub(crate) struct ClosedLoop {
    begun: Arc<AtomicU64>,
    may_end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Tally>>,
}

impl ClosedLoop {
    /// `request` makes the request of a number.
    pub(crate) fn start(
        address: SocketAddr,
        connections: usize,
        requests: u64,
        request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
    ) -> Self {
        let begun = Arc::new(AtomicU64::new(0));
        let may_end = Arc::new(AtomicBool::new(false));
        let threads = (0..connections)
            .map(|_| {
                let (begun, may_end, request) = (begun.clone(), may_end.clone(), request.clone());
                std::thread::spawn(move || {
                    let mut asker = Asker::new(address);
                    loop {
                        let number = begun.fetch_add(1, Relaxed);
                        if number >= requests && may_end.load(Relaxed) {
                            return asker.tally;
                        }
                        asker.ask(&request(number), Instant::now());
                    }
                })
            })
            .collect();
        Self {
            begun,
            may_end,
            threads,
        }
    }

    /// Requests that were begun so far.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Waits until so many were begun.
    pub(crate) fn wait_for(&self, requests: u64) {
        while self.begun() < requests {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the rest, and adds everything up.
    pub(crate) fn finish(self) -> Result<Tally> {
        self.may_end.store(true, Relaxed);
        collect(self.threads)
    }
}

fn collect(threads: Vec<JoinHandle<Tally>>) -> Result<Tally> {
    let mut all = Tally::new();
    for thread in threads {
        all.merge(thread.join().map_err(|_| anyhow!("a thread of the load panicked"))?);
    }
    Ok(all)
}

/// GETs of one path.
pub(crate) fn gets(path: &str) -> impl Fn(u64) -> Vec<u8> + Clone + Send + 'static + use<> {
    let request = get(path);
    move |_| request.clone()
}

/// GETs and keyed POSTs in turn.
pub(crate) fn gets_and_keyed_posts(path: &str) -> impl Fn(u64) -> Vec<u8> + Clone + Send + 'static + use<> {
    let (path, request) = (path.to_owned(), get(path));
    move |number| match number % 2 {
        0 => request.clone(),
        _ => keyed_post(&path, &format!("order-{number}")),
    }
}

/// Requests at a fixed rate, spread evenly over time and connections. One that can't begin in time because the last
/// answer is still awaited is counted from when it should have begun; that this thread itself woke up late is not
/// counted.
pub(crate) fn at_rate(
    address: SocketAddr,
    connections: usize,
    per_second: u32,
    duration: Duration,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
) -> Result<Tally> {
    let interval = Duration::from_secs(1) / per_second;
    let rounds = (duration.as_secs_f64() * f64::from(per_second) / connections as f64) as u32;
    let connections_count = u32::try_from(connections)?;
    let start = Instant::now() + CONNECTING;
    let threads = (0..connections_count)
        .map(|index| {
            let request = request.clone();
            std::thread::spawn(move || {
                let mut asker = Asker::new(address);
                // Connecting is not what is measured.
                asker.ask(&request(0), Instant::now());
                asker.tally = Tally::new();
                for round in 0..rounds {
                    let number = round * connections_count + index;
                    let due = start + interval * number;
                    let request = request(u64::from(number));
                    let began = match due.checked_duration_since(Instant::now()) {
                        Some(early) => {
                            std::thread::sleep(early);
                            Instant::now()
                        }
                        None => due,
                    };
                    asker.ask(&request, began);
                }
                asker.tally
            })
        })
        .collect();
    collect(threads)
}
