//! The three etcd nodes, and the keys that Patroni keeps there.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::failover::tier::{ETCD, Node, Tier};

impl Tier {
    /// Whether `node` answers and knows a leader. (It answers nobody outside the containers that need it.)
    pub async fn etcd_is_healthy(&self, node: Node) -> bool {
        self.as_root(node, &["http-answers", "2379", "/health"]).await.is_ok()
    }

    /// The node that leads etcd.
    pub async fn etcd_leader(&self) -> Result<Node> {
        for node in ETCD {
            let command = ["etcdctl", "--command-timeout=2s", "endpoint", "status", "--write-out=json"];
            let Ok(answer) = self.as_root(node, &command).await else {
                continue;
            };
            let answer: Value = serde_json::from_str(&answer).with_context(|| answer.clone())?;
            let status = &answer[0]["Status"];
            if status["leader"].is_u64() && status["leader"] == status["header"]["member_id"] {
                return Ok(node);
            }
        }
        bail!("no etcd node says that it leads")
    }

    /// The value of one of Patroni's keys: `leader`, `sync`, `history`, `config`.
    pub async fn etcd_get(&self, key: &str) -> Result<Option<String>> {
        let key = format!("/db/shop/{key}");
        let value = self.etcdctl(&["get", "--print-value-only", &key]).await?;
        Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
    }

    /// Makes one of Patroni's keys again what it was, behind its back.
    pub async fn etcd_put_back(&self, key: &str, value: Option<&str>) -> Result<()> {
        let key = format!("/db/shop/{key}");
        let command = match value {
            Some(value) => vec!["put", &key, value],
            None => vec!["del", &key],
        };
        self.etcdctl(&command).await.map(drop)
    }

    /// The names that `/sync` lists: the leader, and those of whom some have every acknowledged write.
    pub async fn sync_members(&self) -> Result<Vec<String>> {
        let sync = self.etcd_get("sync").await?.context("there is no /sync")?;
        let sync: Value = serde_json::from_str(&sync).with_context(|| format!("/sync: {sync}"))?;
        let voters = sync["sync_standby"].as_str().unwrap_or_default().split(',');
        let leader = sync["leader"].as_str().unwrap_or_default();
        Ok(std::iter::once(leader)
            .chain(voters)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect())
    }

    async fn etcdctl(&self, command: &[&str]) -> Result<String> {
        let mut last_error = None;
        for node in ETCD {
            let mut arguments = vec!["etcdctl", "--command-timeout=2s"];
            arguments.extend(command);
            match self.as_root(node, &arguments).await {
                Ok(answer) => return Ok(answer),
                Err(error) => last_error = Some(error),
            }
        }
        Err(last_error.context("there is no etcd node")?)
    }
}
