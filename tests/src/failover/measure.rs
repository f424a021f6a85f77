//! The faults that are measured, how one run of each goes, and the table that comes out.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use futures::try_join;
use serde_json::{Value, json};

use crate::failover::{
    ledger::Verdict,
    scene::Scene,
    tier::{ETCD, Node, POSTGRES, Tier},
};

/// What is broken. The order is that of the table.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill,
    Stop,
    Freeze,
    Cut,
    CutFromReplicas,
    Replica,
    Etcd,
    PrimaryAndEtcdLeader,
    Watcher,
    SecondPrimary,
    PrimaryAfterReplica,
    Switchover,
}

/// Where nothing should stall, writes are watched for this long: whatever notices the dead does so within it.
const WATCHED: Duration = Duration::from_secs(5);

/// How long the primary stays cut off from its replicas: these and the milliseconds between them in turn.
const CUT_MS: std::ops::Range<u64> = 3_000..9_000;

impl Fault {
    pub const ALL: [Self; 12] = [
        Self::Kill,
        Self::Stop,
        Self::Freeze,
        Self::Cut,
        Self::CutFromReplicas,
        Self::Replica,
        Self::Etcd,
        Self::PrimaryAndEtcdLeader,
        Self::Watcher,
        Self::SecondPrimary,
        Self::PrimaryAfterReplica,
        Self::Switchover,
    ];

    /// What it is called on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Freeze => "pause",
            Self::Cut => "cut",
            Self::CutFromReplicas => "cut-from-replicas",
            Self::Replica => "replica",
            Self::Etcd => "etcd",
            Self::PrimaryAndEtcdLeader => "primary-and-etcd",
            Self::Watcher => "watcher",
            Self::SecondPrimary => "second-primary",
            Self::PrimaryAfterReplica => "primary-after-replica",
            Self::Switchover => "switchover",
        }
    }

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL of the primary",
            Self::Stop => "`docker stop` of the primary",
            Self::Freeze => "`docker pause` of the primary",
            Self::Cut => "primary cut off from the network",
            Self::CutFromReplicas => "primary cut off from its replicas, not from etcd",
            Self::Replica => "SIGKILL of a replica",
            Self::Etcd => "SIGKILL of an etcd node",
            Self::PrimaryAndEtcdLeader => "SIGKILL of the primary and the etcd leader at once",
            Self::Watcher => "SIGKILL of a watcher",
            Self::SecondPrimary => "SIGKILL of the second primary right after the first",
            Self::PrimaryAfterReplica => "SIGKILL of the primary, one replica being dead",
            Self::Switchover => "switchover",
        }
    }

    /// How often it is measured where others are measured `runs` times.
    pub fn runs(self, runs: usize) -> usize {
        match self {
            Self::CutFromReplicas => runs * 2,
            _ => runs,
        }
    }
}

/// What one run gave.
#[derive(Clone, Debug)]
pub struct Run {
    pub fault: Fault,
    pub verdict: Verdict,
    /// How long the node that was broken took to be a replica again, from its start.
    pub back_after: Option<Duration>,
}

/// Breaks the cluster once and judges what the clients saw. None if this stack has nothing that could be broken so.
pub async fn run(tier: &Tier, fault: Fault, number: usize) -> Result<Option<Run>> {
    let mut scene = Scene::begin_as_services_do(tier.clone()).await?;
    let Some(back_after) = break_and_mend(&mut scene, fault, number).await? else {
        scene.judge().await?;
        return Ok(None);
    };
    let verdict = scene.judge().await?;
    Ok(Some(Run {
        fault,
        verdict,
        back_after,
    }))
}

/// None if there is nothing to break; else the time until what was broken was a replica again, if that is a question.
async fn break_and_mend(scene: &mut Scene, fault: Fault, number: usize) -> Result<Option<Option<Duration>>> {
    let tier = scene.tier.clone();
    let primary = scene.primary().await?;
    let [replica, other] = match tier.others(primary) {
        [one, two] if number.is_multiple_of(2) => [one, two],
        [one, two] => [two, one],
    };
    scene.fault_begins();
    let back_after = match fault {
        Fault::Kill => {
            tier.kill(primary).await?;
            scene.wait_for_successor(primary).await?;
            tier.start(primary).await?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::Stop => {
            try_join!(tier.stop(primary), scene.wait_for_successor(primary))?;
            tier.start(primary).await?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::Freeze => {
            tier.freeze(primary).await?;
            scene.wait_for_successor(primary).await?;
            scene
                .wait_for_writes("by the new primary", |node| node != primary)
                .await?;
            tier.wake(primary).await?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::Cut => {
            tier.cut(primary).await?;
            scene.wait_for_successor(primary).await?;
            tier.reconnect(primary).await?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::CutFromReplicas => {
            let step = (CUT_MS.end - CUT_MS.start) / 7;
            let cut_ms = CUT_MS.start + (number as u64 * (step * 3 + 137)) % (CUT_MS.end - CUT_MS.start);
            tier.cut_off_from(primary, &[replica, other]).await?;
            tokio::time::sleep(Duration::from_millis(cut_ms)).await;
            tier.let_through(primary).await?;
            scene.wait_for_writes("after the cut", |_| true).await?;
            None
        }
        Fault::Replica => {
            tier.kill(replica).await?;
            tokio::time::sleep(WATCHED).await;
            tier.start(replica).await?;
            Some(scene.wait_for_replica(replica).await?)
        }
        Fault::Etcd => {
            tier.kill(ETCD[number % ETCD.len()]).await?;
            tokio::time::sleep(WATCHED).await;
            None
        }
        Fault::PrimaryAndEtcdLeader => {
            let etcd = tier.etcd_leader().await?;
            scene.fault_begins();
            try_join!(tier.kill(primary), tier.kill(etcd))?;
            scene.wait_for_successor(primary).await?;
            try_join!(tier.start(primary), tier.start(etcd))?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::Watcher => {
            if !tier.kill_watcher(POSTGRES[number % POSTGRES.len()]).await? {
                return Ok(None);
            }
            tokio::time::sleep(WATCHED).await;
            None
        }
        Fault::SecondPrimary => {
            tier.kill(primary).await?;
            let second = scene.wait_for_successor(primary).await?;
            tier.start(primary).await?;
            scene.fault_begins();
            tier.kill(second).await?;
            scene.wait_for_successor(second).await?;
            tier.start(second).await?;
            Some(scene.wait_for_replica(second).await?)
        }
        Fault::PrimaryAfterReplica => {
            tier.kill(replica).await?;
            wait_until_not_counted(&tier, replica).await?;
            scene.fault_begins();
            tier.kill(primary).await?;
            scene.wait_for_successor(primary).await?;
            try_join!(tier.start(primary), tier.start(replica))?;
            Some(scene.wait_for_replica(primary).await?)
        }
        Fault::Switchover => {
            try_join!(tier.switch_over(primary, replica), scene.wait_for_successor(primary))?;
            Some(scene.wait_for_replica(primary).await?)
        }
    };
    Ok(Some(back_after))
}

/// Waits until Patroni no longer counts on a dead node.
pub async fn wait_until_not_counted(tier: &Tier, dead: Node) -> Result<()> {
    crate::wait_until("the dead node no longer counts", super::scene::DEADLINE, || async {
        let members = tier.sync_members().await.map_err(|error| format!("{error:#}"))?;
        if members.iter().any(|name| name == dead.name) {
            Err(format!("/sync names {members:?}"))
        } else {
            Ok(())
        }
    })
    .await
}

/// One line of the table.
struct Row<'a> {
    fault: Fault,
    runs: Vec<&'a Run>,
}

impl Row<'_> {
    fn all(&self, value: impl Fn(&Run) -> Duration) -> Vec<Duration> {
        self.runs.iter().map(|run| value(run)).collect()
    }

    fn total(&self, value: impl Fn(&Verdict) -> usize) -> usize {
        self.runs.iter().map(|run| value(&run.verdict)).sum()
    }

    fn back_after(&self) -> Vec<Duration> {
        self.runs.iter().filter_map(|run| run.back_after).collect()
    }
}

fn rows(runs: &[Run]) -> Vec<Row<'_>> {
    let rows = Fault::ALL.into_iter().map(|fault| Row {
        fault,
        runs: runs.iter().filter(|run| run.fault == fault).collect(),
    });
    rows.filter(|row| !row.runs.is_empty()).collect()
}

/// The measurements as a Markdown table.
pub fn table(runs: &[Run]) -> String {
    let mut table = "| fault | runs | without an acknowledged write: median, max | acknowledged writes lost | failed reads \
                     | longest without a read | a replica again after (median) |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows(runs) {
        let gaps = row.all(|run| run.verdict.longest_without_write);
        let reads = row.all(|run| run.verdict.longest_without_read);
        let back = median(&row.back_after()).map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        // Writing to a string can't fail.
        let _ = writeln!(
            table,
            "| {} | {} | {:.2} s, {:.2} s | {} of {} | {} of {} | {:.2} s | {back} |",
            row.fault.title(),
            row.runs.len(),
            seconds(median(&gaps)),
            seconds(gaps.iter().max().copied()),
            row.total(|verdict| verdict.lost.len()),
            row.total(|verdict| verdict.acked),
            row.total(|verdict| verdict.failed_reads.len()),
            row.total(|verdict| verdict.reads),
            seconds(reads.iter().max().copied()),
        );
    }
    table
}

/// Every single run.
pub fn as_json(runs: &[Run]) -> Value {
    let one = |run: &Run| {
        let verdict = &run.verdict;
        json!({
            "fault": run.fault.key(),
            "without_write_seconds": verdict.longest_without_write.as_secs_f64(),
            "without_read_seconds": verdict.longest_without_read.as_secs_f64(),
            "replica_again_seconds": run.back_after.map(|time| time.as_secs_f64()),
            "acknowledged": verdict.acked,
            "lost": verdict.lost,
            "two_primaries": verdict.two_primaries,
            "refused_writes": verdict.refused_writes,
            "reads": verdict.reads,
            "failed_reads": verdict.failed_reads,
            "stale_reads": verdict.stale_reads,
            "late_reads": verdict.late_reads,
        })
    };
    runs.iter().map(one).collect()
}

/// The upper one of the middle two, where there are two: never better than it was.
fn median(times: &[Duration]) -> Option<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted.get(sorted.len() / 2).copied()
}

/// The faults that a comma-separated list of keys names; all of them without a list.
pub fn parse_faults(list: &str) -> Result<Vec<Fault>> {
    let keys: Vec<&str> = list.split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    if keys.is_empty() {
        return Ok(Fault::ALL.to_vec());
    }
    keys.iter()
        .map(|key| {
            let found = Fault::ALL.into_iter().find(|fault| fault.key() == *key);
            found.with_context(|| format!("{key:?} is none of {}", Fault::ALL.map(Fault::key).join(", ")))
        })
        .collect()
}

/// A number of runs.
pub fn parse_runs(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(runs @ 1..=1000) => Ok(runs),
        _ => bail!("{text:?} is not a number from 1 to 1000"),
    }
}

/// The time that has passed, for progress.
pub fn clock(since: Instant) -> String {
    let seconds = since.elapsed().as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_of(fault: Fault, gap_ms: u64, lost: usize) -> Run {
        let verdict = Verdict {
            acked: 100,
            reads: 50,
            lost: (0..lost).map(|number| number as i64).collect(),
            longest_without_write: Duration::from_millis(gap_ms),
            longest_without_read: Duration::from_millis(30),
            ..Verdict::default()
        };
        Run {
            fault,
            verdict,
            back_after: Some(Duration::from_secs(4)),
        }
    }

    #[test]
    fn the_table_gives_median_and_maximum_of_each_fault() {
        let runs = [
            run_of(Fault::Kill, 2000, 0),
            run_of(Fault::Kill, 9000, 0),
            run_of(Fault::Kill, 3000, 1),
        ];
        let table = table(&runs);
        assert!(
            table.contains("| 3 | 3.00 s, 9.00 s | 1 of 300 | 0 of 150 | 0.03 s | 4.0 s |"),
            "{table}"
        );
        assert_eq!(table.lines().count(), 3);
    }

    #[test]
    fn faults_are_named_by_their_keys() {
        assert_eq!(parse_faults("").unwrap().len(), Fault::ALL.len());
        assert_eq!(parse_faults("kill, pause").unwrap(), [Fault::Kill, Fault::Freeze]);
        assert!(parse_faults("kil").unwrap_err().to_string().contains("switchover"));
        assert!(parse_runs("0").is_err());
    }
}
