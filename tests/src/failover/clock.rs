//! Clocks that are wrong. They are moved by a library that every process of a node has preloaded (`deploy/test/clocks.yml`).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::Value;
use time::{OffsetDateTime, PrimitiveDateTime, format_description::well_known::Rfc3339, macros::format_description};

use crate::{
    failover::tier::{Node, POSTGRES, Tier},
    poll_until,
    stack::{docker, docker_output},
};

/// Between an event and the time that a process gives it.
const BLUR_SECONDS: i64 = 5;

const DEADLINE: Duration = Duration::from_secs(30);

/// What the supervisor of a node says when it is told to read its configuration again.
const PASSED_ON: &str = "Passing a signal on to Patroni";

impl Tier {
    /// Puts the clock of `node` wrong by so many seconds, whether it runs or not.
    pub async fn set_clock(&self, node: Node, offset_seconds: i64) -> Result<()> {
        ensure!(
            self.clocks_can_be_set().await?,
            "the clocks of this cluster are the machine's own: scripts/failover-stack up memory"
        );
        self.write_clock(node, offset_seconds).await
    }

    /// Undoes [`Tier::set_clock`] on all nodes.
    pub async fn put_clocks_right(&self) -> Result<()> {
        if self.clocks_can_be_set().await? {
            try_join_all(POSTGRES.map(|node| self.write_clock(node, 0))).await?;
        }
        Ok(())
    }

    /// Makes sure that Postgres, Patroni and the warden of `node` all take a time for the present that is wrong by so much.
    pub async fn clock_is_off_by(&self, node: Node, offset_seconds: i64) -> Result<()> {
        let since = OffsetDateTime::now_utc();
        ensure!(
            self.signal(node, "HUP", "^[^ ]*warden supervise").await?,
            "{node} has no warden"
        );
        self.wait_for_offset(node, "the warden", offset_seconds, since, warden_time)
            .await?;
        self.wait_for_offset(node, "Patroni", offset_seconds, since, patroni_time)
            .await?;
        let seen = self
            .psql(node, "postgres", "select extract(epoch from clock_timestamp())::bigint")
            .await?;
        let seen = seen.parse::<i64>()? - OffsetDateTime::now_utc().unix_timestamp();
        ensure!(
            (seen - offset_seconds).abs() <= BLUR_SECONDS,
            "the clock of Postgres on {node} is off by {seen} s instead of {offset_seconds} s"
        );
        Ok(())
    }

    /// Waits for a line of the log with a time in it that is wrong by so much. Docker notes beside each line when it came.
    async fn wait_for_offset(
        &self,
        node: Node,
        who: &str,
        offset_seconds: i64,
        since: OffsetDateTime,
        own_time: impl Fn(&str) -> Option<OffsetDateTime>,
    ) -> Result<()> {
        let container = self.container(node);
        let since = since.unix_timestamp().to_string();
        poll_until(
            &format!("the clock of {who} on {node} is off by {offset_seconds} s"),
            DEADLINE,
            Duration::from_millis(200),
            || async {
                let log = docker_output(&["logs", "--timestamps", "--since", &since, &container]).await;
                let log = log.map_err(|error| format!("{error:#}"))?;
                // The warden writes to the one, Patroni to the other.
                let log = [log.stdout, log.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned());
                let mut offsets = log.iter().flat_map(|stream| stream.lines()).filter_map(|line| {
                    let (came, said) = line.split_once(' ')?;
                    let came = OffsetDateTime::parse(came, &Rfc3339).ok()?;
                    Some((own_time(said)? - came).whole_seconds())
                });
                match offsets.next_back() {
                    Some(seen) if (seen - offset_seconds).abs() <= BLUR_SECONDS => Ok(()),
                    seen => Err(format!("{seen:?}")),
                }
            },
        )
        .await
    }

    async fn clocks_can_be_set(&self) -> Result<bool> {
        let name = format!("name=^/?{}$", self.clocks());
        Ok(!docker(&["ps", "--quiet", "--filter", &name]).await?.trim().is_empty())
    }

    async fn write_clock(&self, node: Node, offset_seconds: i64) -> Result<()> {
        let octets: String = offset_seconds
            .to_le_bytes()
            .iter()
            .map(|byte| format!("\\{byte:03o}"))
            .collect();
        // The file is mapped: it must never be shorter than it was.
        let write = format!("printf '{octets}' 1<>/clocks/{node}");
        docker(&["exec", &self.clocks(), "sh", "-c", &write])
            .await
            .map(drop)
            .with_context(|| format!("the clock of {node}"))
    }

    fn clocks(&self) -> String {
        format!("{}-clocks", self.project)
    }
}

/// When the warden says that it was told to pass a signal on.
fn warden_time(line: &str) -> Option<OffsetDateTime> {
    let line: Value = serde_json::from_str(line).ok()?;
    if line["msg"] != PASSED_ON {
        return None;
    }
    OffsetDateTime::parse(line["ts"].as_str()?, &Rfc3339).ok()
}

/// When Patroni says what it says: `2026-11-29 00:00:00,123 INFO: ...`.
fn patroni_time(line: &str) -> Option<OffsetDateTime> {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
    let (seconds, rest) = line.split_once(',')?;
    let has_level = [" INFO: ", " WARNING: ", " ERROR: "]
        .iter()
        .any(|level| rest.get(3..).is_some_and(|rest| rest.starts_with(level)));
    let time = PrimitiveDateTime::parse(seconds, format).ok()?;
    has_level.then(|| time.assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_its_writers() {
        let at = |unix| OffsetDateTime::from_unix_timestamp(unix).ok();
        let patroni = "2026-11-29 00:05:00,123 INFO: no action. I am (postgres-1), the leader with the lock";
        assert_eq!(patroni_time(patroni), at(1_795_910_700));
        let postgres = "2026-11-29 00:05:00.123 UTC [41] LOG:  checkpoint starting";
        assert_eq!(patroni_time(postgres), None);
        let warden = format!(r#"{{"ts":"2026-11-29T00:05:00Z","msg":"{PASSED_ON}"}}"#);
        assert_eq!(warden_time(&warden), at(1_795_910_700));
        assert_eq!(warden_time(r#"{"ts":"2026-11-29T00:05:00Z","msg":"Other"}"#), None);
    }
}
