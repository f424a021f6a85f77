//! What a proxy adds to the time of an answer, at a rate that leaves it mostly idle.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::start_all;
use crate::backends::{self, Backend};
use crate::load::{at_rate, gets};
use crate::proxies::Place;
use crate::statistics::{median, percentile};

const CONNECTIONS: usize = 16;
pub(crate) const PER_SECOND: u32 = 2000;

/// Medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) proxy: &'static str,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Over asking an upstream directly, in the same round.
    pub(crate) added_p50_us: f64,
    pub(crate) added_p99_us: f64,
}

pub(crate) fn run(rounds: u32, seconds: u32, place: &Place) -> Result<Vec<Latency>> {
    let _upstreams = Backend::start_all(&[0, 0, 0], &place.folder)?;
    let proxies = start_all(3, place)?;
    let mut targets = vec![("direct", backends::address(1))];
    targets.extend(
        proxies
            .iter()
            .map(|running| (running.proxy.name(), running.proxy.address())),
    );
    let mut measured: Vec<Vec<(f64, f64)>> = vec![Vec::new(); targets.len()];
    for _ in 0..rounds {
        for (&(name, address), rounds) in targets.iter().zip(&mut measured) {
            rounds.push(round(name, address, seconds)?);
        }
    }
    let direct = measured[0].clone();
    let rows = targets.iter().zip(&measured).map(|(&(proxy, _), rounds)| {
        let over = |pick: fn(&(f64, f64)) -> f64| {
            let added: Vec<f64> = rounds
                .iter()
                .zip(&direct)
                .map(|(round, direct)| pick(round) - pick(direct))
                .collect();
            median(&added)
        };
        let all = |pick: fn(&(f64, f64)) -> f64| median(&rounds.iter().map(pick).collect::<Vec<_>>());
        Latency {
            proxy,
            p50_us: all(|round| round.0),
            p99_us: all(|round| round.1),
            added_p50_us: over(|round| round.0),
            added_p99_us: over(|round| round.1),
        }
    });
    Ok(rows.collect())
}

fn round(name: &str, address: SocketAddr, seconds: u32) -> Result<(f64, f64)> {
    let duration = Duration::from_secs(seconds.into());
    let tally = at_rate(address, CONNECTIONS, PER_SECOND, duration, gets("/bytes/1024"))?;
    ensure!(tally.failed() == 0, "{name}: {:?}", tally.failures);
    let mut latencies = tally.all_latencies_us();
    Ok((percentile(&mut latencies, 50.0), percentile(&mut latencies, 99.0)))
}

pub(crate) fn table(all: &[Latency]) -> String {
    let mut text = String::from("| | p50 | p99 | added p50 | added p99 |\n| --- | ---: | ---: | ---: | ---: |\n");
    for row in all {
        text += &format!("| {} | {:.0} µs | {:.0} µs |", row.proxy, row.p50_us, row.p99_us);
        text += &match row.proxy {
            "direct" => " | |\n".to_owned(),
            _ => format!(" {:.0} µs | {:.0} µs |\n", row.added_p50_us, row.added_p99_us),
        };
    }
    text
}
