//! The protocol holds with all its rules, and without any of them a run is found that breaks it. Every search ends by
//! its depth.

use failover_model::{Action, Bounds, CLEAN, FAILED_OVER, FailoverModel, KEPT, ONE, Rules, SUCCEEDS};
use stateright::{Checker, Model};

const ALL: FailoverModel = FailoverModel {
    rules: Rules::ALL,
    bounds: Bounds::DEFAULT,
    past: &[],
    availability: false,
};

fn without(names: &[&str]) -> FailoverModel {
    let mut model = ALL;
    for name in names {
        *model.rules.by_name(name).unwrap() = false;
    }
    model
}

const ONE_WRITE: Bounds = Bounds {
    writes: 1,
    ..Bounds::DEFAULT
};

/// R1 fences, with names from the `/sync` that P in mid-loop is about to change.
const IN_MID_LOOP: &[Action] = &[
    Action::Forget {
        upstream: 0,
        standby: 1,
    },
    Action::Loop(0),
    Action::Delete,
    Action::Resolve(0),
    Action::Acquire(1),
];

/// The rewrite at deletion matters only where the leader key goes by deletion alone, the fence doesn't compare names,
/// and `/sync` is written without a look at the leader key. `relook` then closes what that opens elsewhere.
fn deletion_only(names: &[&str]) -> FailoverModel {
    let mut model = without(names);
    model.rules.own_key = false;
    model.rules.relook = true;
    let bounds = Bounds {
        expiry: false,
        ..ONE_WRITE
    };
    FailoverModel {
        bounds,
        past: IN_MID_LOOP,
        ..model
    }
}

/// Goes on after a failover, with logs that grow in recovery.
fn failed_over(model: FailoverModel) -> FailoverModel {
    let bounds = Bounds {
        recovery: true,
        ..ONE_WRITE
    };
    FailoverModel {
        bounds,
        past: FAILED_OVER,
        ..model
    }
}

/// Panics with the failed property, if one fails; answers whether a successor ever acknowledged a write.
fn assert_holds(model: FailoverModel, steps: usize) -> bool {
    let checker = model.check(steps);
    for property in model
        .properties()
        .iter()
        .filter(|property| property.expectation.discovery_is_failure())
    {
        if let Some(path) = checker.discovery(property.name) {
            panic!("{}:\n{:#?}", property.name, path.into_actions());
        }
    }
    assert!(checker.max_depth() > steps, "the search ended early");
    checker.discovery(SUCCEEDS).is_some()
}

fn assert_breaks(model: FailoverModel, steps: usize, property: &'static str) {
    let checker = model.check(steps);
    assert!(
        checker.discovery(property).is_some(),
        "no counterexample in {} states",
        checker.unique_state_count()
    );
}

#[test]
fn with_all_rules_nothing_is_lost() {
    assert!(assert_holds(ALL, 16), "no run got as far as a successor's write");
}

#[test]
fn with_all_rules_a_primary_is_possible() {
    assert_holds(
        FailoverModel {
            availability: true,
            ..ALL
        },
        10,
    );
}

#[test]
fn without_the_count_writes_are_lost() {
    assert_breaks(without(&["count"]), 8, KEPT);
}

#[test]
fn without_the_seal_two_primaries_acknowledge() {
    assert_breaks(without(&["seal"]), 12, ONE);
}

#[test]
fn without_the_retake_rule_two_primaries_acknowledge() {
    assert_breaks(without(&["retake"]), 12, ONE);
}

#[test]
fn without_the_rewrite_the_names_may_be_older_than_sync() {
    assert_breaks(deletion_only(&["names", "rewrite"]), 11, ONE);
}

#[test]
fn the_rewrite_replaces_the_comparison_of_names_where_keys_only_go_by_deletion() {
    assert_holds(deletion_only(&["names"]), 11);
}

#[test]
fn without_the_comparison_of_names_a_candidate_may_go_by_an_older_sync() {
    // R1 has not heard that R2 was taken out of `/sync`, so its commits may go to R2 alone.
    const PAST: &[Action] = &[
        Action::Cache(1),
        Action::Forget {
            upstream: 0,
            standby: 2,
        },
        Action::Loop(0),
        Action::Resolve(0),
        Action::Resolve(0),
        Action::Expire,
        Action::Acquire(1),
    ];
    let model = FailoverModel {
        bounds: ONE_WRITE,
        past: PAST,
        ..without(&["names"])
    };
    assert_breaks(model, 11, KEPT);
}

#[test]
fn without_settling_a_standby_that_lags_is_elected() {
    assert_breaks(without(&["settle"]), 14, KEPT);
}

#[test]
fn without_a_look_at_the_leader_key_sync_is_shrunk_behind_a_seal() {
    assert_breaks(without(&["own-key"]), 14, KEPT);
}

#[test]
fn without_detaching_a_node_about_to_promote_is_counted() {
    assert_breaks(without(&["detach"]), 14, ONE);
}

#[test]
fn without_numbers_of_their_own_two_promotions_are_taken_for_one() {
    assert_breaks(without(&["numbers"]), 14, CLEAN);
}

#[test]
fn without_numbers_of_its_own_a_promotion_that_nobody_heard_of_is_made_again() {
    // R1 leads, and dies before R2 hears of its timeline.
    const PAST: &[Action] = &[
        Action::Expire,
        Action::Acquire(1),
        Action::Follow(2),
        Action::Seal(1),
        Action::Promote(1),
        Action::Loop(1),
        Action::Crash(1),
        Action::Crash(0),
        Action::Expire,
        Action::Acquire(2),
        Action::Follow(0),
        Action::Seal(2),
        Action::Promote(2),
    ];
    let past = |model| FailoverModel { past: PAST, ..model };
    assert_breaks(past(without(&["numbers"])), 1, CLEAN);
    assert_holds(past(ALL), 9);
}

#[test]
fn without_timelines_an_abandoned_log_that_grew_is_taken_for_the_newest() {
    assert_breaks(failed_over(without(&["timelines"])), 11, ONE);
}

/// What a test on containers saw: R1 went on alone and was killed, P comes back first.
#[test]
fn without_timelines_the_last_primary_is_overruled_by_the_one_before() {
    const PAST: &[Action] = &[
        Action::Expire,
        Action::Acquire(1),
        Action::Follow(2),
        Action::Seal(1),
        Action::Promote(1),
        Action::Crash(0),
        Action::Loop(1),
        Action::Forget {
            upstream: 1,
            standby: 2,
        },
        Action::Resolve(1),
        Action::Resolve(1),
        Action::Resolve(1),
        Action::Write(1),
        Action::Crash(1),
        Action::Expire,
    ];
    let seen = |model| FailoverModel {
        past: PAST,
        ..failed_over(model)
    };
    assert_breaks(seen(without(&["timelines"])), 6, KEPT);
    assert_holds(seen(ALL), 11);
}

#[test]
fn with_all_rules_nothing_is_lost_to_logs_that_grow_after_a_failover() {
    assert!(
        assert_holds(failed_over(ALL), 11),
        "no run got as far as a successor's write"
    );
}

/// P crashed, its log grew, and it followed R1 before R1 was promoted.
#[test]
fn without_care_a_tail_acknowledges_what_it_lacks() {
    const PAST: &[Action] = &[
        Action::Crash(0),
        Action::Recover(0),
        Action::Expire,
        Action::Acquire(1),
        Action::Follow(0),
        Action::Follow(2),
        Action::Seal(1),
        Action::Promote(1),
    ];
    let model = FailoverModel {
        past: PAST,
        ..failed_over(without(&["tails"]))
    };
    assert_breaks(model, 8, KEPT);
}

#[test]
fn the_protocol_as_first_written_loses_a_write() {
    assert_breaks(
        FailoverModel {
            rules: Rules::FIRST,
            ..ALL
        },
        14,
        KEPT,
    );
}
