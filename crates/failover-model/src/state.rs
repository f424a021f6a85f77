//! What the model's state is made of: three nodes, etcd's keys, the timelines, and what was promised to clients.

use std::fmt;

use crate::wal::{Position, Timelines};

/// A node: 0 leads at first.
pub type NodeId = u8;

pub const NODES: NodeId = 3;

/// Names as FAILOVER.md has them.
pub const NAMES: [&str; NODES as usize] = ["P", "R1", "R2"];

/// A set of nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nodes(u8);

impl Nodes {
    pub const NONE: Self = Self(0);
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0b111)
    }

    pub fn of(nodes: &[NodeId]) -> Self {
        nodes.iter().fold(Self::NONE, |set, node| set.with(*node))
    }

    pub fn len(self) -> u8 {
        self.0.count_ones() as u8
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, node: NodeId) -> bool {
        self.0 & (1 << node) != 0
    }

    pub fn with(self, node: NodeId) -> Self {
        Self(self.0 | 1 << node)
    }

    pub fn without(self, node: NodeId) -> Self {
        Self(self.0 & !(1 << node))
    }

    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn contains_all(self, other: Self) -> bool {
        other.minus(self).is_empty()
    }

    /// The first of them, alone.
    pub fn first(self) -> Self {
        Self(self.0 & self.0.wrapping_neg())
    }

    pub fn iter(self) -> impl Iterator<Item = NodeId> {
        (0..NODES).filter(move |node| self.has(*node))
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(|node| NAMES[usize::from(node)]).collect();
        write!(f, "{{{}}}", names.join(", "))
    }
}

/// The value of `/sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sync {
    pub leader: NodeId,
    pub voters: Nodes,
    pub quorum: u8,
}

impl Sync {
    pub fn members(self) -> Nodes {
        self.voters.with(self.leader)
    }

    /// The `synchronous_standby_names` of a successor, as Patroni sets them before it promotes.
    pub fn names_for(self, node: NodeId) -> (Nodes, u8) {
        let members = self.members();
        let waits = members.len().saturating_sub(self.quorum + 1);
        if members.has(node) {
            (members.without(node), waits)
        } else {
            (members, waits + 1)
        }
    }

    /// How many other members the fence of this node needs.
    pub fn needed_by(self, node: NodeId) -> u8 {
        self.quorum + u8::from(!self.members().has(node))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    Standby,
    Primary,
}

/// Where a node's Patroni is in its loop. Anything may happen elsewhere between two steps, and it may stay where it is
/// for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Patroni {
    Idle,
    /// A primary that has just created the leader key, and not read the keys again.
    Acquired,
    /// A primary that found itself leader and renewed its lease. It works with `/sync` as read, and its next compare-
    /// and-set succeeds if that is still the latest revision.
    Leading {
        sync: Sync,
        latest: bool,
    },
    /// A standby whose Patroni goes by `/sync` as it was when its cache last heard of it.
    Racing {
        sync: Sync,
    },
    /// A candidate whose `synchronous_standby_names` are set and whose fence is at work.
    Fencing,
    /// A candidate whose fence let it through, and that will promote: to a timeline of this number, if the fence chose.
    Sealed {
        number: Option<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    pub role: Role,
    pub wal: Position,
    /// It was a primary when it crashed, and hasn't recovered from that. Recovery writes to the log.
    pub unclean: bool,
    /// Whom it streams from, as it believes itself: the upstream may refuse it.
    pub upstream: Option<NodeId>,
    /// By standby: its last report of what it flushed, and one; 0 if this node holds no walsender for it. A report may
    /// be old: the standby may have left since.
    pub reports: [u8; NODES as usize],
    /// `synchronous_standby_names`, and how many of them a commit waits for.
    pub names: Nodes,
    pub numsync: u8,
    /// Those of `names` that Patroni once saw with all that was flushed, and how much that was when `names` last
    /// changed.
    pub ready: Nodes,
    pub settled_at: u8,
    pub patroni: Patroni,
    /// Whether the revision of `promotion` that it knows is still the latest.
    pub promotion_known: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub nodes: [Node; NODES as usize],
    /// Patroni's keys in etcd. `promotion` is there only as what nodes know of it.
    pub leader: Option<NodeId>,
    pub sync: Sync,
    /// The newest timeline's number according to `/history`.
    pub history: u8,
    pub timelines: Timelines,
    /// The last write that a client was told is safe.
    pub acknowledged: Position,
    pub writes: u8,
    /// A write was acknowledged on a timeline that lacks one acknowledged before.
    pub torn: bool,
    /// A standby streams onto a WAL that isn't the beginning of its upstream's.
    pub garbled: bool,
}

impl State {
    /// P leads, R1 and R2 stream from it and are voters: a commit waits for one of them.
    pub fn healthy() -> Self {
        let node = |id: NodeId| {
            let leads = id == 0;
            Node {
                role: if leads { Role::Primary } else { Role::Standby },
                wal: Position::default(),
                unclean: false,
                upstream: (!leads).then_some(0),
                reports: if leads { [0, 1, 1] } else { [0; 3] },
                names: if leads { Nodes::of(&[1, 2]) } else { Nodes::NONE },
                numsync: u8::from(leads),
                ready: if leads { Nodes::of(&[1, 2]) } else { Nodes::NONE },
                settled_at: 0,
                patroni: Patroni::Idle,
                promotion_known: leads,
            }
        };
        Self {
            nodes: [node(0), node(1), node(2)],
            leader: Some(0),
            sync: Sync {
                leader: 0,
                voters: Nodes::of(&[1, 2]),
                quorum: 1,
            },
            history: 0,
            timelines: Timelines::default(),
            acknowledged: Position::default(),
            writes: 0,
            torn: false,
            garbled: false,
        }
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[usize::from(id)]
    }

    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[usize::from(id)]
    }

    /// A WAL's end as timeline, number and records; timelines of one number differ by a prime.
    pub(crate) fn place(&self, at: Position) -> String {
        let number = self.timelines.number(at.timeline);
        let twins = (0..at.timeline)
            .filter(|other| self.timelines.number(*other) == number)
            .count();
        format!("{}{}/{}", number + 1, "'".repeat(twins), at.records)
    }

    /// Tells clients at once what may be told. A later promise would be about no more, so nothing is missed by never
    /// waiting.
    pub fn acknowledge(&mut self) {
        for id in 0..NODES {
            let Some(position) = self.acknowledgeable(id) else {
                continue;
            };
            // A promotion's own record is no client's write.
            let written = position.timeline == 0 || position.records > self.timelines.start(position.timeline);
            if written && !self.timelines.contains(self.acknowledged, position) {
                self.torn |= self.timelines.conflict(position, self.acknowledged);
                self.acknowledged = position;
            }
        }
    }

    /// The longest WAL of a primary that its quorum has: what it may acknowledge, `None` if nothing of its own
    /// timeline.
    pub fn acknowledgeable(&self, id: NodeId) -> Option<Position> {
        let node = self.node(id);
        if node.role != Role::Primary {
            return None;
        }
        let mut records = node.wal.records;
        if node.numsync > 0 {
            let mut reports: Vec<u8> = node.names.iter().map(|name| node.reports[usize::from(name)]).collect();
            reports.sort_unstable();
            let report = *reports.iter().rev().nth(usize::from(node.numsync) - 1)?;
            records = report.checked_sub(1)?.min(records);
        }
        let position = Position {
            timeline: node.wal.timeline,
            records,
        };
        (records >= self.timelines.start(node.wal.timeline)).then_some(position)
    }
}
