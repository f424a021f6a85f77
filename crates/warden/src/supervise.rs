//! The first process of a node: prepares it, starts Patroni and the watcher, and ends as Patroni ends.
//!
//! Patroni and Postgres never notice what becomes of the watcher. Orphans are the init process's to reap.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::config::SuperviseConfig;

/// A watcher that dies is started again after this long, and then ever later.
const WATCHER_PAUSE_FIRST: Duration = Duration::from_millis(100);
const WATCHER_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A watcher that ran so long did not die of what it was started with.
const WATCHER_SETTLED: Duration = Duration::from_secs(60);
const WATCHER_STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a node could not be run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SuperviseError {
    #[error("{program} could not be run")]
    Start { program: String, source: io::Error },
    #[error("{program} failed: {status}")]
    Failed { program: String, status: ExitStatus },
    #[error("{path} could not be written")]
    Write { path: String, source: io::Error },
    #[error("signals can't be listened for")]
    Signals(#[source] io::Error),
}

/// The signals that are passed on to Patroni, as they come: stop (TERM, INT) and read the configuration again (HUP).
pub(crate) fn signals() -> Result<mpsc::Receiver<Signal>, SuperviseError> {
    let (sender, receiver) = mpsc::channel(8);
    for (kind, number) in [
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::hangup(), Signal::HUP),
    ] {
        let mut signals = signal(kind).map_err(SuperviseError::Signals)?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if sender.send(number).await.is_err() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}

/// Runs the node until Patroni ends, and says how it ended.
pub(crate) async fn run(
    config: &SuperviseConfig,
    mut signals: mpsc::Receiver<Signal>,
) -> Result<ExitCode, SuperviseError> {
    // Everything that the node writes is its own business: passwords are among it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    tokio::select! {
        prepared = prepare(config) => prepared?,
        Some(signal) = signals.recv() => {
            info!(signal = signal.as_raw(), "Stopped before Patroni was started");
            return Ok(exit_code(128 + signal.as_raw()));
        }
    }
    let mut patroni = start(
        Command::new(&config.patroni).arg(&config.patroni_config),
        &config.patroni,
    )?;
    let watcher = tokio::spawn(keep_watcher(config.watcher.clone().unwrap_or_else(this_program)));
    let status = loop {
        tokio::select! {
            status = patroni.wait() => break status.map_err(|source| start_error(&config.patroni, source))?,
            Some(signal) = signals.recv() => pass_on(signal, &patroni),
        }
    };
    // The watcher dies with the task that keeps it.
    watcher.abort();
    let _ = timeout(WATCHER_STOP_TIMEOUT, watcher).await;
    let code = status
        .code()
        .or(status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    info!(code, "Patroni has ended");
    Ok(exit_code(code))
}

async fn prepare(config: &SuperviseConfig) -> Result<(), SuperviseError> {
    let prepare = &config.prepare;
    let status = start(&mut Command::new(prepare), prepare)?.wait().await;
    let status = status.map_err(|source| start_error(prepare, source))?;
    if !status.success() {
        return Err(failed(prepare, status));
    }
    let configure = &config.configure;
    let output = Command::new(configure)
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|source| start_error(configure, source))?;
    if !output.status.success() {
        return Err(failed(configure, output.status));
    }
    write_private(&config.patroni_config, &output.stdout).map_err(|source| SuperviseError::Write {
        path: config.patroni_config.display().to_string(),
        source,
    })
}

fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(contents)
}

/// Starts the watcher whenever there is none.
async fn keep_watcher(program: PathBuf) {
    let mut pause = WATCHER_PAUSE_FIRST;
    loop {
        let started = Instant::now();
        match start(Command::new(&program).arg("watch"), &program) {
            Ok(mut watcher) => {
                if let Ok(status) = watcher.wait().await {
                    warn!(%status, "The watcher has ended; Postgres is not affected");
                }
            }
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "The watcher could not be started"
            ),
        }
        if started.elapsed() > WATCHER_SETTLED {
            pause = WATCHER_PAUSE_FIRST;
        }
        sleep(pause).await;
        pause = (pause * 2).min(WATCHER_PAUSE_MAX);
    }
}

fn pass_on(signal: Signal, child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    info!(signal = signal.as_raw(), "Passing a signal on to Patroni");
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, signal)) {
        warn!(%error, "Patroni could not be signalled");
    }
}

fn start(command: &mut Command, program: &Path) -> Result<Child, SuperviseError> {
    command
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| start_error(program, source))
}

fn start_error(program: &Path, source: io::Error) -> SuperviseError {
    SuperviseError::Start {
        program: program.display().to_string(),
        source,
    }
}

fn failed(program: &Path, status: ExitStatus) -> SuperviseError {
    SuperviseError::Failed {
        program: program.display().to_string(),
        status,
    }
}

fn exit_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn this_program() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("warden"))
}

#[cfg(test)]
mod tests;
