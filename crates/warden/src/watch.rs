//! The watcher: looks whether the leader lives, votes when it doesn't, and deletes its key when enough have voted.
//!
//! It holds no power that could lose anything: a needless deletion costs an election, and the fence decides who may
//! be promoted. It may die at any moment; a vote ends with its lease.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};

use crate::cluster::{self, Cluster, ClusterError, ClusterKeys, Leader};
use crate::config::WatchConfig;
use crate::etcd::{Etcd, LeaseId, Txn};
use crate::follow::{self, Picture};
use crate::postgres::{Postgres, WalReceiver};
use crate::probe;
use crate::suspicion::{Observation, Suspicion, Verdict, Wal};

/// This node's own Postgres answers in a millisecond, or is in trouble itself.
const LOCAL_TIMEOUT: Duration = Duration::from_millis(400);
/// Between two looks at a leader that is under suspicion.
const SUSPECT_INTERVAL: Duration = Duration::from_millis(50);
/// A vote ends so long after its watcher last held the leader for dead.
const VOTE_TTL: Duration = Duration::from_secs(3);
/// How long a vote waits for others before the leader is looked at again.
const VOTE_WAIT: Duration = Duration::from_millis(300);
/// A leader's key is deleted at most once in this time: a primary that is cut off from its replicas, but not from
/// etcd, takes the key back, and should then be left alone.
const DELETION_INTERVAL: Duration = Duration::from_secs(10);

/// While this node leads, or nobody does, it asks so often whether that is still so.
const STANDING_DOWN: Duration = Duration::from_secs(2);

/// Watches for ever.
pub(crate) async fn run(config: WatchConfig) {
    let etcd = Arc::new(Etcd::new(&config.cluster.etcd_hosts));
    let keys = ClusterKeys::new(&config.cluster.etcd_prefix);
    let picture = Picture::new();
    let mut watcher = Watcher::new(config, Arc::clone(&etcd), keys.clone(), picture.clone());
    tokio::join!(follow::run(etcd, keys, picture), watcher.run());
}

struct Watcher {
    config: WatchConfig,
    etcd: Arc<Etcd>,
    keys: ClusterKeys,
    picture: Picture,
    cluster: watch::Receiver<Cluster>,
    local: Postgres,
    hearing: Hearing,
    suspicion: Suspicion,
    last_verdict: Verdict,
    vote: Option<Vote>,
    warned_of_interval: bool,
}

struct Vote {
    leader: Leader,
    lease: LeaseId,
}

impl Watcher {
    fn new(config: WatchConfig, etcd: Arc<Etcd>, keys: ClusterKeys, picture: Picture) -> Self {
        let local = &config.cluster;
        Self {
            local: Postgres::local(&local.postgres_socket_dir, local.postgres_port, LOCAL_TIMEOUT),
            hearing: Hearing::new(config.wal_silence),
            suspicion: Suspicion::new(config.gone_after, config.frozen_after),
            cluster: picture.subscribe(),
            last_verdict: Verdict::Alive,
            vote: None,
            warned_of_interval: false,
            config,
            etcd,
            keys,
            picture,
        }
    }

    async fn run(&mut self) {
        loop {
            let Some(leader) = self.leader_to_watch() else {
                self.stand_down().await;
                match timeout(STANDING_DOWN, self.cluster.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return,
                    // An etcd that is frozen ends no stream, and another may lead by now. If it can't be read, the
                    // next look is soon.
                    Err(_) => drop(self.read().await),
                }
                continue;
            };
            let verdict = self.look(&leader).await;
            self.tell(&leader, verdict);
            let pause = match verdict {
                Verdict::Alive | Verdict::Blind => {
                    self.withdraw_vote().await;
                    self.config.look_interval
                }
                Verdict::Suspect => SUSPECT_INTERVAL,
                Verdict::Gone | Verdict::Frozen => {
                    if let Err(error) = self.vote_and_delete(&leader).await {
                        warn!(error = &error as &dyn std::error::Error, "The vote could not be cast");
                    }
                    SUSPECT_INTERVAL
                }
            };
            sleep(pause).await;
        }
    }

    /// The leader, unless that is this node, or Patroni is paused.
    fn leader_to_watch(&mut self) -> Option<Leader> {
        let cluster = self.cluster.borrow_and_update();
        let others = |leader: &&Leader| leader.name != self.config.cluster.node.as_str() && !cluster.paused;
        cluster.leader.as_ref().filter(others).cloned()
    }

    async fn stand_down(&mut self) {
        self.suspicion.clear();
        self.last_verdict = Verdict::Alive;
        self.withdraw_vote().await;
    }

    /// Asks this node's own Postgres first: while that hears from the leader, nothing goes over the network.
    async fn look(&mut self, leader: &Leader) -> Verdict {
        let began = Instant::now();
        let wal = match self.local.wal_receiver().await {
            Ok(Some(receiver)) => self.hearing.judge(&leader.name, receiver, began),
            // A primary that doesn't lead, or none at all: Patroni is at work on it.
            Ok(None) | Err(_) => Wal::Unknown,
        };
        let mut observation = Observation {
            wal,
            patroni_answers: false,
            accepts_connections: false,
        };
        if wal == Wal::Silent {
            if self.last_verdict == Verdict::Alive && !self.still_leads(leader).await {
                return Verdict::Alive;
            }
            (observation.patroni_answers, observation.accepts_connections) = tokio::join!(
                probe::patroni_answers(&leader.name, self.config.patroni_port),
                probe::accepts_connections(&leader.name, self.config.cluster.postgres_port),
            );
        }
        self.suspicion.consider(observation, began, Instant::now())
    }

    /// The cluster as it is now, which is also what the picture shows from now on.
    async fn read(&self) -> Result<Cluster, ClusterError> {
        let cluster = cluster::read(&self.etcd, &self.keys).await?;
        self.picture.update(cluster.clone());
        Ok(cluster)
    }

    /// The picture may be old where etcd froze: a suspicion starts with a fresh one, if there is one to be had.
    async fn still_leads(&self, leader: &Leader) -> bool {
        self.read()
            .await
            .map_or(true, |cluster| cluster.leader.as_ref() == Some(leader))
    }

    fn tell(&mut self, leader: &Leader, verdict: Verdict) {
        if verdict == self.last_verdict {
            return;
        }
        let suspected = !matches!(verdict, Verdict::Alive | Verdict::Blind);
        metrics::gauge!("warden_leader_suspected").set(if suspected { 1.0 } else { 0.0 });
        let leader = &leader.name;
        match verdict {
            Verdict::Alive => info!(leader, "The leader lives"),
            Verdict::Blind => info!(
                leader,
                "This node's own Postgres says nothing: no judgement of the leader"
            ),
            Verdict::Suspect => info!(leader, "No WAL and no answer from the leader"),
            Verdict::Gone => warn!(leader, "The leader is gone: it accepts no connection"),
            Verdict::Frozen => warn!(leader, "The leader is frozen: it accepts connections and says nothing"),
        }
        self.last_verdict = verdict;
    }

    /// Votes, and sees to the deletion if that was the vote that was missing, or the next comes soon.
    async fn vote_and_delete(&mut self, leader: &Leader) -> Result<(), ClusterError> {
        self.cast_vote(leader).await?;
        let until = Instant::now() + VOTE_WAIT;
        loop {
            let cluster = self.read().await?;
            if cluster.leader.as_ref() != Some(leader) || cluster.paused {
                return Ok(());
            }
            if cluster.is_voted_dead() {
                if !cluster.deletions.contains(&leader.name) {
                    return self.delete(leader, &cluster).await;
                }
                if !std::mem::replace(&mut self.warned_of_interval, true) {
                    info!(
                        leader = leader.name,
                        "Voted dead again; its key was deleted moments ago and stays for now"
                    );
                }
            }
            self.cluster.borrow_and_update();
            if timeout_at(until, self.cluster.changed()).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn cast_vote(&mut self, leader: &Leader) -> Result<(), ClusterError> {
        let cast = self.vote.as_ref().filter(|vote| vote.leader == *leader);
        if let Some(vote) = cast
            && self.etcd.keep_alive(vote.lease).await?
        {
            return Ok(());
        }
        self.withdraw_vote().await;
        let lease = self.etcd.grant_lease(VOTE_TTL).await?;
        let vote = self.keys.vote_of(self.config.cluster.node.as_str());
        let txn = Txn::default().if_revision(&self.keys.leader, leader.revision).then_put(
            &vote,
            leader.revision.to_string(),
            Some(lease),
        );
        if self.etcd.commit(&txn).await? {
            warn!(leader = leader.name, leader.revision, "Voted that the leader is dead");
            metrics::counter!("warden_votes_total").increment(1);
            self.warned_of_interval = false;
        }
        self.vote = Some(Vote {
            leader: leader.clone(),
            lease,
        });
        Ok(())
    }

    async fn withdraw_vote(&mut self) {
        if let Some(vote) = self.vote.take() {
            // Where it fails, the lease runs out by itself.
            let _ = self.etcd.revoke(vote.lease).await;
        }
    }

    /// Deletes the leader key, and writes `/sync` back unchanged: a leader that lives after all, and is just about to
    /// write that its replicas are gone, then fails at it. The deletion comes first, so that whoever watches both
    /// keys never sees the new `/sync` beside the old leader.
    async fn delete(&mut self, leader: &Leader, cluster: &Cluster) -> Result<(), ClusterError> {
        let Some(sync) = &cluster.sync else { return Ok(()) };
        let lease = self.etcd.grant_lease(DELETION_INTERVAL).await?;
        let deletion = self.keys.deletion_of(&leader.name);
        let txn = Txn::default()
            .if_revision(&self.keys.leader, leader.revision)
            .if_revision(&self.keys.sync, sync.revision)
            .if_revision(&deletion, 0)
            .then_delete(&self.keys.leader)
            .then_put(&self.keys.sync, &sync.text, None)
            .then_put(&deletion, self.config.cluster.node.as_str(), Some(lease));
        let deleted = self.etcd.commit(&txn).await?;
        let votes: Vec<_> = cluster.votes.keys().map(String::as_str).collect();
        let votes = votes.join(",");
        if deleted {
            warn!(leader = leader.name, votes, "Deleted the key of the dead leader");
        } else {
            info!(
                leader = leader.name,
                votes, "The key of the dead leader was no longer as it was"
            );
        }
        let outcome = if deleted { "deleted" } else { "too_late" };
        metrics::counter!("warden_deletions_total", "outcome" => outcome).increment(1);
        Ok(())
    }
}

/// What this node's WAL receiver heard, by this process's own clock: the machine's may jump.
struct Hearing {
    silence: Duration,
    heard: Option<String>,
    changed_at: Instant,
}

impl Hearing {
    fn new(silence: Duration) -> Self {
        Self {
            silence,
            heard: None,
            changed_at: Instant::now(),
        }
    }

    fn judge(&mut self, leader: &str, receiver: WalReceiver, now: Instant) -> Wal {
        if receiver.streams_from.as_deref() != Some(leader) {
            return Wal::Silent;
        }
        if receiver.heard != self.heard {
            self.heard = receiver.heard;
            self.changed_at = now;
        }
        if now.duration_since(self.changed_at) < self.silence {
            Wal::Fresh
        } else {
            Wal::Silent
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wal_is_fresh_while_something_new_is_heard_from_the_leader() {
        let mut hearing = Hearing::new(Duration::from_millis(1700));
        let start = Instant::now();
        let mut judge = |milliseconds, from: Option<&str>, heard: &str| {
            let now = start + Duration::from_millis(milliseconds);
            let receiver = WalReceiver {
                streams_from: from.map(str::to_owned),
                heard: Some(heard.to_owned()),
            };
            hearing.judge("postgres-1", receiver, now)
        };
        assert_eq!(judge(0, Some("postgres-1"), "a"), Wal::Fresh);
        assert_eq!(judge(1699, Some("postgres-1"), "a"), Wal::Fresh);
        assert_eq!(judge(1700, Some("postgres-1"), "a"), Wal::Silent);
        assert_eq!(judge(1701, Some("postgres-1"), "b"), Wal::Fresh);
        // What somebody else sends says nothing about the leader.
        assert_eq!(judge(1702, Some("postgres-3"), "c"), Wal::Silent);
        assert_eq!(judge(1703, None, "c"), Wal::Silent);
    }
}
