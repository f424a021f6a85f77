//! A file that grows until something stops it: the limit of a container's memory, or the size of a disk.
//!
//! What is written to `/tmp` is memory of the container, since it is a disk in memory there, and no process has it: at the
//! limit the kernel ends the largest process of the container, as it does with one that leaks. That needs no capability,
//! changes no limit that would have to be put back, and is gone with the container's own end. It is the same with both versions of
//! control groups.
//!
//! The disks of the host are never filled: a disk has to be one of its own, and small.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    inject::Refusal,
    stack::{Container, docker, docker_output},
    topology::label,
};

const FILE: &str = ".zillion-chaos-fill";
const MIB: u64 = 1 << 20;
/// What is larger than this is not filled, however bounded it is.
const BYTES_MAX: u64 = 2 << 30;
/// The kernel needs some of the memory for what it does for the container, and swaps some of it out.
const BEYOND_LIMIT: u64 = 64 * MIB;
/// The engine tells of an event a moment after it.
const EVENT_DEADLINE: Duration = Duration::from_secs(3);
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What a file is to grow against.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Bound {
    Memory { limit_bytes: u64 },
    Disk { bytes: u64 },
}

/// A file that is not there yet.
#[derive(Clone, Debug)]
pub struct Fill {
    container: String,
    path: String,
    /// Who may write there.
    owner: String,
    bound: Bound,
    /// It never grows larger, whatever happens.
    mib_max: u64,
}

impl Fill {
    /// Finds out whether the container's memory has a limit that can be hit, and changes nothing.
    pub async fn of_memory(container: &Container) -> Result<Self, Refusal> {
        let asked = docker(&["inspect", "--format", "{{json .HostConfig}}", &container.id]).await?;
        let config: Value = serde_json::from_str(&asked).with_context(|| asked.clone())?;
        let (limit_bytes, bytes_max) = memory_bounds(&config).map_err(|why| skipped(container, why))?;
        let disk = Disk::of(container, "/tmp").await?;
        if disk.kind != "tmpfs" {
            return Err(skipped(container, format!("its /tmp is {}, not memory", disk.kind)));
        }
        if disk.bytes < limit_bytes {
            return Err(skipped(container, "its /tmp is smaller than its memory"));
        }
        Ok(Self::new(
            container,
            "/tmp",
            disk.owner,
            Bound::Memory { limit_bytes },
            bytes_max,
        ))
    }

    /// Finds out whether the disk with the container's data is one of its own and small, and changes nothing.
    pub async fn of_disk(container: &Container) -> Result<Self, Refusal> {
        let Some(folder) = data_folder(&container.service) else {
            return Err(skipped(container, "it has no disk with data"));
        };
        let disk = Disk::of(container, folder).await?;
        if disk.is_the_hosts || disk.kind != "tmpfs" || disk.bytes > BYTES_MAX {
            let why = "the volume is not bounded (start the stack anew, with BOUNDED_DISKS=1 make up)";
            return Err(skipped(container, why));
        }
        let bound = Bound::Disk { bytes: disk.bytes };
        Ok(Self::new(container, folder, disk.owner, bound, disk.bytes + MIB))
    }

    fn new(container: &Container, folder: &str, owner: String, bound: Bound, bytes_max: u64) -> Self {
        Self {
            container: container.id.clone(),
            path: format!("{folder}/{FILE}"),
            owner,
            bound,
            mib_max: bytes_max.div_ceil(MIB),
        }
    }

    /// Lets the file grow until it can't. Says what that came to.
    pub async fn grow(&self) -> Result<String, Refusal> {
        let since = SystemTime::now();
        self.exec(&["touch", &self.path]).await?;
        // It makes no file by itself: if this was undone already it finds none and ends.
        let (to, count) = (format!("of={}", self.path), format!("count={}", self.mib_max));
        let grow = [
            "dd",
            "if=/dev/zero",
            &to,
            "bs=1M",
            &count,
            "conv=nocreat,notrunc",
            "status=none",
        ];
        let output = docker_output(&self.arguments(&grow)).await?;
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let ended = match (output.status.success(), complaint.as_str()) {
            (true, _) => "it grew as far as it may, and nothing stopped it",
            (false, why) if why.contains("No space left") => "no space was left",
            (false, "") => "it was ended",
            (false, why) => why,
        };
        match self.bound {
            Bound::Disk { bytes } if ended == "no space was left" => Ok(format!("{} MiB full", bytes / MIB)),
            Bound::Disk { .. } => Err(Refusal::Failed(anyhow!("filling the disk: {ended}"))),
            Bound::Memory { limit_bytes } if self.hit_the_limit(since).await? => {
                Ok(format!("ended by the kernel at {} MiB", limit_bytes / MIB))
            }
            Bound::Memory { limit_bytes } => Err(Refusal::Skipped(format!(
                "the kernel ended nobody at the limit of {} MiB: {ended}",
                limit_bytes / MIB
            ))),
        }
    }

    /// Whether the kernel has ended somebody in the container for its memory. (The engine's own mark of it, `OOMKilled`, is
    /// gone with the next start, which comes at once.)
    async fn hit_the_limit(&self, since: SystemTime) -> Result<bool> {
        let container = format!("container={}", self.container);
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let from = format!("{:.3}", seconds(since));
        let asked = Instant::now();
        while asked.elapsed() < EVENT_DEADLINE {
            let until = format!("{:.3}", seconds(SystemTime::now()));
            let words = ["events", "--since", &from, "--until", &until, "--filter", &container];
            let events = [&words[..], &["--filter", "event=oom", "--format", "{{.Action}}"]].concat();
            if !docker(&events).await?.is_empty() {
                return Ok(true);
            }
            sleep(LOOK_INTERVAL).await;
        }
        Ok(false)
    }

    /// Leaves nothing behind, whatever there was.
    pub async fn remove(&self) -> Result<()> {
        // Whoever still writes goes first; a file without a name would go on growing.
        let script = r#"for process in /proc/[0-9]*; do
            if tr '\0' ' ' <"$process/cmdline" 2>/dev/null | grep -q "^dd .*of=$0 "; then
              kill -9 "${process#/proc/}" 2>/dev/null
            fi
          done
          rm -f "$0""#;
        let Err(error) = self.exec(&["sh", "-c", script, &self.path]).await else {
            return Ok(());
        };
        let asked = docker(&["inspect", "--format", "{{.State.Status}} {{.Image}}", &self.container]).await?;
        match (self.bound, asked.trim().split_once(' ')) {
            // Memory of a container that doesn't run is nobody's.
            (Bound::Memory { .. }, Some((state, _))) if state != "running" => Ok(()),
            // A full disk may be what keeps it from running.
            (Bound::Disk { .. }, Some((state, image))) if state != "running" => {
                let from = [
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "--cap-drop",
                    "ALL",
                    "--volumes-from",
                ];
                let by = [
                    &self.container,
                    "--user",
                    &self.owner,
                    "--entrypoint",
                    "rm",
                    image,
                    "-f",
                    &self.path,
                ];
                docker(&[&from[..], &by[..]].concat()).await.map(drop)
            }
            _ => Err(error),
        }
    }

    async fn exec(&self, command: &[&str]) -> Result<()> {
        let output = docker_output(&self.arguments(command)).await?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: {}", command[0], complaint.trim());
        Ok(())
    }

    fn arguments<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        [&["exec", "--user", &self.owner, &self.container], command].concat()
    }
}

fn skipped(container: &Container, why: impl AsRef<str>) -> Refusal {
    Refusal::Skipped(format!("{}: {}", label(container), why.as_ref()))
}

/// The limit of a container's memory, and what all of it with the swap comes to.
fn memory_bounds(config: &Value) -> Result<(u64, u64), &'static str> {
    let (memory, with_swap) = (config["Memory"].as_u64(), config["MemorySwap"].as_i64());
    let limit = memory.filter(|bytes| *bytes > 0).ok_or("its memory has no limit")?;
    if limit > BYTES_MAX {
        return Err("its memory has a limit of more than 2 GiB");
    }
    match with_swap {
        Some(-1) => Err("it may swap without a limit"),
        // Not said: as much again.
        Some(0) | None => Ok((limit, 2 * limit + BEYOND_LIMIT)),
        Some(with_swap) => Ok((limit, limit.max(with_swap.unsigned_abs()) + BEYOND_LIMIT)),
    }
}

/// Where a service has its data.
fn data_folder(service: &str) -> Option<&'static str> {
    let tier = service
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .trim_end_matches('-');
    match tier {
        "postgres" => Some("/var/lib/postgresql/data"),
        "sessions" => Some("/var/lib/redis"),
        "rabbitmq" => Some("/var/lib/rabbitmq"),
        "objects" => Some("/var/lib/garage"),
        "etcd" => Some("/var/lib/etcd"),
        "edge" => Some("/var/cache/zillion"),
        _ => None,
    }
}

/// What a folder in a container lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Disk {
    kind: String,
    bytes: u64,
    /// Whether it is the one that the engine has everything on.
    is_the_hosts: bool,
    owner: String,
}

impl Disk {
    async fn of(container: &Container, folder: &str) -> Result<Self> {
        // The list of hosts is a file that the engine has put there from its own disk.
        let script = r#"stat -f -c '%T %S %b' "$0" && stat -c '%d %u:%g' "$0" && stat -c %d /etc/hosts"#;
        let said = docker(&["exec", "--user", "0", &container.id, "sh", "-c", script, folder]).await?;
        Self::parse(&said).with_context(|| format!("{folder} of {}: {said:?}", label(container)))
    }

    fn parse(said: &str) -> Option<Self> {
        let mut words = said.split_whitespace();
        let (kind, block, blocks) = (words.next()?, words.next()?, words.next()?);
        let (device, owner, hosts) = (words.next()?, words.next()?, words.next()?);
        Some(Self {
            kind: kind.to_owned(),
            bytes: block.parse::<u64>().ok()?.checked_mul(blocks.parse().ok()?)?,
            is_the_hosts: device == hosts,
            owner: owner.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn memory_is_filled_only_up_to_a_limit_that_is_there_and_small() {
        let bounds = |memory: u64, with_swap: i64| memory_bounds(&json!({"Memory": memory, "MemorySwap": with_swap}));
        assert_eq!(bounds(64 * MIB, 128 * MIB as i64), Ok((64 * MIB, 192 * MIB)));
        assert_eq!(bounds(64 * MIB, 64 * MIB as i64), Ok((64 * MIB, 128 * MIB)));
        assert_eq!(bounds(64 * MIB, 0), Ok((64 * MIB, 192 * MIB)));
        assert!(bounds(0, 0).is_err());
        assert!(bounds(64 * MIB, -1).is_err());
        assert!(bounds(3 << 30, 3 << 30).is_err());
        assert!(memory_bounds(&json!({})).is_err());
    }

    #[test]
    fn a_disk_says_how_large_it_is_and_whose() {
        let own = Disk::parse("tmpfs 4096 262144\n67 10011:10011\n65024\n").unwrap();
        assert_eq!(
            (own.bytes, own.is_the_hosts, own.owner.as_str()),
            (1 << 30, false, "10011:10011")
        );
        let of_the_host = Disk::parse("ext2/ext3 4096 64000000\n65024 10011:10011\n65024\n").unwrap();
        assert!(of_the_host.is_the_hosts);
        assert_eq!(Disk::parse("tmpfs 4096"), None);
        assert_eq!(Disk::parse("tmpfs 4096 many\n67 1:1\n65024"), None);
    }

    #[test]
    fn what_has_data_has_a_folder_for_it() {
        assert_eq!(data_folder("postgres-3"), Some("/var/lib/postgresql/data"));
        assert_eq!(data_folder("edge"), Some("/var/cache/zillion"));
        assert_eq!(data_folder("inventory"), None);
        assert_eq!(data_folder("objects-setup"), None);
    }
}
