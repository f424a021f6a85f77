use stateright::{Model, Property};

use crate::action::Action;
use crate::rules::Rules;
use crate::state::{NODES, Role, State};
use crate::step;

/// How much of each may happen in one run. Everything else may happen any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub writes: u8,
    pub promotions: u8,
    pub crashes: u8,
    /// Whether the leader key may also go without anybody's doing.
    pub expiry: bool,
}

/// Three nodes, their keys in etcd, and a set of rules.
#[derive(Clone, Copy, Debug)]
pub struct FailoverModel {
    pub rules: Rules,
    pub bounds: Bounds,
}

pub const KEPT: &str = "an acknowledged write is on every later primary's timeline";
pub const ONE: &str = "no two primaries acknowledge in disjoint quorums";
pub const CLEAN: &str = "a standby streams only onto the beginning of its upstream's WAL";
pub const SUCCEEDS: &str = "a successor's successor acknowledges a write";

impl Model for FailoverModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::healthy()]
    }

    fn actions(&self, _state: &State, actions: &mut Vec<Action>) {
        actions.extend([Action::Expire, Action::Delete]);
        for node in 0..NODES {
            actions.extend([
                Action::Write(node),
                Action::Acknowledge(node),
                Action::Receive(node),
                Action::Detach(node),
                Action::Follow(node),
                Action::Crash(node),
                Action::Restart(node),
                Action::Loop(node),
                Action::Recreate(node),
                Action::Look(node),
                Action::Resolve(node),
                Action::WriteHistory(node),
                Action::Acquire(node),
                Action::Prepare(node),
                Action::Seal(node),
                Action::GiveUp(node),
                Action::Promote(node),
            ]);
            let others = (0..NODES).filter(|other| *other != node);
            actions.extend(others.map(|standby| Action::Forget { upstream: node, standby }));
        }
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut state = last_state.clone();
        (step::apply(self, &mut state, action) && state != *last_state).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, state: &State| kept(state)),
            Property::always(ONE, |_, state: &State| one(state)),
            Property::always(CLEAN, |_, state: &State| !state.garbled),
        ]
    }
}

/// Whoever can acknowledge, or leads, has what was acknowledged before.
fn kept(state: &State) -> bool {
    let holds = |id| {
        let node = state.node(id);
        let leads = node.role == Role::Primary && state.leader == Some(id);
        let lacks = leads && !state.timelines.contains(node.wal, state.acknowledged);
        let may = state.acknowledgeable(id);
        !lacks && may.is_none_or(|position| !state.timelines.conflict(position, state.acknowledged))
    };
    !state.torn && (0..NODES).all(holds)
}

fn one(state: &State) -> bool {
    let may: Vec<_> = (0..NODES).filter_map(|id| state.acknowledgeable(id)).collect();
    may.iter().all(|a| may.iter().all(|b| !state.timelines.conflict(*a, *b)))
}
