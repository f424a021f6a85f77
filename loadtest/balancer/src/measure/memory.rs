//! What thousands of idle connections take.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

use super::start_all;
use crate::backends::Backend;
use crate::client::{Connection, get};
use crate::proxies::Place;

pub(crate) const CONNECTIONS: usize = 10_000;
/// So that the last of them are as idle as the others.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) proxy: &'static str,
    pub(crate) before_kib: u64,
    /// With the connections open, each a second or longer after one answer.
    pub(crate) with_connections_kib: u64,
}

pub(crate) fn run(place: &Place) -> Result<Vec<Memory>> {
    let _upstreams = Backend::start_all(&[0, 0, 0], &place.folder)?;
    let mut all = Vec::new();
    for running in start_all(3, place)? {
        let before_kib = running.process.memory_kib()?;
        let request = get("/bytes/1024");
        let connections = (0..CONNECTIONS)
            .map(|_| {
                let mut connection = Connection::open_with_buffer(running.proxy.address(), 2048)?;
                connection.ask(&request)?;
                Ok(connection)
            })
            .collect::<std::io::Result<Vec<_>>>()
            .context(running.proxy.name())?;
        std::thread::sleep(PAUSE);
        let with_connections_kib = running.process.memory_kib()?;
        // All three close what is idle for 75 s, and a busy machine may need longer to open as many.
        let mut open = 0;
        for connection in &connections {
            open += usize::from(connection.is_open()?);
        }
        ensure!(
            open == CONNECTIONS,
            "{} has closed {} of {CONNECTIONS} connections before its memory was measured",
            running.proxy.name(),
            CONNECTIONS - open
        );
        drop(connections);
        all.push(Memory {
            proxy: running.proxy.name(),
            before_kib,
            with_connections_kib,
        });
    }
    Ok(all)
}

pub(crate) fn table(all: &[Memory]) -> String {
    let mib = |kib: u64| kib as f64 / 1024.0;
    let nginx = all.iter().find(|row| row.proxy == "nginx");
    let mut text = String::from(
        "| proxy | without | with 10,000 idle connections | for each | relative to nginx |\n| --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in all {
        let each_kib = row.with_connections_kib.saturating_sub(row.before_kib) as f64 / CONNECTIONS as f64;
        let relative = nginx.map_or(f64::NAN, |nginx| {
            mib(row.with_connections_kib) / mib(nginx.with_connections_kib)
        });
        text += &format!(
            "| {} | {:.1} MiB | {:.1} MiB | {each_kib:.1} KiB | {relative:.2} |\n",
            row.proxy,
            mib(row.before_kib),
            mib(row.with_connections_kib)
        );
    }
    text
}
