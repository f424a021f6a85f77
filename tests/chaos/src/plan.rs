//! Which faults, in which order.

use crate::fault::{Action, Fault, Role, Target};

/// A row that hurts nobody twice and nothing that could not be missed, for every way a container can go, and for every
/// role that it suits; then what is more than one at a time.
pub fn full() -> Vec<Fault> {
    let singles = (0..).zip(Action::ALL).flat_map(|(pick, action)| {
        let roles = Role::ALL.map(Target::One).into_iter();
        // Of those that are alike, not always the same.
        roles
            .filter(move |target| action.suits(*target))
            .map(move |target| Fault {
                pick,
                ..Fault::new(action, &[target])
            })
    });
    let wholes = Target::TIERS.map(|tier| Fault::new(Action::Kill, &[Target::Every(tier)]));
    let pairs = [
        vec![Role::PostgresReplica, Role::QueueLeader],
        vec![Role::PostgresPrimary, Role::EtcdLeader],
        vec![Role::SessionsPrimary, Role::Sentinel],
        vec![
            Role::Balancer,
            Role::Edge,
            Role::Inventory,
            Role::User,
            Role::PhotoWorker,
        ],
    ]
    .map(|roles| Fault::new(Action::Kill, &ones(&roles)));
    let again = [
        Role::Balancer,
        Role::PostgresPrimary,
        Role::SessionsPrimary,
        Role::QueueLeader,
    ]
    .map(|role| Fault {
        times: 2,
        ..Fault::new(Action::Kill, &[Target::One(role)])
    });
    singles.chain(wholes).chain(pairs).chain(again).collect()
}

/// A kill in each tier, tiers that have nothing to do with each other at once: for `make test`.
pub fn short() -> Vec<Fault> {
    [
        vec![Role::PostgresPrimary],
        vec![Role::SessionsPrimary],
        vec![Role::Gateway],
        vec![Role::Balancer, Role::Edge],
        vec![Role::Inventory, Role::User, Role::EtcdLeader],
        vec![
            Role::Cache,
            Role::QueueLeader,
            Role::Objects,
            Role::PhotoWorker,
            Role::Sentinel,
        ],
    ]
    .map(|roles| Fault::new(Action::Kill, &ones(&roles)))
    .into()
}

/// Faults without end, always the same for one seed.
///
/// Who is hurt, and when somebody is merely killed, stopped, paused or cut, depends on nothing but the dice. What can't be done
/// everywhere is drawn apart, so that the targets of a seed stay what they are when there is more that can be done to them.
pub fn random(seed: u64) -> impl Iterator<Item = Fault> {
    let mut dice = Dice(seed);
    std::iter::repeat_with(move || {
        let action = dice.one_of(&Action::ANYWHERE);
        let mut targets = vec![Target::One(dice.one_of(&Role::ALL))];
        // One time in three somebody of another tier goes with it.
        if dice.below(3) == 0 {
            let others: Vec<Role> = Role::ALL
                .into_iter()
                .filter(|role| role.tier() != targets[0].tier())
                .collect();
            targets.push(Target::One(dice.one_of(&others)));
        }
        let pick = dice.roll();
        Fault {
            pick,
            ..Fault::new(particular(&targets, pick).unwrap_or(action), &targets)
        }
    })
}

/// One time in three something that suits all of these and would not suit everybody, if there is any such thing.
fn particular(targets: &[Target], pick: u64) -> Option<Action> {
    let mut actions = Action::ALL.to_vec();
    actions.retain(|action| !Action::ANYWHERE.contains(action) && targets.iter().all(|target| action.suits(*target)));
    let mut dice = Dice(pick);
    (dice.below(3) == 0 && !actions.is_empty()).then(|| dice.one_of(&actions))
}

fn ones(roles: &[Role]) -> Vec<Target> {
    roles.iter().copied().map(Target::One).collect()
}

/// SplitMix64: the same numbers for the same seed on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_faults_again_and_another_one_others() {
        let some = |seed| random(seed).take(50).collect::<Vec<_>>();
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
        // So that a seed from somebody else's report can be replayed here.
        assert_eq!(Dice(0).roll(), 0xe220_a839_7b1d_cdaf);
        let words: Vec<String> = some(7).iter().take(3).map(Fault::to_string).collect();
        let expected = [
            "slow postgres-primary + inventory",
            "stop balancer + edge",
            "cut postgres-replica + user",
        ];
        assert_eq!(words, expected);
    }

    #[test]
    fn random_faults_hit_every_role_in_every_way_that_suits_it_and_never_one_tier_twice_at_once() {
        let faults: Vec<Fault> = random(1).take(2000).collect();
        for role in Role::ALL {
            for action in Action::ALL {
                let hits = |fault: &&Fault| fault.action == action && fault.targets.contains(&Target::One(role));
                let suits = action.suits(Target::One(role));
                assert_eq!(faults.iter().any(|fault| hits(&fault)), suits, "{action:?} {role:?}");
            }
        }
        for fault in faults.iter().filter(|fault| fault.targets.len() == 2) {
            assert_ne!(fault.targets[0].tier(), fault.targets[1].tier());
        }
    }

    #[test]
    fn the_full_plan_does_to_everybody_what_suits_and_the_short_one_kills_in_each_tier() {
        let full = full();
        for role in Role::ALL {
            for action in Action::ALL {
                let is_it = |fault: &Fault| fault.action == action && fault.targets == [Target::One(role)];
                assert_eq!(
                    full.iter().any(is_it),
                    action.suits(Target::One(role)),
                    "{action:?} {role:?}"
                );
            }
        }
        for role in Role::ALL {
            let hit = short()
                .iter()
                .any(|f| f.targets.iter().any(|t| t.tier() == role.tier()));
            assert!(hit, "{role:?}");
        }
    }
}
