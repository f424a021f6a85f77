//! Requests for each second of CPU that the proxy takes.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::start_all;
use crate::backends::Backend;
use crate::proxies::{Place, Proxy, Running};
use crate::statistics::{median, median_ratio};

const CONNECTIONS: usize = 64;

/// What is asked for, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Asked {
    pub(crate) answer_bytes: usize,
    /// By TLS 1.3. The connections stay, so that their handshakes don't count for much.
    pub(crate) is_tls: bool,
}

const ALL_ASKED: [Asked; 3] = [
    Asked {
        answer_bytes: 1024,
        is_tls: false,
    },
    Asked {
        answer_bytes: 64 * 1024,
        is_tls: false,
    },
    Asked {
        answer_bytes: 1024,
        is_tls: true,
    },
];

impl Asked {
    pub(crate) fn describe(self) -> String {
        let over = if self.is_tls { " over TLS" } else { "" };
        format!("{} KiB{over}", self.answer_bytes / 1024)
    }

    fn url(self, proxy: Proxy) -> String {
        let (scheme, address) = if self.is_tls {
            ("https", proxy.tls_address())
        } else {
            ("http", proxy.address())
        };
        format!("{scheme}://{address}/bytes/{}", self.answer_bytes)
    }
}

/// The rounds of one proxy at one kind of request.
#[derive(Debug, Serialize)]
pub(crate) struct Capacity {
    pub(crate) proxy: &'static str,
    pub(crate) asked: Asked,
    pub(crate) requests_per_cpu_second: f64,
    /// Median of the ratios of single rounds.
    pub(crate) relative_to_haproxy: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) rounds: Vec<f64>,
}

/// What one round has shown.
struct Round {
    per_cpu_second: f64,
    per_second: f64,
}

pub(crate) fn run(rounds: u32, seconds: u32, place: &Place) -> Result<Vec<Capacity>> {
    let _upstreams = Backend::start_all(&[0, 0, 0], &place.folder)?;
    let proxies = start_all(3, place)?;
    let mut all = Vec::new();
    for asked in ALL_ASKED {
        let mut measured: Vec<Vec<Round>> = proxies.iter().map(|_| Vec::new()).collect();
        for proxy in &proxies {
            load(proxy, asked, 1)?;
        }
        for _ in 0..rounds {
            for (proxy, rounds) in proxies.iter().zip(&mut measured) {
                rounds.push(load(proxy, asked, seconds)?);
            }
        }
        let figures = |index: usize| {
            measured[index]
                .iter()
                .map(|round| round.per_cpu_second)
                .collect::<Vec<_>>()
        };
        let haproxy = figures(
            proxies
                .iter()
                .position(|running| running.proxy.name() == "haproxy")
                .context("HAProxy")?,
        );
        for (index, running) in proxies.iter().enumerate() {
            let rounds = figures(index);
            let per_second: Vec<f64> = measured[index].iter().map(|round| round.per_second).collect();
            all.push(Capacity {
                proxy: running.proxy.name(),
                asked,
                requests_per_cpu_second: median(&rounds),
                relative_to_haproxy: median_ratio(&rounds, &haproxy),
                requests_per_second: median(&per_second),
                rounds,
            });
        }
    }
    Ok(all)
}

fn load(running: &Running, asked: Asked, seconds: u32) -> Result<Round> {
    let url = asked.url(running.proxy);
    let cpu_before = running.process.cpu_seconds()?;
    let requests = wrk(&url, seconds)?;
    let cpu = running.process.cpu_seconds()? - cpu_before;
    Ok(Round {
        per_cpu_second: requests / cpu,
        per_second: requests / f64::from(seconds),
    })
}

/// A customer of the shop: the balancer counts what a session asks for.
const SESSION: &str = "Cookie: zillion_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// How many requests were answered in so many seconds. `wrk` makes the load, so that nobody has to trust a generator of
/// ours.
pub(super) fn wrk(url: &str, seconds: u32) -> Result<f64> {
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{CONNECTIONS}"),
            &format!("-d{seconds}s"),
            "-H",
            SESSION,
            url,
        ])
        .output()
        .context("wrk")?;
    let report = String::from_utf8_lossy(&output.stdout);
    let requests = requests_of(&report).with_context(|| format!("what wrk says of {url}: {report}"))?;
    ensure!(
        !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "{url} is not answered properly: {report}"
    );
    Ok(requests)
}

/// `  123456 requests in 5.00s, 1.23GB read`
fn requests_of(report: &str) -> Option<f64> {
    let line = report.lines().find(|line| line.contains(" requests in "))?;
    line.split_whitespace().next()?.parse().ok()
}

pub(crate) fn table(all: &[Capacity]) -> String {
    let mut text = String::from(
        "| answers | proxy | requests per CPU-second | relative to HAProxy | requests per second |\n| --- | --- | ---: | ---: | ---: |\n",
    );
    for row in all {
        text += &format!(
            "| {} | {} | {:.0} | {:.2} | {:.0} |\n",
            row.asked.describe(),
            row.proxy,
            row.requests_per_cpu_second,
            row.relative_to_haproxy,
            row.requests_per_second
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_wrk_says() {
        let report = "Running 5s test\n  1 threads and 64 connections\n  123456 requests in 5.00s, 1.2GB read\nRequests/sec: 1\n";
        assert_eq!(requests_of(report), Some(123_456.0));
        assert_eq!(requests_of("unable to connect"), None);
    }
}
