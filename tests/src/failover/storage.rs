//! Disks that are full, and slots that hold too much.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    failover::tier::{Node, Tier},
    poll_until,
};

const DATA: &str = "/var/lib/postgresql/data";

/// A disk larger than this is no disk that was made to be filled.
const DISK_MIB_MAX: u64 = 2048;

const DEADLINE: Duration = Duration::from_secs(60);

impl Tier {
    /// Whether the disk of `node` is one that may be filled: in memory, with a bound (`scripts/failover-stack up memory`).
    pub async fn disk_may_be_filled(&self, node: Node) -> Result<bool> {
        let seen = self
            .as_postgres(node, &["df", "--output=fstype,size", "--block-size=1M", DATA])
            .await?;
        let mut words = seen.lines().last().unwrap_or_default().split_whitespace();
        let in_memory = words.next() == Some("tmpfs");
        let size_mib: u64 = words.next().unwrap_or_default().parse()?;
        Ok(in_memory && size_mib <= DISK_MIB_MAX)
    }

    /// How much of the disk of `node` is in use, in words.
    pub async fn disk_in_use(&self, node: Node) -> String {
        let seen = self.as_postgres(node, &["df", "--output=pcent", DATA]).await;
        let seen = seen.as_deref().ok().and_then(|lines| lines.lines().last());
        format!("{node} {}", seen.unwrap_or("unknown").trim())
    }

    /// Takes all the room that is left on the disk of `node`.
    pub async fn fill_disk(&self, node: Node) -> Result<()> {
        ensure!(
            self.disk_may_be_filled(node).await?,
            "{node} has a disk that others use too"
        );
        let fill = format!("cat /dev/zero >{DATA}/ballast; test -s {DATA}/ballast");
        self.as_postgres(node, &["sh", "-c", &fill]).await.map(drop)
    }

    /// Gives it back.
    pub async fn empty_disk(&self, node: Node) -> Result<()> {
        self.as_postgres(node, &["rm", "-f", &format!("{DATA}/ballast")])
            .await
            .map(drop)
    }

    /// Starts new segments of the log until the server of `node` has found no room for one, and is gone.
    pub async fn use_the_log_up(&self, node: Node) -> Result<()> {
        let switch = "select pg_logical_emit_message(false, 'failover', 'a new segment'); select pg_switch_wal()";
        poll_until("the disk is full", DEADLINE, Duration::from_millis(10), || async {
            match self.psql(node, "postgres", switch).await {
                Ok(position) => Err(position),
                Err(_) => Ok(()),
            }
        })
        .await
    }

    /// Makes the log of the primary longer than that of its replicas, by what nobody acknowledges: it is killed before
    /// they notice that they were cut off.
    pub async fn kill_with_a_tail(&self, primary: Node) -> Result<()> {
        self.cut_off_from(primary, &self.others(primary)).await?;
        let write = "select pg_logical_emit_message(false, 'failover', repeat('x', 250000), true)";
        self.psql(primary, "postgres", write).await?;
        self.kill(primary).await
    }

    /// Writes log on the primary until it no longer keeps what a dead replica lacks, whose slot it has given up.
    pub async fn outgrow_slot(&self, primary: Node) -> Result<()> {
        let last = "select substr(pg_walfile_name(pg_current_wal_lsn()), 9)";
        let last = self.psql(primary, "postgres", last).await?;
        let kept =
            format!("select count(*) from pg_ls_waldir() where length(name) = 24 and substr(name, 9) <= '{last}'");
        let write = "select count(pg_logical_emit_message(false, 'failover', repeat('x', 1000000))) from generate_series(1, 16);
                     select pg_switch_wal(); checkpoint";
        poll_until(
            "the log is thrown away",
            DEADLINE,
            Duration::from_millis(10),
            || async {
                let said = async |sql| {
                    let said = self.psql(primary, "postgres", sql).await;
                    said.map_err(|error| format!("{error:#}"))
                };
                said(write).await?;
                match said(&kept).await?.as_str() {
                    "0" => Ok(()),
                    count => Err(format!("{count} segments up to {last} are kept")),
                }
            },
        )
        .await
    }
}
