//! `resolver.txt` is what Patroni 4.0.7's own resolver answers to every input that three nodes can give it. A line has
//! `/sync`'s leader, voters and quorum, the names, how many of them a commit waits for, how many are confirmed, and who
//! is active; then the first transition. Sets are bits.

use failover_model::quorum::{Replication, Transition, next_transition};
use failover_model::state::{Nodes, Sync};

#[test]
fn the_resolver_answers_as_patronis_does() {
    for line in include_str!("resolver.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |field: usize| fields[field].parse::<u8>().unwrap();
        let set = |field: usize| Nodes::from_bits(number(field));
        let seen = Replication {
            me: 0,
            sync: Sync {
                leader: number(0),
                voters: set(1),
                quorum: number(2),
            },
            names: set(3),
            numsync: number(4),
            confirmed: number(5),
            active: set(6),
        };
        let expected = match fields[7] {
            // Patroni's loop ends in an exception.
            "error" | "none" => None,
            "restart" => Some(Transition::Restart),
            "sync" => Some(Transition::Names(set(9), number(10))),
            "quorum" => Some(Transition::Sync(Sync {
                leader: number(8),
                voters: set(9),
                quorum: number(10),
            })),
            other => panic!("{other} is no transition"),
        };
        assert_eq!(next_transition(&seen), expected, "{seen:?}");
    }
}
