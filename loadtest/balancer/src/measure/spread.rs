//! How requests are spread: over equals, and where one upstream is twice as slow.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::start_all;
use crate::backends::Backend;
use crate::load::{ClosedLoop, at_rate, gets};
use crate::proxies::Place;
use crate::statistics::{percentile, worst_deviation_percent};

const EQUALS_REQUESTS: u64 = 60_000;
const CONNECTIONS: usize = 32;
const SLOW_CONNECTIONS: usize = 32;
const SLOW_PER_SECOND: u32 = 600;
const FAST_MS: u64 = 5;
const SLOW_MS: u64 = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Equals {
    pub(crate) proxy: &'static str,
    pub(crate) counts: Vec<u64>,
    pub(crate) worst_deviation_percent: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct OneSlow {
    pub(crate) proxy: &'static str,
    pub(crate) slow_share_percent: f64,
    /// Of what the fast ones have answered.
    pub(crate) fast_p99_us: f64,
    pub(crate) all_p99_us: f64,
}

/// Three equal upstreams, under full load.
pub(crate) fn equals(place: &Place) -> Result<Vec<Equals>> {
    let upstreams = Backend::start_all(&[1, 1, 1], &place.folder)?;
    let mut all = Vec::new();
    for running in start_all(3, place)? {
        settle();
        let before = answered(&upstreams)?;
        let load = ClosedLoop::start(
            running.proxy.address(),
            CONNECTIONS,
            EQUALS_REQUESTS,
            gets("/bytes/1024"),
        );
        let tally = load.finish()?;
        ensure!(tally.failed() == 0, "{}: {:?}", running.proxy.name(), tally.failures);
        let after = answered(&upstreams)?;
        let counts: Vec<u64> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect();
        all.push(Equals {
            proxy: running.proxy.name(),
            worst_deviation_percent: worst_deviation_percent(&counts),
            counts,
        });
    }
    Ok(all)
}

/// Two fast upstreams and one that takes twice as long, at a moderate rate.
pub(crate) fn one_slow(seconds: u32, place: &Place) -> Result<Vec<OneSlow>> {
    let _upstreams = Backend::start_all(&[FAST_MS, FAST_MS, SLOW_MS], &place.folder)?;
    let mut all = Vec::new();
    for running in start_all(3, place)? {
        settle();
        let tally = at_rate(
            running.proxy.address(),
            SLOW_CONNECTIONS,
            SLOW_PER_SECOND,
            Duration::from_secs(seconds.into()),
            gets("/bytes/1024"),
        )?;
        ensure!(tally.failed() == 0, "{}: {:?}", running.proxy.name(), tally.failures);
        let slow = tally.latencies_us[3].len() as f64;
        let mut fast = [tally.latencies_us[1].as_slice(), tally.latencies_us[2].as_slice()].concat();
        all.push(OneSlow {
            proxy: running.proxy.name(),
            slow_share_percent: slow / tally.answered() as f64 * 100.0,
            fast_p99_us: percentile(&mut fast, 99.0),
            all_p99_us: percentile(&mut tally.all_latencies_us(), 99.0),
        });
    }
    Ok(all)
}

/// Slow start is over, and so is what else is special about the first seconds.
fn settle() {
    std::thread::sleep(Duration::from_secs(6));
}

fn answered(upstreams: &[Backend]) -> Result<Vec<u64>> {
    upstreams.iter().map(Backend::answered).collect()
}

pub(crate) fn equals_table(all: &[Equals]) -> String {
    let mut text =
        String::from("| proxy | requests at each of three equals | furthest from a third |\n| --- | --- | ---: |\n");
    for row in all {
        let counts: Vec<String> = row.counts.iter().map(u64::to_string).collect();
        text += &format!(
            "| {} | {} | {:.1} % |\n",
            row.proxy,
            counts.join(", "),
            row.worst_deviation_percent
        );
    }
    text
}

pub(crate) fn one_slow_table(all: &[OneSlow]) -> String {
    let mut text = String::from(
        "| proxy | share of the slow one | p99 of the fast ones | p99 of all | ratio |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in all {
        text += &format!(
            "| {} | {:.1} % | {:.1} ms | {:.1} ms | {:.2} |\n",
            row.proxy,
            row.slow_share_percent,
            row.fast_p99_us / 1e3,
            row.all_p99_us / 1e3,
            row.all_p99_us / row.fast_p99_us
        );
    }
    text
}
