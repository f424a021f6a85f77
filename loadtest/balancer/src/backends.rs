//! The upstreams, each a process of its own on the others' cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::client::{Connection, get};
use crate::process::{Cores, Process};

/// The same for all of them, since DNS knows addresses only.
pub(crate) const PORT: u16 = 28_800;
/// Callgrind takes its time, and so may a busy machine.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// An upstream by its number, beginning with 1.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) number: usize,
    pub(crate) process: Process,
}

/// Where the upstream of this number listens.
pub(crate) fn address(number: usize) -> SocketAddr {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    (Ipv4Addr::new(127, 83, 0, last), PORT).into()
}

impl Backend {
    /// Starts one, and waits until it is ready.
    pub(crate) fn start(number: usize, delay_ms: u64, folder: &Path) -> Result<Self> {
        let own = std::env::current_exe()?;
        let own = own.to_str().context("the path of this program")?;
        let (listen, number_text, delay) = (address(number).to_string(), number.to_string(), delay_ms.to_string());
        let command = [
            own,
            "upstream",
            "--listen",
            &listen,
            "--number",
            &number_text,
            "--delay-ms",
            &delay,
        ];
        let process = Process::start(&format!("upstream-{number}"), Cores::Others, folder, &command, &[])?;
        let mut backend = Self { number, process };
        wait_until_answered(address(number), "/readyz", &mut backend.process)?;
        Ok(backend)
    }

    /// Several, numbered from 1, with these delays.
    pub(crate) fn start_all(delays_ms: &[u64], folder: &Path) -> Result<Vec<Self>> {
        (1..)
            .zip(delays_ms)
            .map(|(number, &delay_ms)| Self::start(number, delay_ms, folder))
            .collect()
    }

    /// How many requests it has answered, checks apart.
    pub(crate) fn answered(&self) -> Result<u64> {
        let answer = Connection::open(address(self.number))?.ask(&get("/count"))?;
        Ok(std::str::from_utf8(&answer.body)?.parse()?)
    }
}

/// Waits until a path is answered with 200; an error if the process ends before.
pub(crate) fn wait_until_answered(address: SocketAddr, path: &str, process: &mut Process) -> Result<()> {
    let deadline = Instant::now() + READY_DEADLINE;
    loop {
        process.check()?;
        let asked = Connection::open(address).and_then(|mut connection| connection.ask(&get(path)));
        match asked {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("{address}{path} is not answered: {error}"),
            Err(_) => std::thread::sleep(POLL),
        }
    }
}
