use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::action::Action;
use crate::possible::{entitled_groups, possible};
use crate::rules::Rules;
use crate::state::{NODES, NodeId, Patroni, Role, State};
use crate::step;
use crate::wal::TIMELINES_MAX;

/// How much of each may happen in one run. Everything else may happen any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub writes: u8,
    pub promotions: u8,
    /// Whether the leader key may also go by itself. That leaves `/sync` as it is, so it allows all that a deletion
    /// does.
    pub expiry: bool,
    /// Whether a primary's log may grow in its recovery from a crash.
    pub recovery: bool,
}

impl Bounds {
    /// What a search for a primary adds fits as well.
    pub const PROMOTIONS_MAX: u8 = TIMELINES_MAX as u8 - 2;

    pub const DEFAULT: Self = Self {
        writes: 2,
        promotions: 2,
        expiry: true,
        recovery: false,
    };
}

/// R1 was promoted with R2 behind it. P doesn't know yet.
pub const FAILED_OVER: &[Action] = &[
    Action::Expire,
    Action::Acquire(1),
    Action::Follow(2),
    Action::Seal(1),
    Action::Promote(1),
];

/// Three nodes, their keys in etcd, and a set of rules.
#[derive(Clone, Copy, Debug)]
pub struct FailoverModel {
    pub rules: Rules,
    pub bounds: Bounds,
    /// What has happened before the search begins.
    pub past: &'static [Action],
    /// Whether each state is also searched for a way to a primary, which costs a search of its own.
    pub availability: bool,
}

pub const KEPT: &str = "an acknowledged write is on every later primary's timeline";
pub const ONE: &str = "no two primaries acknowledge in disjoint quorums";
pub const CLEAN: &str = "a standby streams only onto the beginning of its upstream's WAL";
/// Not a promise but a check on the model: it isn't safe for want of anything happening.
pub const SUCCEEDS: &str = "a successor acknowledges a write";
pub const POSSIBLE: &str = "q + 1 members that are up and connected can come to a primary";

impl FailoverModel {
    /// Looks at every state that a run of `steps` can reach, nearest first, until a property fails. One thread, because
    /// with several stateright's depths are only roughly the shortest.
    pub fn check(self, steps: usize) -> impl Checker<Self> {
        // stateright's depth counts states, and it doesn't look at those of the last.
        let depth = steps + 2;
        self.checker()
            .target_max_depth(depth)
            .finish_when(HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join()
    }
}

impl Model for FailoverModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let after = |state: State, action: &Action| {
            let next = self.next_state(&state, *action);
            next.unwrap_or_else(|| panic!("it can't happen that {action:?}"))
        };
        vec![self.past.iter().fold(State::healthy(), after)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(if self.bounds.expiry {
            Action::Expire
        } else {
            Action::Delete
        });
        for id in 0..NODES {
            candidates(state, id, actions);
        }
    }

    fn next_state(&self, last_state: &State, action: Action) -> Option<State> {
        let mut state = last_state.clone();
        if !step::apply(self, &mut state, action) {
            return None;
        }
        state.acknowledge();
        (state != *last_state).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(KEPT, |_, state: &State| kept(state)),
            Property::always(ONE, |_, state: &State| one(state)),
            Property::sometimes(SUCCEEDS, |_, state: &State| state.acknowledged.timeline > 0),
            Property::always(CLEAN, |_, state: &State| !state.garbled),
        ];
        if self.availability {
            properties.push(Property::always(POSSIBLE, |model, state| {
                entitled_groups(state).all(|group| possible(model, state, group))
            }));
        }
        properties
    }
}

/// What a node in its role could do; whether it can, `step` knows.
pub(crate) fn candidates(state: &State, id: NodeId, actions: &mut Vec<Action>) {
    let node = state.node(id);
    actions.push(Action::Crash(id));
    let others = (0..NODES).filter(|other| node.reports[usize::from(*other)] > 0);
    actions.extend(others.map(|standby| Action::Forget { upstream: id, standby }));
    match (node.role, node.patroni) {
        (Role::Primary, patroni) => {
            actions.extend([Action::Write(id), Action::WriteHistory(id)]);
            match patroni {
                Patroni::Acquired => actions.push(Action::Look(id)),
                Patroni::Leading { .. } => {
                    actions.extend([Action::Loop(id), Action::Recreate(id), Action::Resolve(id)]);
                }
                _ => actions.push(Action::Loop(id)),
            }
        }
        (Role::Standby, patroni) => {
            actions.push(Action::Receive(id));
            match patroni {
                Patroni::Racing { .. } => actions.extend([Action::Acquire(id), Action::GiveUp(id)]),
                Patroni::Fencing => actions.extend([Action::Seal(id), Action::GiveUp(id)]),
                Patroni::Sealed { .. } => actions.extend([Action::Promote(id), Action::GiveUp(id)]),
                _ => actions
                    .extend([Action::Follow, Action::Recover, Action::Cache, Action::Acquire].map(|step| step(id))),
            }
        }
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
    may.iter()
        .all(|a| may.iter().all(|b| !state.timelines.conflict(*a, *b)))
}
