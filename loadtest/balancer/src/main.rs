//! Measures the balancer beside Debian's HAProxy and nginx, on the same upstreams and in turn. README.md says what is
//! measured and how; `run` beside it builds what is needed and starts this.

mod backends;
mod client;
mod hosts;
mod load;
mod measure;
mod process;
mod proxies;
mod report;
mod statistics;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

use crate::measure::{capacity, failures, latency, memory, spread, work};
use crate::proxies::Place;
use crate::report::Report;

#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures, and writes results.md and results.json.
    Measure(Options),
    /// Serves as one of the upstreams.
    Upstream(upstream::Options),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    Capacity,
    /// Not among everything: it needs valgrind and strace.
    Work,
    Latency,
    Memory,
    Equals,
    OneSlow,
    Failures,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Our binary.
    #[arg(long)]
    balancer: PathBuf,
    /// The binary that holds the listening socket for two of ours.
    #[arg(long)]
    gateway: PathBuf,
    /// Where configurations, logs and results are written.
    #[arg(long)]
    folder: PathBuf,
    /// What is measured: everything, or these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often each proxy has its turn.
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// How long a turn takes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Requests while something dies.
    #[arg(long, default_value_t = failures::REQUESTS)]
    requests: u64,
    /// Only ours is broken, which takes half the time.
    #[arg(long)]
    without_peers: bool,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Task::Upstream(options) => upstream::run(options).map(|()| ExitCode::SUCCESS),
        Task::Measure(options) => measure(&options),
    }
}

fn measure(options: &Options) -> Result<ExitCode> {
    process::leave_the_measured_core()?;
    let folder = std::path::absolute(&options.folder)?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let place = Place {
        balancer: options.balancer.clone(),
        gateway: options.gateway.clone(),
        folder,
        under: Vec::new(),
    };
    place.make_certificate()?;
    let wants = |part| {
        let is_wanted = options.only.contains(&part) || (options.only.is_empty() && part != Part::Work);
        if is_wanted {
            eprintln!("{part:?}");
        }
        is_wanted
    };
    let (rounds, seconds) = (options.rounds, options.seconds);
    let mut report = Report::default();
    if wants(Part::Capacity) {
        report.capacity = capacity::run(rounds, seconds, &place)?;
        eprintln!("{}", capacity::table(&report.capacity));
    }
    if wants(Part::Work) {
        report.work = work::run(&place)?;
        eprintln!("{}", work::table(&report.work));
    }
    if wants(Part::Latency) {
        report.latency = latency::run(rounds, seconds, &place)?;
        eprintln!("{}", latency::table(&report.latency));
    }
    if wants(Part::Memory) {
        report.memory = memory::run(&place)?;
        eprintln!("{}", memory::table(&report.memory));
    }
    if wants(Part::Equals) {
        report.equals = spread::equals(&place)?;
        eprintln!("{}", spread::equals_table(&report.equals));
    }
    if wants(Part::OneSlow) {
        report.one_slow = spread::one_slow(5 * seconds, &place)?;
        eprintln!("{}", spread::one_slow_table(&report.one_slow));
    }
    if wants(Part::Failures) {
        report.failures = failures::run(options.requests, !options.without_peers, &place)?;
        eprintln!("{}", failures::table(&report.failures));
    }
    report.write(&place.folder)?;
    let is_met = report.is_met();
    Ok(if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
