use std::fmt;

use crate::state::{NAMES, NodeId};

/// One atomic step of one participant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A client writes; nobody has promised anything yet.
    Write(NodeId),
    /// A standby flushes the next record of its upstream and reports it.
    Receive(NodeId),
    /// A stream ends as its upstream sees it: cut off, frozen, or left by its standby.
    Forget {
        upstream: NodeId,
        standby: NodeId,
    },
    /// A standby follows the leader, and rewinds if its timeline says that it must.
    Follow(NodeId),
    /// A node crashes or is demoted, and is a standby when it is back. Until it does something it may as well be down.
    Crash(NodeId),
    /// A node that crashed as a primary recovers, which makes its log longer.
    Recover(NodeId),
    /// The leader key goes: its lease ends, or its holder gives it back.
    Expire,
    /// Watchers delete the leader key.
    Delete,
    /// Patroni on a primary begins its loop: it reads all keys, and renews its lease, retakes the key, or demotes.
    Loop(NodeId),
    /// The create branch of Patroni's update: the old lease has ended, the key is gone.
    Recreate(NodeId),
    /// A primary that has just created the key reads all keys again.
    Look(NodeId),
    /// The next transition of `/sync` and `synchronous_standby_names`.
    Resolve(NodeId),
    /// A primary puts its timelines into `/history`, without asking anybody.
    WriteHistory(NodeId),
    /// A standby's Patroni has `/sync` in its cache as it is now, and hears of no change before it races.
    Cache(NodeId),
    /// A standby wins the race for the missing key, reads the keys again, and sets `synchronous_standby_names` for the
    /// time after its promotion.
    Acquire(NodeId),
    /// The fence is content.
    Seal(NodeId),
    /// The fence gives up, or Patroni cancels a promotion without the key.
    GiveUp(NodeId),
    Promote(NodeId),
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |node: &NodeId| NAMES[usize::from(*node)];
        match self {
            Self::Write(node) => write!(f, "{} writes", name(node)),
            Self::Receive(node) => write!(f, "{} receives a record", name(node)),
            Self::Forget { upstream, standby } => write!(f, "{} sees {} gone", name(upstream), name(standby)),
            Self::Follow(node) => write!(f, "{} follows the leader", name(node)),
            Self::Crash(node) => write!(f, "{} crashes and comes back as a standby", name(node)),
            Self::Recover(node) => write!(f, "{} recovers, and its log grows", name(node)),
            Self::Expire => write!(f, "the leader key expires"),
            Self::Delete => write!(f, "watchers delete the leader key"),
            Self::Loop(node) => write!(f, "{} reads the keys", name(node)),
            Self::Recreate(node) => write!(f, "{} gets a new lease and creates the missing key", name(node)),
            Self::Look(node) => write!(f, "{} reads the keys, having created the leader's", name(node)),
            Self::Resolve(node) => write!(f, "{} adjusts /sync or its names", name(node)),
            Self::WriteHistory(node) => write!(f, "{} writes /history", name(node)),
            Self::Cache(node) => write!(f, "{} hears of /sync for the last time", name(node)),
            Self::Acquire(node) => write!(f, "{} gets the leader key and sets its names", name(node)),
            Self::Seal(node) => write!(f, "{}'s fence is content and seals", name(node)),
            Self::GiveUp(node) => write!(f, "{} gives up its promotion", name(node)),
            Self::Promote(node) => write!(f, "{} promotes", name(node)),
        }
    }
}
