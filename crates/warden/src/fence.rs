//! The fence: may this node, which holds the leader key, be promoted?
//!
//! It may if so many members stand behind it that together with it they must include one that has every acknowledged
//! write, and that the old leader can collect no further acknowledgements. The answer holds for `/sync` as it was read,
//! so it ends in a transaction that finds `/sync` unchanged and makes every later change of it by the old leader fail.

mod judgement;
mod members;
mod numbering;

use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::cluster::{self, Cluster, ClusterKeys, Promotion};
use crate::config::FenceConfig;
use crate::etcd::{Etcd, EtcdError, Txn};
use crate::fence::judgement::{Judgement, judge};
use crate::fence::members::Members;
use crate::fence::numbering::Histories;
use crate::postgres::{Log, Postgres, PostgresError};

const LOCAL_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two looks at those who have to come over.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// `/sync` is read anew this often while they do: it may ask for others meanwhile.
const SYNC_INTERVAL: Duration = Duration::from_millis(250);

/// Whether this node may be promoted. Says why, or why not, in the log.
pub(crate) async fn run(config: &FenceConfig) -> bool {
    let began = Instant::now();
    let mut fence = Fence::new(config);
    let outcome = timeout(config.fence_timeout, fence.decide()).await;
    let took_ms = began.elapsed().as_millis() as u64;
    match outcome {
        Ok(Ok(Passed { promotion, behind })) => {
            let Promotion { number, timeline, .. } = promotion;
            info!(
                promotion = number,
                timeline, behind, took_ms, "Nothing acknowledged can be lost: this node may be promoted"
            );
            true
        }
        Ok(Err(NotLeader { holder })) => {
            warn!(holder, took_ms, "Not promoted: this node does not hold the leader key");
            false
        }
        Err(_) => {
            warn!(
                reason = fence.missing,
                took_ms, "Not promoted: something acknowledged might be lost"
            );
            false
        }
    }
}

/// The fence let the candidate through.
struct Passed {
    promotion: Promotion,
    /// The members that stand behind it.
    behind: String,
}

/// The candidate is none.
struct NotLeader {
    holder: String,
}

/// Enough members stand behind the candidate.
struct Ready {
    behind: String,
    log: Log,
}

/// Why a promotion could not be recorded.
#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error("this node's own Postgres: {0}")]
    Postgres(#[from] PostgresError),
    #[error("the histories of timelines: {0}")]
    Histories(#[from] io::Error),
}

struct Fence<'a> {
    config: &'a FenceConfig,
    etcd: Etcd,
    keys: ClusterKeys,
    local: Postgres,
    members: Members,
    /// What the last look found missing.
    missing: String,
}

impl<'a> Fence<'a> {
    fn new(config: &'a FenceConfig) -> Self {
        let cluster = &config.cluster;
        Self {
            etcd: Etcd::new(&cluster.etcd_hosts),
            keys: ClusterKeys::new(&cluster.etcd_prefix),
            local: Postgres::local(&cluster.postgres_socket_dir, cluster.postgres_port, LOCAL_TIMEOUT),
            members: Members::new(config),
            missing: "etcd did not answer".to_owned(),
            config,
        }
    }

    async fn decide(&mut self) -> Result<Passed, NotLeader> {
        let me = self.config.cluster.node.as_str();
        loop {
            let Some(cluster) = self.read().await else { continue };
            match &cluster.leader {
                Some(leader) if leader.name == me => {}
                holder => {
                    let holder = holder.as_ref().map(|leader| leader.name.clone()).unwrap_or_default();
                    return Err(NotLeader { holder });
                }
            }
            if let Some(sync) = &cluster.sync {
                self.members
                    .ask(sync.state.members().into_iter().filter(|member| *member != me));
            } else {
                warn!("There is no /sync: this cluster has promised nothing yet");
            }
            if let Some(Ready { behind, log }) = self.await_members(&cluster, Instant::now() + SYNC_INTERVAL).await {
                match self.seal(&cluster, &log).await {
                    Ok(Some(promotion)) => return Ok(Passed { promotion, behind }),
                    Ok(None) => self.missing = "the leader key or /sync changed meanwhile".to_owned(),
                    Err(error) => self.missing = error.to_string(),
                }
            }
        }
    }

    async fn read(&mut self) -> Option<Cluster> {
        match cluster::read(&self.etcd, &self.keys).await {
            Ok(cluster) => Some(cluster),
            Err(error) => {
                self.missing = error.to_string();
                sleep(LOOK_INTERVAL).await;
                None
            }
        }
    }

    /// The members that stand behind this node, once they are enough; none if they aren't until `until`.
    async fn await_members(&mut self, cluster: &Cluster, until: Instant) -> Option<Ready> {
        let me = self.config.cluster.node.as_str();
        loop {
            // The others' answers first: what they had then must not be more than what this node has now.
            let answers = self.members.answers();
            match self.local.standing().await {
                Ok(own) => match judge(me, &own, cluster.sync.as_ref().map(|sync| &sync.state), &answers) {
                    Judgement::Safe { behind } => {
                        return Some(Ready {
                            behind: behind.join(","),
                            log: own.log,
                        });
                    }
                    Judgement::Missing(missing) => self.missing = missing,
                },
                Err(error) => self.missing = format!("this node's own Postgres: {error}"),
            }
            if Instant::now() >= until {
                return None;
            }
            // Whichever comes first, the next answer or the time for another look.
            let _ = timeout_at(Instant::now() + LOOK_INTERVAL, self.members.heard()).await;
        }
    }

    /// Records the promotion, provided that the key is this node's and `/sync` still as it was judged.
    ///
    /// Writing `/sync` back unchanged takes the old leader's chance to change it: it writes by compare-and-set. The new
    /// `promotion` keeps it from taking the key back: it may do that only while `promotion` is what it saw as leader.
    /// That must still be as it was read as well, or the number of the timeline might have been used meanwhile.
    async fn seal(&mut self, cluster: &Cluster, log: &Log) -> Result<Option<Promotion>, SealError> {
        let me = self.config.cluster.node.as_str();
        let histories = Histories::of(&self.local.data_directory().await?);
        let promotion = Promotion {
            node: me.to_owned(),
            number: cluster.promotion.number + 1,
            timeline: histories.reserve(log, cluster.promotion.timeline)?,
        };
        let revision = cluster.sync.as_ref().map_or(0, |sync| sync.revision);
        let mut txn = Txn::default()
            .if_value(&self.keys.leader, me)
            .if_revision(&self.keys.sync, revision)
            .if_revision(&self.keys.promotion, cluster.promotion_revision);
        if let Some(sync) = &cluster.sync {
            txn = txn.then_put(&self.keys.sync, &sync.text, None);
        }
        let text = serde_json::json!(promotion).to_string();
        let sealed = self
            .etcd
            .commit(&txn.then_put(&self.keys.promotion, text, None))
            .await?;
        Ok(sealed.then_some(promotion))
    }
}
