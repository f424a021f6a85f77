//! Nodes are interchangeable: states that differ only in which node is which have the same future, and hash alike.
//!
//! stateright tells states apart by their hashes alone, so this makes it visit one of each kind, while what it visits,
//! and so every trace, keeps the nodes' names.

use std::hash::{Hash, Hasher};

use crate::state::{NODES, Node, NodeId, Nodes, Patroni, State, Sync};

const ORDERS: [[NodeId; NODES as usize]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let keys = ORDERS.iter().map(|order| Renamed::new(self, *order));
        keys.min().hash(hasher);
        self.history.hash(hasher);
        self.timelines.hash(hasher);
        self.acknowledged.hash(hasher);
        self.writes.hash(hasher);
        self.torn.hash(hasher);
        self.garbled.hash(hasher);
    }
}

/// All of a state that names nodes, with node n called `order[n]`.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Renamed {
    nodes: [Node; NODES as usize],
    leader: Option<NodeId>,
    sync: Sync,
}

impl Renamed {
    fn new(state: &State, order: [NodeId; NODES as usize]) -> Self {
        let name = |id: NodeId| order[usize::from(id)];
        let mut nodes = state.nodes;
        for (id, node) in (0..NODES).zip(&state.nodes) {
            let mut reports = [0; NODES as usize];
            for (other, report) in (0..NODES).zip(node.reports) {
                reports[usize::from(name(other))] = report;
            }
            nodes[usize::from(name(id))] = Node {
                upstream: node.upstream.map(name),
                reports,
                names: rename(node.names, order),
                ready: rename(node.ready, order),
                patroni: match node.patroni {
                    Patroni::Leading { sync, latest } => Patroni::Leading {
                        sync: rename_sync(sync, order),
                        latest,
                    },
                    Patroni::Racing { sync } => Patroni::Racing {
                        sync: rename_sync(sync, order),
                    },
                    other => other,
                },
                ..*node
            };
        }
        Self {
            nodes,
            leader: state.leader.map(name),
            sync: rename_sync(state.sync, order),
        }
    }
}

fn rename(nodes: Nodes, order: [NodeId; NODES as usize]) -> Nodes {
    nodes
        .iter()
        .fold(Nodes::NONE, |set, id| set.with(order[usize::from(id)]))
}

fn rename_sync(sync: Sync, order: [NodeId; NODES as usize]) -> Sync {
    Sync {
        leader: order[usize::from(sync.leader)],
        voters: rename(sync.voters, order),
        quorum: sync.quorum,
    }
}
