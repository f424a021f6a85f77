use proptest::prelude::*;

use super::*;
use crate::postgres::Log;

const ME: &str = "postgres-2";

fn sync(leader: &str, voters: &[&str], quorum: usize) -> SyncState {
    SyncState {
        leader: Some(leader.to_owned()),
        voters: voters.iter().map(|name| (*name).to_owned()).collect(),
        quorum,
    }
}

/// postgres-1 leads, postgres-2 and -3 acknowledge, one of them each commit.
fn usual() -> SyncState {
    sync("postgres-1", &["postgres-2", "postgres-3"], 1)
}

fn log(timeline: u32, position: u64) -> Log {
    Log {
        position,
        timeline_at_least: timeline,
        timeline_at_most: timeline,
    }
}

fn candidate() -> Standing {
    Standing {
        in_recovery: true,
        receives: false,
        receives_from: None,
        told_to_receive_from: None,
        log: log(2, 1000),
        followers: ["postgres-1", "postgres-3"].map(str::to_owned).into(),
        synchronous_standby_names: r#"ANY 1 ("postgres-1","postgres-3")"#.to_owned(),
    }
}

fn behind_me() -> Standing {
    Standing {
        receives: true,
        receives_from: Some(ME.to_owned()),
        told_to_receive_from: Some(ME.to_owned()),
        log: log(2, 900),
        followers: [].into(),
        synchronous_standby_names: String::new(),
        ..candidate()
    }
}

fn judged(sync: &SyncState, answers: &[(&str, Standing)]) -> Judgement {
    let answers = answers
        .iter()
        .map(|(name, standing)| ((*name).to_owned(), Ok(standing.clone())))
        .collect();
    judge(ME, &candidate(), Some(sync), &answers)
}

fn missing(judgement: &Judgement) -> &str {
    match judgement {
        Judgement::Missing(missing) => missing,
        Judgement::Safe { behind } => panic!("safe, with {behind:?}"),
    }
}

#[test]
fn a_member_with_another_behind_it_may_be_promoted() {
    let judgement = judged(&usual(), &[("postgres-3", behind_me())]);
    assert_eq!(
        judgement,
        Judgement::Safe {
            behind: vec!["postgres-3".to_owned()]
        }
    );
}

#[test]
fn who_may_still_acknowledge_to_the_old_leader_does_not_stand_behind() {
    let receives_from = |host: Option<&str>| Standing {
        receives_from: host.map(str::to_owned),
        ..behind_me()
    };
    let ahead = Standing {
        log: log(2, 1001),
        ..behind_me()
    };
    let primary = Standing {
        in_recovery: false,
        ..behind_me()
    };
    for (standing, reason) in [
        (receives_from(Some("postgres-1")), "receives from postgres-1"),
        (receives_from(None), "receives from nobody"),
        (ahead, "is ahead by 1 bytes"),
        (primary, "is a primary"),
    ] {
        let judgement = judged(&usual(), &[("postgres-3", standing)]);
        assert!(missing(&judgement).contains(reason), "{judgement:?}");
    }
    assert!(missing(&judged(&usual(), &[])).contains("postgres-3 does not answer"));
}

#[test]
fn timelines_come_before_positions() {
    let judged = |own: Log, member: Log| {
        let own = Standing {
            log: own,
            ..candidate()
        };
        let member = Standing {
            log: member,
            ..behind_me()
        };
        let answers = [("postgres-3".to_owned(), Ok(member))].into();
        judge(ME, &own, Some(&usual()), &answers)
    };
    // A tail that nobody acknowledged, longer than the successor's log by the recovery from its crash.
    assert!(matches!(judged(log(2, 1000), log(1, 5000)), Judgement::Safe { .. }));
    // Seen from the other side: a successor that went on alone.
    assert!(missing(&judged(log(1, 5000), log(2, 1000))).contains("is on timeline 2, and this node on 1"));
    // Of the member the most counts that it can be on, of the candidate the least.
    let between = |position| Log {
        position,
        timeline_at_least: 1,
        timeline_at_most: 2,
    };
    missing(&judged(log(1, 1000), between(900)));
    missing(&judged(between(1000), log(2, 900)));
    assert!(matches!(judged(log(2, 1000), between(900)), Judgement::Safe { .. }));
}

#[test]
fn a_receiver_that_the_candidate_refuses_does_not_stand_behind() {
    let own = Standing {
        followers: ["postgres-1".to_owned()].into(),
        ..candidate()
    };
    let answers = [("postgres-3".to_owned(), Ok(behind_me()))].into();
    assert!(missing(&judge(ME, &own, Some(&usual()), &answers)).contains("receives nothing from here"));
}

#[test]
fn one_whose_log_forks_off_need_not_be_seen_in_the_moment_in_which_it_is_connected() {
    let behind = |told: &str, log: Log| {
        let member = Standing {
            receives_from: None,
            told_to_receive_from: Some(told.to_owned()),
            log,
            ..behind_me()
        };
        judged(&usual(), &[("postgres-3", member)])
    };
    assert!(matches!(behind(ME, log(1, 5000)), Judgement::Safe { .. }));
    missing(&behind("postgres-1", log(1, 5000)));
    missing(&behind(ME, log(2, 900)));
}

#[test]
fn the_old_leader_counts_like_any_member_once_it_follows() {
    assert!(matches!(
        judged(&usual(), &[("postgres-1", behind_me())]),
        Judgement::Safe { .. }
    ));
    let still_primary = Standing {
        in_recovery: false,
        ..behind_me()
    };
    missing(&judged(&usual(), &[("postgres-1", still_primary)]));
}

#[test]
fn a_node_that_sync_names_as_leader_is_no_exception() {
    let own = Standing {
        synchronous_standby_names: r#"ANY 1 ("postgres-1","postgres-3")"#.to_owned(),
        ..candidate()
    };
    let sync = sync(ME, &["postgres-1", "postgres-3"], 1);
    missing(&judge(ME, &own, Some(&sync), &BTreeMap::new()));
}

#[test]
fn an_outsider_needs_one_more() {
    let outside = sync("postgres-1", &["postgres-3"], 0);
    let own = Standing {
        synchronous_standby_names: r#"ANY 2 ("postgres-1","postgres-3")"#.to_owned(),
        ..candidate()
    };
    let answers = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), Ok(behind_me()))).collect();
    missing(&judge(ME, &own, Some(&outside), &BTreeMap::new()));
    assert!(matches!(
        judge(ME, &own, Some(&outside), &answers(&["postgres-3"])),
        Judgement::Safe { .. }
    ));
}

#[test]
fn a_leader_that_goes_on_alone_is_succeeded_by_nobody() {
    let alone = sync("postgres-1", &[], 0);
    missing(&judged(&alone, &[("postgres-3", behind_me())]));
}

#[test]
fn the_last_one_acknowledging_may_be_promoted_alone() {
    let own = Standing {
        synchronous_standby_names: r#"ANY 1 ("postgres-1")"#.to_owned(),
        ..candidate()
    };
    let pair = sync("postgres-1", &[ME], 0);
    assert_eq!(
        judge(ME, &own, Some(&pair), &BTreeMap::new()),
        Judgement::Safe { behind: vec![] }
    );
}

#[test]
fn commits_that_would_wait_for_somebody_whom_sync_no_longer_names_are_not_safe() {
    // Patroni chose by the usual /sync; then the old leader took postgres-3 out of it. A commit that only postgres-3
    // has would be unknown to postgres-1, which /sync lets lead alone.
    let pair = sync("postgres-1", &[ME], 0);
    assert!(missing(&judged(&pair, &[])).contains("1 of the 2 members"));
}

#[test]
fn where_nothing_was_promised_anybody_may_be_promoted() {
    assert_eq!(
        judge(ME, &candidate(), None, &BTreeMap::new()),
        Judgement::Safe { behind: vec![] }
    );
    let nobody = SyncState {
        leader: None,
        voters: [].into(),
        quorum: 0,
    };
    let own = Standing {
        synchronous_standby_names: String::new(),
        ..candidate()
    };
    assert_eq!(
        judge(ME, &own, Some(&nobody), &BTreeMap::new()),
        Judgement::Safe { behind: vec![] }
    );
}

#[test]
fn a_primary_is_no_candidate() {
    let own = Standing {
        in_recovery: false,
        ..candidate()
    };
    assert!(missing(&judge(ME, &own, Some(&usual()), &BTreeMap::new())).contains("no replica"));
}

#[test]
fn a_candidate_that_still_receives_is_not_promoted() {
    let own = Standing {
        receives: true,
        ..candidate()
    };
    let answers = [("postgres-3".to_owned(), Ok(behind_me()))].into();
    assert!(missing(&judge(ME, &own, Some(&usual()), &answers)).contains("not left its upstream"));
}

#[test]
fn names_are_read_as_patroni_writes_them() {
    let parsed = |text: &str| WaitedFor::parse(text).map(|waited| (waited.count, waited.names.join(" ")));
    assert_eq!(parsed(""), Some((0, String::new())));
    assert_eq!(
        parsed(r#"ANY 1 ("postgres-1","postgres-3")"#),
        Some((1, "postgres-1 postgres-3".to_owned()))
    );
    assert_eq!(parsed("2 (a,b,c)"), Some((2, "a b c".to_owned())));
    assert_eq!(parsed("FIRST 1 (a)"), Some((1, "a".to_owned())));
    assert_eq!(parsed(r#""postgres-1""#), Some((1, "postgres-1".to_owned())));
    for text in ["*", "ANY 1 (*)", "ANY x (a)", "ANY 1 ()"] {
        assert_eq!(parsed(text), None, "{text}");
    }
}

/// Names of up to five nodes.
fn some_of_five() -> impl Strategy<Value = Vec<String>> {
    let nodes: Vec<_> = (1..=5).map(|number| format!("postgres-{number}")).collect();
    proptest::sample::subsequence(nodes, 0..=5)
}

proptest! {
    /// What the rule promises, by brute force: wherever it lets a candidate go on, each set of quorum + 1 members
    /// includes one of every set of nodes that a commit may have waited for.
    #[test]
    fn commits_let_through_reach_every_future_quorum(
        members in some_of_five(), quorum in 0_usize..3, listed in some_of_five(), count in 0_usize..4,
    ) {
        prop_assume!(!members.is_empty() && quorum < members.len());
        let others: Vec<_> = listed.into_iter().filter(|name| name != ME).collect();
        prop_assume!(count <= others.len() && (count > 0) != others.is_empty());
        let state = SyncState { leader: Some(members[0].clone()), voters: members[1..].iter().cloned().collect(), quorum };
        let names = if count == 0 { String::new() } else { format!("ANY {count} ({})", others.join(",")) };
        if future_commits_are_safe(ME, &names, &state).is_ok() {
            for waited_for in subsets(&others, count) {
                let has_it = |name: &String| name == ME || waited_for.contains(name);
                for majority in subsets(&members, quorum + 1) {
                    prop_assert!(majority.iter().any(has_it), "{names} {members:?} {quorum}: {majority:?} lacks it");
                }
            }
        }
    }
}

fn subsets(of: &[String], size: usize) -> Vec<Vec<String>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let Some((first, rest)) = of.split_first() else {
        return Vec::new();
    };
    let mut all = subsets(rest, size);
    all.extend(subsets(rest, size - 1).into_iter().map(|mut set| {
        set.push(first.clone());
        set
    }));
    all
}
