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
        Action::Recover(node) => step.recover(node),
        Action::Expire => step.expire(),
        Action::Delete => step.delete(),
        Action::Loop(node) => step.begin_loop(node),
        Action::Recreate(node) => step.recreate(node),
        Action::Look(node) => step.look(node),
        Action::Resolve(node) => step.resolve(node),
        Action::WriteHistory(node) => step.write_history(node),
        Action::Cache(node) => step.cache(node),
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
        if from == to {
            return false;
        }
        if !self.state.timelines.contains(to, from) {
            // The receiver tries again by itself, and is let in once the numbers suit.
            let garbled = self.garbles(id, upstream);
            self.state.garbled |= garbled;
            return garbled;
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
        if leader == id || standby.role != Role::Standby || standby.patroni != Patroni::Idle {
            return false;
        }
        let timelines = &self.state.timelines;
        let (mine, theirs) = (standby.wal, upstream.wal);
        let leads = upstream.role == Role::Primary;
        let mut wal = mine;
        let mut report = mine.records + 1;
        if timelines.contains(theirs, mine) {
            if standby.upstream == Some(leader) {
                return false;
            }
        } else if self.garbles(id, leader) {
            self.state.garbled = true;
        } else if leads {
            // Nobody rewinds to what is only the beginning of what it has.
            if timelines.contains(mine, theirs) {
                return false;
            }
            wal = theirs;
            report = theirs.records + 1;
        } else if !timelines.knows(theirs, timelines.number(mine.timeline)) {
            // Refused, which its receiver doesn't show.
            report = 0;
        } else if self.model.rules.tails {
            report = timelines.common(mine, theirs) + 1;
        }
        // A primary may act on a report from before this; nobody else has any use for it.
        let left = standby
            .upstream
            .filter(|left| self.state.node(*left).role == Role::Standby);
        if let Some(left) = left {
            self.state.node_mut(left).reports[usize::from(id)] = 0;
        }
        let standby = self.state.node_mut(id);
        standby.wal = wal;
        standby.unclean = false;
        standby.upstream = Some(leader);
        self.state.node_mut(leader).reports[usize::from(id)] = report;
        true
    }

    /// Whether a standby streams from this upstream only because their timelines have one number.
    fn garbles(&self, id: NodeId, upstream: NodeId) -> bool {
        let timelines = &self.state.timelines;
        let (mine, theirs) = (self.state.node(id).wal, self.state.node(upstream).wal);
        timelines.conflict(mine, theirs) && timelines.seems_to_contain(theirs, mine)
    }

    fn crash(mut self, id: NodeId) -> bool {
        self.stop(id);
        true
    }

    /// As long as deceives most: past everybody else's, with room for a successor's first write.
    fn recover(self, id: NodeId) -> bool {
        let longest = self.state.nodes.iter().map(|node| node.wal.records).max();
        let node = self.state.node_mut(id);
        if !node.unclean || node.patroni != Patroni::Idle || node.upstream.is_some() {
            return false;
        }
        node.unclean = false;
        node.wal.records = longest.unwrap_or_default() + 2;
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
        let anothers = self.model.rules.own_key && self.state.leader != Some(id);
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
                let lacking = new.voters.minus(settled);
                let strangers = lacking.minus(sync.members()).len();
                let early =
                    self.model.rules.settle && lacking.len() > new.quorum && new.quorum < sync.quorum + strangers;
                if early || anothers || !latest {
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

    /// A fence that compares names makes nothing of what this adds, and without `own_key` there are shorter ways.
    fn cache(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        let (rules, sync) = (self.model.rules, self.state.sync);
        if rules.names || !rules.own_key || node.role != Role::Standby || node.patroni != Patroni::Idle {
            return false;
        }
        self.state.node_mut(id).patroni = Patroni::Racing { sync };
        true
    }

    fn acquire(self, id: NodeId) -> bool {
        let node = self.state.node(id);
        let sync = match node.patroni {
            Patroni::Idle => self.state.sync,
            Patroni::Racing { sync } => sync,
            _ => return false,
        };
        if node.role != Role::Standby {
            return false;
        }
        let won = self.state.leader.is_none() && self.seems_healthiest(id);
        // One that restarted with its own key still there goes on as if it had just acquired it.
        if !won && self.state.leader != Some(id) {
            return false;
        }
        self.state.leader = Some(id);
        let node = self.state.node_mut(id);
        (node.names, node.numsync) = sync.names_for(id);
        if self.model.rules.detach {
            node.upstream = None;
        }
        node.unclean = false;
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
            .filter(|node| matches!(node.patroni, Patroni::Sealed { .. }))
            .count();
        let timelines = &self.state.timelines;
        let counts = |member: &NodeId| {
            let member = self.state.node(*member);
            let ahead = if rules.timelines {
                timelines.rank(member.wal) > timelines.rank(node.wal)
            } else {
                member.wal.records > node.wal.records
            };
            member.role == Role::Standby && member.upstream == Some(id) && !ahead
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
        let number = rules.numbers.then(|| self.newest_number() + 1);
        self.state.node_mut(id).patroni = Patroni::Sealed { number };
        true
    }

    fn give_up(self, id: NodeId) -> bool {
        let leads = self.state.leader == Some(id);
        let node = self.state.node_mut(id);
        let gives_up = match node.patroni {
            Patroni::Fencing | Patroni::Racing { .. } => true,
            Patroni::Sealed { .. } => !leads,
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
        let Patroni::Sealed { number } = self.state.node(id).patroni else {
            return false;
        };
        let wal = self.state.timelines.promote(self.state.node(id).wal, number);
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
        let recovery = self.model.bounds.recovery;
        let node = self.state.node_mut(id);
        *node = Node {
            role: Role::Standby,
            wal: node.wal,
            unclean: node.unclean || recovery && node.role == Role::Primary,
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

    /// The greatest number that a timeline has or will have. Those that were sealed for nothing don't matter.
    fn newest_number(&self) -> u8 {
        let sealed = self.state.nodes.iter().filter_map(|node| match node.patroni {
            Patroni::Sealed { number } => number,
            _ => None,
        });
        sealed.fold(self.state.timelines.newest(), u8::max)
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
