//! Whether a group of nodes can still come to a primary, by themselves and with nothing more going wrong.

use std::collections::HashSet;

use crate::action::Action;
use crate::model::{Bounds, FailoverModel};
use crate::state::{NODES, NodeId, Nodes, State};
use crate::step;

/// More states than this no search has needed.
const STATES_MAX: usize = 20_000;

/// The groups of this state that must be able to: q + 1 members or more, up and connected, and whoever else is with
/// them. A node whose WAL has forked off isn't up, as far as this goes, before a primary let it rewind.
pub fn entitled_groups(state: &State) -> impl Iterator<Item = Nodes> {
    let forked = |a: NodeId, b: NodeId| state.timelines.conflict(state.node(a).wal, state.node(b).wal);
    (1u8..8).map(Nodes::from_bits).filter(move |group| {
        let enough = group.and(state.sync.members()).len() > state.sync.quorum;
        enough && group.iter().all(|a| group.iter().all(|b| !forked(a, b)))
    })
}

/// Whether the group, cut off from everybody else but not from etcd, can reach a state in which one of them leads and
/// can acknowledge all that it has.
pub fn possible(model: &FailoverModel, state: &State, group: Nodes) -> bool {
    let bounds = Bounds {
        promotions: model.bounds.promotions + 1,
        expiry: true,
        ..model.bounds
    };
    let model = FailoverModel { bounds, ..*model };
    let mut start = state.clone();
    cut_off(&mut start, group);
    let mut known = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        if group.iter().any(|id| leads(&state, id)) {
            return true;
        }
        assert!(
            known.len() < STATES_MAX,
            "the search for a primary needs a larger bound"
        );
        // What brings a primary nearer is pushed last, to be tried first.
        for action in favourable(group) {
            let mut next = state.clone();
            if step::apply(&model, &mut next, action) && !known.contains(&next) {
                known.insert(next.clone());
                open.push(next);
            }
        }
    }
    false
}

fn cut_off(state: &mut State, group: Nodes) {
    if state.leader.is_some_and(|leader| !group.has(leader)) {
        state.leader = None;
    }
    for id in group.iter() {
        let node = state.node_mut(id);
        node.upstream = node.upstream.filter(|upstream| group.has(*upstream));
        for other in (0..NODES).filter(|other| !group.has(*other)) {
            node.reports[usize::from(other)] = 0;
        }
    }
}

fn leads(state: &State, id: NodeId) -> bool {
    state.leader == Some(id) && state.acknowledgeable(id) == Some(state.node(id).wal)
}

fn favourable(group: Nodes) -> impl Iterator<Item = Action> {
    let steps: [fn(NodeId) -> Action; 10] = [
        Action::GiveUp,
        Action::Acquire,
        Action::Loop,
        Action::Recreate,
        Action::Look,
        Action::Resolve,
        Action::Follow,
        Action::Receive,
        Action::Seal,
        Action::Promote,
    ];
    let forget = group.iter().flat_map(move |upstream| {
        group
            .iter()
            .filter(move |id| *id != upstream)
            .map(move |standby| Action::Forget { upstream, standby })
    });
    let each = steps.into_iter().flat_map(move |step| group.iter().map(step));
    std::iter::once(Action::Expire).chain(forget).chain(each)
}
