//! The results: for people, for programs, and whether they are what is asked of the balancer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use crate::measure::capacity::{self, Asked, Capacity};
use crate::measure::failures::{self, Failures};
use crate::measure::latency::{self, Latency};
use crate::measure::memory::{self, Memory};
use crate::measure::spread::{self, Equals, OneSlow};
use crate::measure::work::{self, Work};
use crate::process::CORES;

/// Everything that was measured; what was left out is empty.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) capacity: Vec<Capacity>,
    pub(crate) work: Vec<Work>,
    pub(crate) latency: Vec<Latency>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) equals: Vec<Equals>,
    pub(crate) one_slow: Vec<OneSlow>,
    pub(crate) failures: Vec<Failures>,
}

/// One figure of ours, and the bound that it should keep.
#[derive(Debug)]
struct Objective {
    what: String,
    figure: f64,
    is_met: bool,
    bound: &'static str,
}

impl Report {
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join("results.json"), serde_json::to_string_pretty(self)?)?;
        let text = self.markdown();
        fs::write(folder.join("results.md"), &text)?;
        print!("{text}");
        Ok(())
    }

    /// Whether ours keeps all bounds of what was measured.
    pub(crate) fn is_met(&self) -> bool {
        self.objectives().iter().all(|objective| objective.is_met)
    }

    fn markdown(&self) -> String {
        let mut text = format!("{}\n", machine());
        let mut section = |title: &str, table: String, is_there: bool| {
            if is_there {
                text += &format!("\n### {title}\n\n{table}");
            }
        };
        section(
            "Requests per CPU-second",
            capacity::table(&self.capacity),
            !self.capacity.is_empty(),
        );
        section("Work for one request", work::table(&self.work), !self.work.is_empty());
        let latency_title = format!("Latency at {} requests per second", latency::PER_SECOND);
        section(&latency_title, latency::table(&self.latency), !self.latency.is_empty());
        section("Memory", memory::table(&self.memory), !self.memory.is_empty());
        section(
            "Three equal upstreams",
            spread::equals_table(&self.equals),
            !self.equals.is_empty(),
        );
        section(
            "One of three upstreams twice as slow",
            spread::one_slow_table(&self.one_slow),
            !self.one_slow.is_empty(),
        );
        section(
            "While something dies",
            failures::table(&self.failures),
            !self.failures.is_empty(),
        );
        let objectives = self.objectives();
        let rows: String = objectives
            .iter()
            .map(|objective| {
                let verdict = if objective.is_met { "met" } else { "**missed**" };
                format!(
                    "| {} | {} | {:.3} | {verdict} |\n",
                    objective.what, objective.bound, objective.figure
                )
            })
            .collect();
        let table = format!("| | bound | figure | |\n| --- | --- | ---: | --- |\n{rows}");
        section("What is asked of the balancer", table, !objectives.is_empty());
        text
    }

    fn objectives(&self) -> Vec<Objective> {
        let mut all = Vec::new();
        for row in self.capacity.iter().filter(|row| row.proxy == "balancer") {
            let (bound, least) = match row.asked {
                Asked {
                    answer_bytes: 1024,
                    is_tls: false,
                } => ("at least 1.0", 1.0),
                _ => ("at least 0.95", 0.95),
            };
            all.push(Objective {
                what: format!("requests per CPU-second over HAProxy's, {}", row.asked.describe()),
                figure: row.relative_to_haproxy,
                is_met: row.relative_to_haproxy >= least,
                bound,
            });
        }
        if let Some([ours, haproxy]) = ours_and(&self.latency, "haproxy", |row| row.proxy) {
            for (what, figure) in [
                ("added p50 over HAProxy's", ours.added_p50_us / haproxy.added_p50_us),
                ("added p99 over HAProxy's", ours.added_p99_us / haproxy.added_p99_us),
            ] {
                all.push(at_most(what.to_owned(), figure, 1.1, "at most 1.1"));
            }
        }
        if let Some([ours, nginx]) = ours_and(&self.memory, "nginx", |row| row.proxy) {
            let figure = ours.with_connections_kib as f64 / nginx.with_connections_kib as f64;
            all.push(at_most(
                "memory at 10,000 idle connections over nginx's".to_owned(),
                figure,
                1.0,
                "at most 1.0",
            ));
        }
        for row in self.equals.iter().filter(|row| row.proxy == "balancer") {
            let what = "percent off a third, over equals".to_owned();
            all.push(at_most(what, row.worst_deviation_percent, 3.0, "at most 3"));
        }
        for row in self.one_slow.iter().filter(|row| row.proxy == "balancer") {
            let what = "percent for one upstream that is slow".to_owned();
            all.push(at_most(what, row.slow_share_percent, 33.0, "less than a third"));
            let what = "one upstream slow: p99 of all over the fast ones'".to_owned();
            all.push(at_most(what, row.all_p99_us / row.fast_p99_us, 1.5, "at most 1.5"));
        }
        for row in self.failures.iter().filter(|row| row.proxy == "balancer") {
            all.push(Objective {
                what: format!("failed of {}: {}", row.requests, row.event),
                figure: row.failed as f64,
                is_met: row.failed <= row.failed_max,
                bound: if row.failed_max == 0 { "0" } else { "in flight" },
            });
        }
        all
    }
}

fn at_most(what: String, figure: f64, most: f64, bound: &'static str) -> Objective {
    Objective {
        what,
        figure,
        is_met: figure <= most,
        bound,
    }
}

fn ours_and<'a, T>(rows: &'a [T], peer: &str, name: impl Fn(&T) -> &'static str) -> Option<[&'a T; 2]> {
    let find = |wanted: &str| rows.iter().find(|row| name(row) == wanted);
    Some([find("balancer")?, find(peer)?])
}

/// What it was measured on and against.
fn machine() -> String {
    let cores = *CORES;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    format!(
        "On {cores} cores ({model}), {}, {}, load average {load} at the end.",
        first_line("haproxy", "-v"),
        first_line("nginx", "-v")
    )
}

fn first_line(program: &str, argument: &str) -> String {
    let Ok(output) = Command::new(program).arg(argument).output() else {
        return format!("no {program}");
    };
    // nginx tells its version on standard error.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or(program).to_owned()
}
