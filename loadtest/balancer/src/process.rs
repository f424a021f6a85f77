//! Child processes on chosen cores: what CPU and memory they and their children take, and signals to them.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

const EXIT_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// `USER_HZ`, in which Linux reports times to programs, whatever it counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// Counted before this process confines itself to some of them.
pub(crate) static CORES: LazyLock<usize> =
    LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from));

/// The first core is the measured process's alone, as far as this program goes; everything else shares the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    Measured,
    Others,
}

impl Cores {
    fn list(self) -> String {
        match (self, *CORES) {
            (Self::Measured, _) | (Self::Others, 1) => "0".to_owned(),
            (Self::Others, count) => format!("1-{}", count - 1),
        }
    }
}

/// Keeps this process, and what it starts without other wishes, off the measured core.
pub(crate) fn leave_the_measured_core() -> Result<()> {
    let mut cores = CpuSet::new();
    match *CORES {
        1 => cores.set(0),
        count => (1..count).for_each(|core| cores.set(core)),
    }
    sched_setaffinity(None, &cores).context("choosing cores")
}

/// A child that is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Runs a command line on those cores, its output going to `<folder>/<name>.log`.
    pub(crate) fn start(
        name: &str,
        cores: Cores,
        folder: &Path,
        command: &[&str],
        env: &[(&str, String)],
    ) -> Result<Self> {
        let log = File::create(folder.join(format!("{name}.log")))?;
        let errors = File::create(folder.join(format!("{name}.err")))?;
        let child = Command::new("taskset")
            .args(["-c", &cores.list()])
            .args(command)
            .envs(env.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("starting {name}: {command:?}"))?;
        Ok(Self {
            name: name.to_owned(),
            child,
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid(), signal).with_context(|| format!("{signal:?} to {}", self.name))
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + EXIT_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{} does not end", self.name);
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended: {status}", self.name),
        }
    }

    /// Its id and those of its children.
    pub(crate) fn family(&self) -> Vec<u32> {
        family(self.child.id())
    }

    /// User and system time of all its threads, and of its children.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let mut ticks = 0;
        for pid in family(self.child.id()) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
            ticks += cpu_ticks(&stat).with_context(|| format!("/proc/{pid}/stat: {stat}"))?;
        }
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Resident memory, what is shared by several processes divided among them.
    pub(crate) fn memory_kib(&self) -> Result<u64> {
        let mut kib = 0;
        for pid in family(self.child.id()) {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            kib += proportional_kib(&rollup).with_context(|| format!("/proc/{pid}/smaps_rollup"))?;
        }
        Ok(kib)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        for pid in family(self.child.id()) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended already.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// A process and its children: nginx works in those.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    std::iter::once(pid).chain(children).collect()
}

/// Fields 14 and 15, counted from behind the name, which may hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn proportional_kib(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 125 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some(375));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn the_proportional_size_is_taken_and_not_its_parts() {
        let rollup = "00400000-7fff [rollup]\nRss: 900 kB\nPss:              812 kB\nPss_Dirty: 5 kB\n";
        assert_eq!(proportional_kib(rollup), Some(812));
    }

    #[test]
    fn this_process_has_a_size_and_a_time() {
        let folder = std::env::temp_dir();
        let sleeper =
            Process::start("bench-test-sleep", Cores::Others, &folder, &["sleep", "60"], &[]).expect("started");
        assert!(sleeper.memory_kib().expect("a size") > 0);
        assert!(sleeper.cpu_seconds().expect("a time") < 5.0);
    }
}
