//! Breaks a running stack in one way after another under load: a scoreboard on standard error, a table on standard output,
//! and table, JSON and a picture in the folder that `RESULTS_DIR` names. `scripts/chaos` has the variables.

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use chaos::{report, run, screen::Screen, settings::Settings, timeline};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Nothing was lost, but customers noticed more than is promised. By the clock, so that a busy machine may be the cause.
const EXIT_BEYOND_PROMISE: u8 = 2;
/// What `sysexits` calls a configuration error.
const EXIT_CONFIG: u8 = 64;
/// What shells say of a program that was interrupted.
const EXIT_INTERRUPTED: u8 = 130;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<ExitCode> {
    let settings = match Settings::from_env() {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(EXIT_CONFIG));
        }
    };
    let interrupted = interruption()?;
    let outcome = match run::run(&settings, Screen::default(), &interrupted).await {
        Ok(outcome) => outcome,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(if interrupted.is_cancelled() {
                ExitCode::from(EXIT_INTERRUPTED)
            } else {
                ExitCode::FAILURE
            });
        }
    };
    let table = report::table(&outcome.rows, &outcome.summary);
    // Whoever hung up does without.
    let _ = write!(std::io::stdout(), "{table}");
    let folder = std::env::var_os("RESULTS_DIR").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.work/chaos")),
        PathBuf::from,
    );
    let json = report::as_json(&outcome.rows, &outcome.summary, &outcome.pulse);
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    std::fs::write(folder.join("table.md"), table)?;
    std::fs::write(folder.join("chaos.json"), serde_json::to_string_pretty(&json)?)?;
    let timeline = timeline::page(&outcome.rows, &outcome.summary, &outcome.pulse);
    std::fs::write(folder.join("timeline.html"), timeline)?;
    let _ = writeln!(std::io::stderr(), "Results: {}", folder.display());
    Ok(if interrupted.is_cancelled() {
        ExitCode::from(EXIT_INTERRUPTED)
    } else if !outcome.summary.is_good(&outcome.rows) {
        ExitCode::FAILURE
    } else if outcome.rows.iter().any(|row| !row.beyond_promise().is_empty()) {
        ExitCode::from(EXIT_BEYOND_PROMISE)
    } else {
        ExitCode::SUCCESS
    })
}

/// Some send a signal to a process and to its group as well: for so long after the first a second one is the same.
const SAME_SIGNAL: Duration = Duration::from_secs(2);

/// Ctrl-C, SIGTERM, or a terminal that is gone. Whoever can't wait until the stack is whole again sends it a second time.
fn interruption() -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        };
        next().await;
        cancel.cancel();
        let _ = writeln!(std::io::stderr(), "Interrupted: making the stack whole");
        let first = Instant::now();
        while first.elapsed() < SAME_SIGNAL {
            next().await;
        }
        let _ = writeln!(std::io::stderr(), "The stack may be broken: make heal");
        std::process::exit(i32::from(EXIT_INTERRUPTED));
    });
    Ok(token)
}
