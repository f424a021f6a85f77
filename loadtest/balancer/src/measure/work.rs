//! What a request costs a proxy, counted instead of timed: instructions in user space by callgrind, system calls by
//! strace. A busy machine changes neither, so this shows what a change is worth where times don't.
//!
//! It is no substitute for times: an instruction of one proxy isn't as long as another's, and a system call may do much
//! or little.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::capacity::wrk;
use crate::backends::Backend;
use crate::client::{Connection, get};
use crate::proxies::{ALL, Place, Proxy, Running};

const PATH: &str = "/bytes/1024";
/// Until pools, caches and branches are as they stay.
const WARM_UP: u64 = 300;
const REQUESTS: u64 = 2000;
const STRACE_SECONDS: u32 = 3;
/// Rarer calls than this for each request are not told of.
const CALLS_TOLD_MIN: f64 = 0.05;

#[derive(Debug, Serialize)]
pub(crate) struct Work {
    pub(crate) proxy: &'static str,
    /// In user space, on one connection.
    pub(crate) instructions_per_request: f64,
    /// As `wrk` loads it in `capacity`.
    pub(crate) system_calls_per_request: f64,
    pub(crate) by_system_call: BTreeMap<String, f64>,
}

pub(crate) fn run(place: &Place) -> Result<Vec<Work>> {
    let _upstreams = Backend::start_all(&[0, 0, 0], &place.folder)?;
    ALL.into_iter()
        .map(|proxy| {
            let by_system_call = system_calls(proxy, place)?;
            Ok(Work {
                proxy: proxy.name(),
                instructions_per_request: instructions(proxy, place)?,
                system_calls_per_request: by_system_call.values().sum(),
                by_system_call,
            })
        })
        .collect()
}

/// The difference between some requests and twice as many: what the process does anyhow is in both.
fn instructions(proxy: Proxy, place: &Place) -> Result<f64> {
    let out = place.folder.join(format!("{}.callgrind", proxy.name()));
    let under = Place {
        under: vec![
            "valgrind".to_owned(),
            "--tool=callgrind".to_owned(),
            format!("--callgrind-out-file={}", out.display()),
        ],
        ..place.clone()
    };
    let running = Running::start(proxy, 3, &under)?;
    let mut connection = Connection::open(proxy.address())?;
    let mut ask = |count: u64| (0..count).try_for_each(|_| connection.ask(&get(PATH)).map(drop));
    ask(WARM_UP)?;
    // Of nginx the worker: its master sleeps, and never comes to write anything down.
    let pid = running
        .process
        .family()
        .last()
        .copied()
        .context("the proxy's process")?;
    let _ = dump(pid, &out, 1)?;
    ask(REQUESTS)?;
    let once = dump(pid, &out, 2)?;
    ask(2 * REQUESTS)?;
    let twice = dump(pid, &out, 3)?;
    Ok((twice as f64 - once as f64) / REQUESTS as f64)
}

/// The instructions since the last time.
fn dump(pid: u32, out: &Path, number: u32) -> Result<u64> {
    let output = Command::new("callgrind_control")
        .args(["--dump", &pid.to_string()])
        .output()
        .context("callgrind_control")?;
    ensure!(output.status.success(), "callgrind_control: {output:?}");
    let path = format!("{}.{number}", out.display());
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    total_of(&text).with_context(|| format!("a total in {path}"))
}

/// `summary: 123456`
fn total_of(dump: &str) -> Option<u64> {
    let line = dump.lines().find_map(|line| line.strip_prefix("summary:"))?;
    line.trim().parse().ok()
}

fn system_calls(proxy: Proxy, place: &Place) -> Result<BTreeMap<String, f64>> {
    let running = Running::start(proxy, 3, place)?;
    let file = place.folder.join(format!("{}.strace", proxy.name()));
    let pids = running
        .process
        .family()
        .into_iter()
        .flat_map(|pid| ["-p".to_owned(), pid.to_string()]);
    let mut strace = Command::new("strace")
        .args(["-f", "-c", "-o"])
        .arg(&file)
        .args(pids)
        .stderr(Stdio::piped())
        .spawn()
        .context("strace")?;
    let mut messages = BufReader::new(strace.stderr.take().context("what strace says")?);
    let mut attached = String::new();
    messages.read_line(&mut attached)?;
    ensure!(attached.contains("attached"), "strace: {attached}");
    let answered = wrk(&format!("http://{}{PATH}", proxy.address()), STRACE_SECONDS);
    kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    let requests = answered?;
    let table = fs::read_to_string(&file)?;
    Ok(calls_of(&table)
        .map(|(name, calls)| (name.to_owned(), calls / requests))
        .collect())
}

/// `  9.10    0.044929          22      1999        12 writev`
fn calls_of(table: &str) -> impl Iterator<Item = (&str, f64)> {
    table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let calls = fields.get(3)?.parse().ok()?;
        let name = *fields.last()?;
        (name != "total").then_some((name, calls))
    })
}

pub(crate) fn table(all: &[Work]) -> String {
    let mut text =
        String::from("| proxy | instructions in user space | system calls | which |\n| --- | ---: | ---: | --- |\n");
    for row in all {
        let mut calls: Vec<_> = row
            .by_system_call
            .iter()
            .filter(|(_, calls)| **calls >= CALLS_TOLD_MIN)
            .collect();
        calls.sort_by(|one, other| other.1.total_cmp(one.1));
        let calls: Vec<String> = calls
            .into_iter()
            .map(|(name, calls)| format!("{name} {calls:.2}"))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.2} | {} |",
            row.proxy,
            row.instructions_per_request,
            row.system_calls_per_request,
            calls.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_of_a_dump_is_found() {
        assert_eq!(total_of("part: 2\nevents: Ir\nsummary: 4711\n\nfl=(1)\n"), Some(4711));
        assert_eq!(total_of("events: Ir\n"), None);
    }

    #[test]
    fn calls_are_found_with_and_without_errors() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n \
                     43.15    0.217024          33      6418           sendto\n \
                     28.10    0.141345          21      6437        19 recvfrom\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.502961          24     12855        19 total\n";
        let calls: Vec<_> = calls_of(table).collect();
        assert_eq!(calls, [("sendto", 6418.0), ("recvfrom", 6437.0)]);
    }
}
