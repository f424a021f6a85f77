//! What etcd says about the cluster, and what follows from it: who belongs to it, how many votes a deletion takes,
//! and how many members a promotion takes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::Prefix;
use crate::etcd::{Etcd, EtcdError, Keys, Snapshot};

/// The names of the cluster's keys. `leader`, `sync` and `config` are Patroni's, the others ours.
#[derive(Clone, Debug)]
pub(crate) struct ClusterKeys {
    pub(crate) leader: String,
    pub(crate) sync: String,
    pub(crate) config: String,
    /// Who was promoted last, the how manieth promotion that was, and the timeline that it began: written by the fence.
    pub(crate) promotion: String,
    votes: String,
    deletions: String,
}

impl ClusterKeys {
    pub(crate) fn new(prefix: &Prefix) -> Self {
        Self {
            leader: prefix.key("leader"),
            sync: prefix.key("sync"),
            config: prefix.key("config"),
            promotion: prefix.key("promotion"),
            votes: prefix.key("votes/"),
            deletions: prefix.key("deletions/"),
        }
    }

    /// A node's vote that the leader is dead: the revision of the leader key that it is about.
    pub(crate) fn vote_of(&self, node: &str) -> String {
        format!("{}{node}", self.votes)
    }

    /// There for some seconds after `leader`'s key was deleted.
    pub(crate) fn deletion_of(&self, leader: &str) -> String {
        format!("{}{leader}", self.deletions)
    }

    pub(crate) fn all(&self) -> [Keys; 6] {
        [
            Keys::One(self.leader.clone()),
            Keys::One(self.sync.clone()),
            Keys::One(self.config.clone()),
            Keys::One(self.promotion.clone()),
            Keys::StartingWith(self.votes.clone()),
            Keys::StartingWith(self.deletions.clone()),
        ]
    }
}

/// The cluster as etcd knew it at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// The store's revision at that moment.
    pub(crate) revision: i64,
    pub(crate) leader: Option<Leader>,
    pub(crate) sync: Option<Sync>,
    pub(crate) promotion: Promotion,
    /// Zero while nobody was promoted.
    pub(crate) promotion_revision: i64,
    /// Who voted, and about which revision of the leader key.
    pub(crate) votes: BTreeMap<String, i64>,
    /// Leaders whose key was deleted moments ago.
    pub(crate) deletions: BTreeSet<String>,
    /// Whether an operator has told Patroni to keep its hands off.
    pub(crate) paused: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    pub(crate) name: String,
    pub(crate) revision: i64,
}

/// `/sync` as Patroni wrote it, with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sync {
    pub(crate) revision: i64,
    /// Byte for byte, to be written back unchanged.
    pub(crate) text: String,
    pub(crate) state: SyncState,
}

/// Who has what: any `quorum` + 1 of the members include one that has every acknowledged write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyncState {
    pub(crate) leader: Option<String>,
    pub(crate) voters: BTreeSet<String>,
    pub(crate) quorum: usize,
}

/// The last promotion that a fence let through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub(crate) node: String,
    pub(crate) number: u64,
    /// The timeline that it begins. No promotion before it has begun one of that number or a greater one.
    #[serde(default)]
    pub(crate) timeline: u32,
}

/// Why a key of the cluster can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterError {
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    #[error("{key} can't be read")]
    Unreadable { key: String, source: serde_json::Error },
}

/// Reads all of the cluster's keys at one revision.
pub(crate) async fn read(etcd: &Etcd, keys: &ClusterKeys) -> Result<Cluster, ClusterError> {
    Cluster::parse(keys, etcd.read(&keys.all()).await?)
}

impl Cluster {
    fn parse(keys: &ClusterKeys, snapshot: Snapshot) -> Result<Self, ClusterError> {
        let mut cluster = Self {
            revision: snapshot.revision,
            ..Self::default()
        };
        for entry in snapshot.entries {
            let unreadable = |source| ClusterError::Unreadable {
                key: entry.key.clone(),
                source,
            };
            if entry.key == keys.leader {
                cluster.leader = Some(Leader {
                    name: entry.value,
                    revision: entry.mod_revision,
                });
            } else if entry.key == keys.sync {
                cluster.sync = Some(Sync {
                    revision: entry.mod_revision,
                    state: SyncState::parse(&entry.value).map_err(unreadable)?,
                    text: entry.value,
                });
            } else if entry.key == keys.config {
                let config: PatroniConfig = serde_json::from_str(&entry.value).map_err(unreadable)?;
                cluster.paused = config.pause.unwrap_or(false);
            } else if entry.key == keys.promotion {
                cluster.promotion = serde_json::from_str(&entry.value).map_err(unreadable)?;
                cluster.promotion_revision = entry.mod_revision;
            } else if let Some(node) = entry.key.strip_prefix(&keys.votes) {
                // A vote that can't be read is about no leader.
                cluster.votes.insert(node.to_owned(), entry.value.parse().unwrap_or(0));
            } else if let Some(leader) = entry.key.strip_prefix(&keys.deletions) {
                cluster.deletions.insert(leader.to_owned());
            }
        }
        Ok(cluster)
    }

    /// Whether enough nodes have voted that the leader is dead.
    ///
    /// Those who may vote are the members without the leader. Mostly that is `/sync`'s voters; but a successor leads
    /// before it writes `/sync`, which then still names its predecessor.
    pub(crate) fn is_voted_dead(&self) -> bool {
        let (Some(leader), Some(sync)) = (&self.leader, &self.sync) else {
            return false;
        };
        let mut electorate = sync.state.members();
        electorate.remove(leader.name.as_str());
        let needed = (sync.state.quorum + 1).min(electorate.len());
        let given = electorate
            .iter()
            .filter(|node| self.votes.get(**node) == Some(&leader.revision));
        needed > 0 && given.count() >= needed
    }
}

impl SyncState {
    fn parse(text: &str) -> Result<Self, serde_json::Error> {
        /// Patroni writes the voters with commas between, and null for what there is none of.
        #[derive(Deserialize)]
        struct Written {
            leader: Option<String>,
            sync_standby: Option<String>,
            quorum: Option<usize>,
        }
        let written: Written = serde_json::from_str(text)?;
        let voters = written.sync_standby.unwrap_or_default();
        let voters = voters.split(',').filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self {
            leader: written.leader.filter(|name| !name.is_empty()),
            voters: voters.collect(),
            quorum: written.quorum.unwrap_or(0),
        })
    }

    pub(crate) fn members(&self) -> BTreeSet<&str> {
        self.voters.iter().chain(&self.leader).map(String::as_str).collect()
    }

    /// How many members, besides the candidate, must stand behind it: with them it has every acknowledged write.
    pub(crate) fn others_needed(&self, candidate: &str) -> usize {
        let members = self.members();
        match members.contains(candidate) {
            true => self.quorum,
            // Nobody was promised anything.
            false if members.is_empty() => 0,
            false => self.quorum + 1,
        }
    }
}

#[derive(Deserialize)]
struct PatroniConfig {
    pause: Option<bool>,
}

#[cfg(test)]
mod tests;
