//! Measures how long writes wait when parts of the data tier die, and whether anything is lost: a table on standard
//! output, progress on standard error, every run in `.work/failover-times.json`. `scripts/failover-times` starts the
//! cluster for it and removes it afterwards.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result};
use system_tests::failover::{
    Tier,
    measure::{self, Fault, Run},
};

/// What `sysexits` calls a configuration error.
const EXIT_CONFIG: u8 = 64;

/// After so many failed runs of one fault its other runs are left out.
const FAILURES_MAX: usize = 3;

struct Settings {
    tier: Tier,
    faults: Vec<Fault>,
    runs: usize,
}

fn settings() -> Result<Settings> {
    let variable = |name: &str, default: &str| {
        std::env::var(name)
            .ok()
            .filter(|v| !v.is_empty())
            .unwrap_or(default.to_owned())
    };
    Ok(Settings {
        tier: Tier::from_env()?,
        faults: measure::parse_faults(&variable("FAULTS", "")).context("FAULTS")?,
        runs: measure::parse_runs(&variable("RUNS", "10")).context("RUNS")?,
    })
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let settings = match settings() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let mut runs = Vec::new();
    let good = tokio::select! {
        good = measure_all(&settings, &mut runs) => good,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("Interrupted; this is what was measured so far.");
            false
        }
    };
    print!("{}", measure::table(&runs));
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../.work");
    std::fs::create_dir_all(folder)
        .and_then(|()| {
            let all = serde_json::to_vec_pretty(&measure::as_json(&runs))?;
            std::fs::write(format!("{folder}/failover-times.json"), all)
        })
        .context(".work/failover-times.json")?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Measures fault after fault. Says whether every run was made and nothing happened that never may.
async fn measure_all(settings: &Settings, runs: &mut Vec<Run>) -> bool {
    let started = Instant::now();
    let mut good = true;
    for fault in &settings.faults {
        let (count, mut failures) = (fault.runs(settings.runs), 0);
        for number in 0..count {
            let label = format!("[{}] {} {}/{count}", measure::clock(started), fault.key(), number + 1);
            match measure::run(&settings.tier, *fault, number).await {
                Ok(Some(run)) => {
                    let back = run.back_after.map_or(String::new(), |time| {
                        format!(", a replica again after {:.1} s", time.as_secs_f64())
                    });
                    eprintln!("{label}: {}{back}", run.verdict);
                    for offence in run.verdict.offences() {
                        eprintln!("  NEVER MAY HAPPEN: {offence}");
                        good = false;
                    }
                    runs.push(run);
                }
                Ok(None) => {
                    eprintln!("{label}: there is none here");
                    break;
                }
                Err(error) => {
                    eprintln!("{label}: {error:#}");
                    good = false;
                    failures += 1;
                    if failures == FAILURES_MAX {
                        eprintln!("  the other runs of this fault are left out");
                        break;
                    }
                }
            }
        }
    }
    good
}
