//! The protocol holds with all its rules, and without any of them a run is found that breaks it. Every search ends by
//! its depth.

use failover_model::{Bounds, CLEAN, FailoverModel, KEPT, ONE, Rules, SUCCEEDS};
use stateright::{Checker, Model};

const ALL: FailoverModel = FailoverModel {
    rules: Rules::ALL,
    bounds: Bounds::DEFAULT,
    availability: false,
};

fn without(names: &[&str]) -> FailoverModel {
    let mut model = ALL;
    for name in names {
        *model.rules.by_name(name).unwrap() = false;
    }
    model
}

/// The rewrite at deletion matters only where the leader key goes by deletion alone, and the fence doesn't compare
/// names.
fn deletion_only(names: &[&str]) -> FailoverModel {
    FailoverModel {
        bounds: Bounds {
            writes: 1,
            expiry: false,
            ..Bounds::DEFAULT
        },
        ..without(names)
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
        11,
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
    assert_breaks(deletion_only(&["names", "rewrite"]), 16, ONE);
}

#[test]
fn the_rewrite_replaces_the_comparison_of_names_where_keys_only_go_by_deletion() {
    assert_holds(deletion_only(&["names"]), 16);
}

#[test]
fn without_the_comparison_of_names_a_key_that_expired_is_enough() {
    let bounds = Bounds {
        writes: 1,
        ..Bounds::DEFAULT
    };
    assert_breaks(
        FailoverModel {
            bounds,
            ..without(&["names"])
        },
        16,
        ONE,
    );
}

#[test]
fn without_settling_a_standby_that_lags_is_elected() {
    assert_breaks(without(&["settle"]), 14, KEPT);
}

#[test]
fn without_a_second_look_a_retake_shrinks_sync_behind_a_seal() {
    assert_breaks(without(&["relook"]), 14, KEPT);
}

#[test]
fn without_detaching_a_node_about_to_promote_is_counted() {
    assert_breaks(without(&["detach"]), 14, ONE);
}

#[test]
fn without_cloning_anew_a_late_promotion_is_taken_for_its_successor() {
    assert_breaks(without(&["reclone"]), 14, CLEAN);
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
