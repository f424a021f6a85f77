//! A whole cluster under clients: what every test and every measured run begins and ends with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shop_db::ClusterConfig;

use crate::{
    failover::{
        clients::{Clients, Login},
        ledger::Verdict,
        tier::{Node, Tier},
    },
    poll_until,
};

/// Patroni alone takes 22 s for a failover; a busy machine takes its time for everything.
pub const DEADLINE: Duration = Duration::from_secs(120);

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// So many answers show that something works, and wasn't a leftover.
const ENOUGH: usize = 30;

/// So long a Patroni must have done without a leader to show that it elects none. It looks once a second.
const LEADERLESS_SECONDS: i64 = 4;

/// A run in progress.
pub struct Scene {
    pub tier: Tier,
    pub clients: Clients,
    fault_at: Instant,
}

impl Scene {
    /// Heals the cluster and lets the clients loose on it.
    pub async fn begin() -> Result<Self> {
        // What shop-db saw is shown where a test fails.
        let _ = tracing_subscriber::fmt().with_test_writer().with_ansi(false).try_init();
        let tier = Tier::from_env()?;
        tier.heal_or_copy_anew().await?;
        let login = Login::prepare(&tier).await?;
        let config = login.patient_cluster_config()?;
        Self::begin_on(tier, login, config).await
    }

    /// [`Scene::begin`] with the deadlines that the services have, to be measured.
    pub async fn begin_as_services_do(tier: Tier) -> Result<Self> {
        tier.heal_or_copy_anew().await?;
        let login = Login::prepare(&tier).await?;
        let config = login.cluster_config()?;
        Self::begin_on(tier, login, config).await
    }

    async fn begin_on(tier: Tier, login: Login, config: ClusterConfig) -> Result<Self> {
        let clients = Clients::start(&tier, login, config).await?;
        let scene = Self {
            tier,
            clients,
            fault_at: Instant::now(),
        };
        scene.wait_for_writes("at the beginning", |_| true).await?;
        scene.wait_for_reads("at the beginning", |_| true).await?;
        Ok(Self {
            fault_at: Instant::now(),
            ..scene
        })
    }

    /// Who leads.
    pub async fn primary(&self) -> Result<Node> {
        self.tier.primary().await.context("there is no primary")
    }

    /// The timeline of whoever leads.
    pub async fn timeline(&self) -> Result<i64> {
        let members = self.tier.members().await?;
        let leader = members.iter().find(|member| member.role == "leader");
        leader
            .and_then(|leader| leader.timeline)
            .context("the leader doesn't say its timeline")
    }

    /// From now on times count.
    pub fn fault_begins(&mut self) {
        self.fault_at = Instant::now();
    }

    /// Waits until writes that are sent from now on are acknowledged by a host of which `suits` holds.
    pub async fn wait_for_writes(&self, when: &str, suits: impl Fn(Node) -> bool) -> Result<()> {
        let since = Instant::now();
        self.wait_for(&format!("writes are acknowledged {when}"), || {
            let writes = self.clients.ledger.writes_since(since, &suits);
            if writes >= ENOUGH {
                Ok(())
            } else {
                Err(format!("{writes} of {ENOUGH}, {:?}", self.clients.cluster.status()))
            }
        })
        .await
    }

    /// Waits until one write that is sent from now on is acknowledged by another host than `old`, and says by which.
    pub async fn wait_for_successor(&self, old: Node) -> Result<Node> {
        let since = Instant::now();
        self.wait_for(&format!("somebody else than {old} acknowledges a write"), || {
            let writes = self.clients.ledger.writes_since(since, |node| node != old);
            if writes > 0 {
                Ok(())
            } else {
                Err(format!("{:?}", self.clients.cluster.status()))
            }
        })
        .await?;
        self.tier.wait_for_primary(DEADLINE, |node| node != old).await
    }

    /// Waits until reads are answered by a host of which `suits` holds.
    pub async fn wait_for_reads(&self, when: &str, suits: impl Fn(Node) -> bool) -> Result<()> {
        let since = Instant::now();
        self.wait_for(&format!("reads are answered {when}"), || {
            let reads = self.clients.ledger.reads_since(since, &suits);
            if reads >= ENOUGH {
                Ok(())
            } else {
                Err(format!("{reads} of {ENOUGH}, {:?}", self.clients.cluster.status()))
            }
        })
        .await
    }

    /// Waits until `node` follows the newest timeline, and says how long that took.
    pub async fn wait_for_replica(&self, node: Node) -> Result<Duration> {
        let since = Instant::now();
        self.wait_for(&format!("{node} is a replica again"), || {
            if self.clients.is_replica(node) {
                Ok(())
            } else {
                Err(format!("{:?}", self.clients.cluster.status()))
            }
        })
        .await?;
        Ok(since.elapsed())
    }

    /// Makes sure that nobody is promoted among those who are `up`: their Patronis have looked at etcd for a while in which
    /// nobody led.
    pub async fn nobody_leads(&self, up: &[Node]) -> Result<()> {
        poll_until("the dead leader's key is gone", DEADLINE, LOOK_INTERVAL * 5, || async {
            match self.tier.etcd_get("leader").await {
                Ok(None) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await?;
        let since = Instant::now();
        for node in up {
            let first = std::cell::Cell::new(None);
            poll_until("Patroni has looked at etcd", DEADLINE, LOOK_INTERVAL * 5, || async {
                let last = self
                    .tier
                    .last_look_at_etcd(*node)
                    .await
                    .map_err(|error| format!("{error:#}"))?;
                let first = first.get().unwrap_or_else(|| first.replace(Some(last)).unwrap_or(last));
                if last - first >= LEADERLESS_SECONDS {
                    Ok(())
                } else {
                    Err(format!("{node} for {} s", last - first))
                }
            })
            .await?;
        }
        let leader = self.tier.etcd_get("leader").await?;
        let writes = self.clients.ledger.writes_since(since, |_| true);
        ensure!(
            leader.is_none() && writes == 0,
            "{leader:?} leads, and {writes} writes were acknowledged"
        );
        Ok(())
    }

    /// Waits until `condition` holds.
    pub async fn wait_for(&self, what: &str, condition: impl Fn() -> Result<(), String>) -> Result<()> {
        poll_until(what, DEADLINE, LOOK_INTERVAL, || std::future::ready(condition())).await
    }

    /// Heals the cluster, lets the clients go on for a moment, and judges what they saw.
    pub async fn judge(self) -> Result<Verdict> {
        self.tier.heal().await?;
        self.wait_for_writes("at the end", |_| true).await?;
        self.wait_for_reads("at the end", |_| true).await?;
        self.clients.stop(self.fault_at).await
    }

    /// [`Scene::end`] after a time in which nobody was left who could have served every read: those may have failed.
    pub async fn end_after_darkness(self) -> Result<Verdict> {
        let verdict = self.judge().await?;
        println!("{verdict}");
        let offences = Verdict {
            failed_reads: Vec::new(),
            ..verdict.clone()
        }
        .offences();
        ensure!(offences.is_empty(), "{}", offences.join("; "));
        Ok(verdict)
    }

    /// Judges, prints what was seen, and fails if anything happened that never may.
    pub async fn end(self) -> Result<Verdict> {
        let verdict = self.judge().await?;
        println!("{verdict}");
        let offences = verdict.offences();
        ensure!(offences.is_empty(), "{}", offences.join("; "));
        Ok(verdict)
    }
}
