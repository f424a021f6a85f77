//! What each action needs and does. Every function answers whether the action could happen.

use crate::action::Action;
use crate::model::FailoverModel;
use crate::quorum::{Replication, Transition, next_transition};
use crate::state::{NODES, Node, NodeId, Nodes, Patroni, Role, State};

/// Carries the action out on `state`, which is of no use if the answer is no.
pub(crate) fn apply(model: &FailoverModel, state: &mut State, action: Action) -> bool {
    let step = Step { model, state };
    match action {
        Action::Write(node) => step.write(node),
        Action::Receive(node) => step.receive(node),
        Action::Forget { upstream, standby } => step.forget(upstream, standby),
        Action::Follow(node) => step.follow(node),
        Action::Crash(node) => step.crash(node),
        Action::Expire => step.expire(),
        Action::Delete => step.delete(),
        Action::Loop(node) => step.begin_loop(node),
        Action::Recreate(node) => step.recreate(node),
        Action::Look(node) => step.look(node),
        Action::Resolve(node) => step.resolve(node),
        Action::WriteHistory(node) => step.write_history(node),
        Action::Acquire(node) => step.acquire(node),
        Action::Seal(node) => step.seal(node),
        Action::GiveUp(node) => step.give_up(node),
        Action::Promote(node) => step.promote(node),
    }
}

struct Step<'a> {
    model: &'a FailoverModel,
    state: &'a mut State,
}

impl Step<'_> {
    fn write(self, id: NodeId) -> bool {
        if self.state.node(id).role != Role::Primary || self.state.writes == self.model.bounds.writes {
            return false;
        }
        self.state.writes += 1;
        self.state.node_mut(id).wal.records += 1;
        true
    }

    fn receive(self, id: NodeId) -> bool {
        let standby = self.state.node(id);
        let Some(upstream) = standby.upstream else { return false };
        let (from, to) = (standby.wal, self.state.node(upstream).wal);
        if from == to || !self.state.timelines.contains(to, from) {
            return false;
        }
        let wal = self.state.timelines.next(from, to);
        self.state.node_mut(id).wal = wal;
        self.state.node_mut(upstream).reports[usize::from(id)] = wal.records + 1;
        true
    }

    fn forget(self, upstream: NodeId, standby: NodeId) -> bool {
        let report = std::mem::take(&mut self.state.node_mut(upstream).reports[usize::from(standby)]);
        let stream = &mut self.state.node_mut(standby).upstream;
        *stream = stream.filter(|from| *from != upstream);
        report > 0
    }

    fn follow(self, id: NodeId) -> bool {
        let Some(leader) = self.state.leader else { return false };
        let (standby, upstream) = (*self.state.node(id), *self.state.node(leader));
        if leader == id
            || standby.role != Role::Standby
            || standby.patroni != Patroni::Idle
            || standby.upstream == Some(leader)
        {
            return false;
        }
        let timelines = &self.state.timelines;
        let (mine, theirs) = (standby.wal, upstream.wal);
        let mut wal = mine;
        let mut garbled = false;
        if !timelines.contains(theirs, mine) {
            garbled = !self.model.rules.reclone && timelines.seems_to_contain(theirs, mine);
            if !garbled {
                // It waits until the leader is a primary, unless the leader only lacks what it has.
                if upstream.role != Role::Primary || timelines.contains(mine, theirs) {
                    return false;
                }
                wal = theirs;
            }
        }
        self.state.garbled |= garbled;
        // A primary may act on a report from before this; nobody else has any use for it.
        let left = standby
            .upstream
            .filter(|left| self.state.node(*left).role == Role::Standby);
        if let Some(left) = left {
            self.state.node_mut(left).reports[usize::from(id)] = 0;
        }
        let standby = self.state.node_mut(id);
        standby.wal = wal;
        standby.upstream = Some(leader);
        self.state.node_mut(leader).reports[usize::from(id)] = wal.records + 1;
        true
    }

    fn crash(mut self, id: NodeId) -> bool {
        self.stop(id);
        true
    }

    fn expire(self) -> bool {
        self.model.bounds.expiry && self.state.leader.take().is_some()
    }

    /// Votes carry no safety, so the model has none: without voters nobody votes, else it may always come to enough.
    fn delete(mut self) -> bool {
        if self.model.bounds.expiry || self.state.sync.voters.is_empty() || self.state.leader.take().is_none() {
            return false;
        }
        if self.model.rules.rewrite {
            self.new_sync_revision(None);
        }
        true
    }

    fn begin_loop(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        let may_begin = matches!(node.patroni, Patroni::Idle | Patroni::Leading { .. });
        if node.role != Role::Primary || !may_begin {
            return false;
        }
        if self.state.leader == Some(id) {
            self.lead(id);
            return true;
        }
        // Someone else's key says to demote at once; a missing one is to be taken back.
        let newer = self.state.history > self.state.timelines.number(node.wal.timeline);
        let refused = if self.model.rules.retake {
            !node.promotion_known
        } else {
            newer
        };
        if self.state.leader.is_some() || refused {
            return self.crash(id);
        }
        self.state.leader = Some(id);
        self.state.node_mut(id).patroni = Patroni::Acquired;
        true
    }

    fn recreate(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        if self.state.leader.is_some() || !matches!(node.patroni, Patroni::Leading { .. }) {
            return false;
        }
        if self.model.rules.retake && !node.promotion_known {
            return self.crash(id);
        }
        self.state.leader = Some(id);
        true
    }

    fn look(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        if node.role != Role::Primary || node.patroni != Patroni::Acquired {
            return false;
        }
        if self.state.leader != Some(id) {
            if self.model.rules.relook {
                return self.crash(id);
            }
            let sync = self.state.sync;
            self.state.node_mut(id).patroni = Patroni::Leading { sync, latest: true };
            return true;
        }
        self.lead(id);
        true
    }

    fn resolve(mut self, id: NodeId) -> bool {
        let node = self.state.node(id);
        let Patroni::Leading { sync, latest } = node.patroni else {
            return false;
        };
        let active = (0..NODES).filter(|standby| node.reports[usize::from(*standby)] > 0);
        let active = active.fold(Nodes::NONE, Nodes::with);
        let settled = active
            .iter()
            .filter(|standby| node.reports[usize::from(*standby)] > node.settled_at);
        let settled = settled.fold(Nodes::NONE, Nodes::with);
        let ready = node.ready.or(settled.and(node.names));
        let confirmed = ready.and(active).len();
        let replication = Replication {
            me: id,
            sync,
            names: node.names,
            numsync: node.numsync,
            confirmed,
            active,
        };
        let node = self.state.node_mut(id);
        node.ready = ready;
        match next_transition(&replication) {
            Some(Transition::Names(names, numsync)) => {
                node.names = names;
                node.numsync = numsync;
                node.ready = ready.and(names);
                node.settled_at = node.wal.records;
            }
            Some(Transition::Sync(new)) => {
                let lacking = new.voters.minus(settled).len();
                let early = self.model.rules.settle && sync.leader == id && lacking > new.quorum;
                if early || !latest {
                    node.patroni = Patroni::Idle;
                } else {
                    node.patroni = Patroni::Leading {
                        sync: new,
                        latest: true,
                    };
                    self.state.sync = new;
                    self.new_sync_revision(Some(id));
                }
            }
            Some(Transition::Restart) | None => node.patroni = Patroni::Idle,
        }
        true
    }

    /// Only what a retake without rule 5 would look at is worth a state.
    fn write_history(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        let number = self.state.timelines.number(node.wal.timeline);
        if self.model.rules.retake || node.role != Role::Primary || self.state.history == number {
            return false;
        }
        self.state.history = number;
        true
    }

    fn acquire(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        if node.role != Role::Standby || node.patroni != Patroni::Idle {
            return false;
        }
        let won = self.state.leader.is_none() && self.seems_healthiest(id);
        // One that restarted with its own key still there goes on as if it had just acquired it.
        if !won && self.state.leader != Some(id) {
            return false;
        }
        self.state.leader = Some(id);
        let sync = self.state.sync;
        let node = self.state.node_mut(id);
        (node.names, node.numsync) = sync.names_for(id);
        if self.model.rules.detach {
            node.upstream = None;
        }
        node.patroni = Patroni::Fencing;
        true
    }

    fn seal(mut self, id: NodeId) -> bool {
        let rules = self.model.rules;
        let sync = self.state.sync;
        let node = self.state.node(id);
        let pending = self
            .state
            .nodes
            .iter()
            .filter(|node| node.patroni == Patroni::Sealed)
            .count();
        let counts = |member: &NodeId| {
            let member = self.state.node(*member);
            member.role == Role::Standby && member.upstream == Some(id) && member.wal.records <= node.wal.records
        };
        let counted = sync.members().without(id).iter().filter(counts).count();
        if node.patroni != Patroni::Fencing
            || self.state.timelines.len() + pending > usize::from(self.model.bounds.promotions)
            || rules.count && counted < usize::from(sync.needed_by(id))
            || rules.names && (node.names, node.numsync) != sync.names_for(id)
            || rules.seal && self.state.leader != Some(id)
        {
            return false;
        }
        for node in &mut self.state.nodes {
            node.promotion_known = false;
        }
        if rules.seal {
            self.new_sync_revision(None);
        }
        self.state.node_mut(id).patroni = Patroni::Sealed;
        true
    }

    fn give_up(self, id: NodeId) -> bool {
        let leads = self.state.leader == Some(id);
        let node = self.state.node_mut(id);
        let gives_up = match node.patroni {
            Patroni::Fencing => true,
            Patroni::Sealed => !leads,
            Patroni::Idle | Patroni::Acquired | Patroni::Leading { .. } => false,
        };
        if !gives_up {
            return false;
        }
        node.patroni = Patroni::Idle;
        (node.names, node.numsync) = (Nodes::NONE, 0);
        if leads {
            self.state.leader = None;
        }
        true
    }

    fn promote(self, id: NodeId) -> bool {
        if self.state.node(id).patroni != Patroni::Sealed {
            return false;
        }
        let wal = self.state.timelines.promote(self.state.node(id).wal);
        let node = self.state.node_mut(id);
        node.wal = wal;
        node.settled_at = wal.records;
        node.role = Role::Primary;
        node.upstream = None;
        node.patroni = Patroni::Idle;
        true
    }

    /// The lease is renewed without a look at the key, so this node goes on even if it loses the key now.
    fn lead(self, id: NodeId) {
        let sync = self.state.sync;
        let node = self.state.node_mut(id);
        node.promotion_known = true;
        node.patroni = Patroni::Leading { sync, latest: true };
    }

    fn stop(&mut self, id: NodeId) {
        for node in &mut self.state.nodes {
            if node.upstream == Some(id) {
                node.upstream = None;
            }
        }
        let node = self.state.node_mut(id);
        *node = Node {
            role: Role::Standby,
            wal: node.wal,
            upstream: None,
            reports: [0; NODES as usize],
            names: Nodes::NONE,
            numsync: 0,
            ready: Nodes::NONE,
            settled_at: 0,
            patroni: Patroni::Idle,
            promotion_known: false,
        };
    }

    /// Everybody's compare-and-set with an older revision fails from now on.
    fn new_sync_revision(&mut self, writer: Option<NodeId>) {
        for id in (0..NODES).filter(|id| Some(*id) != writer) {
            if let Patroni::Leading { latest, .. } = &mut self.state.node_mut(id).patroni {
                *latest = false;
            }
        }
    }

    /// Patroni's own look at the others before the race, with whichever of them happen to answer.
    fn seems_healthiest(&self, id: NodeId) -> bool {
        let sync = self.state.sync;
        let mine = self.state.node(id).wal.records;
        let votes = |member: &NodeId| {
            let member = self.state.node(*member);
            member.role == Role::Standby && member.wal.records <= mine
        };
        let voted = sync.members().without(id).iter().filter(votes).count();
        sync.leader == id || voted >= usize::from(sync.needed_by(id))
    }
}
