//! What Patroni says of the cluster, by its REST interface.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use serde_json::Value;

use crate::{
    failover::tier::{Node, POSTGRES, Tier},
    poll_until,
};

/// A member as Patroni lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// `leader`, `quorum_standby`, `replica`.
    pub role: String,
    /// `running` for the leader, `streaming` for a replica that follows.
    pub state: String,
    pub timeline: Option<i64>,
}

/// One leader, and two on its timeline that may acknowledge.
pub fn is_whole(members: &[Member]) -> bool {
    let Some(leader) = members
        .iter()
        .find(|member| member.role == "leader" && member.state == "running")
    else {
        return false;
    };
    let voters = members
        .iter()
        .filter(|member| member.role == "quorum_standby" && member.state == "streaming")
        .filter(|member| member.timeline == leader.timeline);
    members.len() == POSTGRES.len() && voters.count() == POSTGRES.len() - 1
}

/// The members in a line.
pub fn describe(members: &[Member]) -> String {
    let words = members.iter().map(|member| {
        let timeline = member.timeline.map_or("?".to_owned(), |timeline| timeline.to_string());
        format!("{} {} {} on {timeline}", member.name, member.role, member.state)
    });
    words.collect::<Vec<_>>().join(", ")
}

impl Tier {
    /// The host that holds the leader's key and runs as primary; of two that say so, the one on the newer timeline.
    pub async fn primary(&self) -> Option<Node> {
        let answers = join_all(POSTGRES.map(async |node| {
            let answer = self.ask_patroni(node, "primary").await.ok()?;
            Some((answer["timeline"].as_i64().unwrap_or(0), node))
        }));
        answers
            .await
            .into_iter()
            .flatten()
            .max_by_key(|(timeline, _)| *timeline)
            .map(|(_, node)| node)
    }

    /// Waits for a primary of which `suits` holds.
    pub async fn wait_for_primary(&self, deadline: Duration, suits: impl Fn(Node) -> bool) -> Result<Node> {
        let found = std::cell::Cell::new(None);
        poll_until("there is a primary", deadline, Duration::from_millis(50), || async {
            let primary = self.primary().await;
            found.set(primary.filter(|node| suits(*node)));
            found.get().map(drop).ok_or_else(|| format!("primary: {primary:?}"))
        })
        .await?;
        found.get().context("the primary was just found")
    }

    /// The two that are not `primary`.
    pub fn others(&self, primary: Node) -> [Node; 2] {
        let mut others = POSTGRES.into_iter().filter(|node| *node != primary);
        [others.next(), others.next()].map(|node| node.unwrap_or(primary))
    }

    /// The members, as the primary sees them.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let primary = self.primary().await.context("there is no primary")?;
        let listing = self.ask_patroni(primary, "cluster").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = listing["members"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(members
            .iter()
            .map(|member| Member {
                name: text(&member["name"]),
                role: text(&member["role"]),
                state: text(&member["state"]),
                timeline: member["timeline"].as_i64(),
            })
            .collect())
    }

    /// When the Patroni of `node` last had news from etcd, in Unix seconds.
    pub async fn last_look_at_etcd(&self, node: Node) -> Result<i64> {
        let status = self.ask_patroni(node, "patroni").await?;
        status["dcs_last_seen"]
            .as_i64()
            .with_context(|| format!("{node} doesn't say: {status}"))
    }

    /// Whether the Patroni of `node` asks the other members, because etcd doesn't answer, if it may lead on.
    pub async fn is_in_failsafe_mode(&self, node: Node) -> Result<bool> {
        let status = self.ask_patroni(node, "patroni").await?;
        Ok(status["failsafe_mode_is_active"].as_bool().unwrap_or(false))
    }

    /// Makes `to` the primary in place of `from`.
    pub async fn switch_over(&self, from: Node, to: Node) -> Result<()> {
        let command = ["switchover", "--force", "--primary", from.name, "--candidate", to.name];
        self.patronictl(from, &command).await.map(drop)
    }

    /// Lets nobody be promoted until [`Tier::end_pause`].
    pub async fn pause_failover(&self) -> Result<()> {
        let primary = self.primary().await.context("there is no primary")?;
        self.patronictl(primary, &["pause", "--wait"]).await.map(drop)
    }

    /// Lets Patroni do its work again, if it was told to pause.
    pub async fn end_pause(&self) -> Result<()> {
        if self
            .etcd_get("config")
            .await?
            .is_some_and(|config| config.contains("\"pause\": true") || config.contains("\"pause\":true"))
        {
            self.patronictl(POSTGRES[0], &["resume"]).await?;
        }
        Ok(())
    }

    /// Gives a replica a new copy of the primary's data.
    pub async fn copy_anew(&self, replica: &str) -> Result<()> {
        let primary = self.primary().await.context("there is no primary")?;
        let command = ["reinit", "shop", replica, "--force"];
        self.patronictl(primary, &command).await.map(drop)
    }

    /// A setting of Postgres, as it is on `node`.
    pub async fn parameter(&self, node: Node, name: &str) -> Result<String> {
        let show = format!("select current_setting('{name}')");
        self.psql(node, "postgres", &show).await
    }

    /// Changes a setting of Postgres on all members, and waits until they have it.
    pub async fn set_parameter(&self, name: &str, value: &str) -> Result<()> {
        let setting = format!("{name}={value}");
        let primary = self.primary().await.context("there is no primary")?;
        self.patronictl(primary, &["edit-config", "--force", "--quiet", "--pg", &setting])
            .await?;
        for node in POSTGRES {
            poll_until(
                "the setting has arrived",
                Duration::from_secs(30),
                Duration::from_millis(100),
                || async {
                    let seen = self.parameter(node, name).await.map_err(|error| error.to_string())?;
                    if seen == value {
                        Ok(())
                    } else {
                        Err(format!("{name} is {seen} on {node}"))
                    }
                },
            )
            .await?;
        }
        Ok(())
    }

    async fn patronictl(&self, node: Node, command: &[&str]) -> Result<String> {
        let mut arguments = vec!["patronictl", "-c", "/run/zillion/patroni.yml"];
        arguments.extend(command);
        self.as_postgres(node, &arguments).await
    }

    async fn ask_patroni(&self, node: Node, path: &str) -> Result<Value> {
        let response = self
            .http
            .get(format!("http://{}:8008/{path}", self.address(node)))
            .send()
            .await?;
        ensure!(response.status().is_success(), "{node}: {}", response.status());
        Ok(response.json().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, role: &str, state: &str, timeline: i64) -> Member {
        Member {
            name: name.to_owned(),
            role: role.to_owned(),
            state: state.to_owned(),
            timeline: Some(timeline),
        }
    }

    #[test]
    fn a_cluster_is_whole_when_both_replicas_may_acknowledge() {
        let leader = member("a", "leader", "running", 3);
        let voter = member("b", "quorum_standby", "streaming", 3);
        let behind = member("c", "quorum_standby", "streaming", 2);
        let replica = member("c", "replica", "streaming", 3);
        assert!(is_whole(&[
            leader.clone(),
            voter.clone(),
            Member {
                name: "c".to_owned(),
                ..voter.clone()
            }
        ]));
        assert!(!is_whole(&[leader.clone(), voter.clone()]));
        assert!(!is_whole(&[leader.clone(), voter.clone(), behind]));
        assert!(!is_whole(&[leader, voter, replica]));
    }
}
