use super::*;
use crate::etcd::KeyValue;

fn keys() -> ClusterKeys {
    ClusterKeys::new(&"/db/shop/".parse().unwrap())
}

fn entry(name: &str, value: &str, mod_revision: i64) -> KeyValue {
    KeyValue {
        key: format!("/db/shop/{name}"),
        value: value.to_owned(),
        mod_revision,
    }
}

fn cluster(entries: Vec<KeyValue>) -> Cluster {
    Cluster::parse(&keys(), Snapshot { revision: 99, entries }).unwrap()
}

/// The usual case: postgres-1 leads, and one of the two others has every commit.
fn healthy(votes: &[(&str, &str)]) -> Cluster {
    let mut entries = vec![
        entry("leader", "postgres-1", 40),
        entry(
            "sync",
            r#"{"leader":"postgres-1","quorum":1,"sync_standby":"postgres-2,postgres-3"}"#,
            50,
        ),
    ];
    entries.extend(
        votes
            .iter()
            .map(|(node, about)| entry(&format!("votes/{node}"), about, 60)),
    );
    cluster(entries)
}

#[test]
fn everything_is_read_as_patroni_and_the_wardens_write_it() {
    let read = cluster(vec![
        entry("config", r#"{"ttl":20,"pause":true}"#, 1),
        entry("leader", "postgres-1", 40),
        entry("promotion", r#"{"node":"postgres-1","number":7,"timeline":8}"#, 30),
        entry(
            "sync",
            r#"{"leader":"postgres-1","quorum":1,"sync_standby":"postgres-2,postgres-3"}"#,
            50,
        ),
        entry("votes/postgres-2", "40", 60),
        entry("deletions/postgres-3", "postgres-2", 20),
    ]);
    let sync = read.sync.unwrap();
    assert_eq!(read.leader.unwrap().revision, 40);
    assert_eq!((sync.revision, sync.state.quorum), (50, 1));
    assert_eq!(
        Vec::from_iter(sync.state.members()),
        ["postgres-1", "postgres-2", "postgres-3"]
    );
    assert_eq!((read.promotion.number, read.promotion.timeline), (7, 8));
    assert_eq!(read.promotion_revision, 30);
    assert!(read.paused);
    assert_eq!(read.votes["postgres-2"], 40);
    assert!(read.deletions.contains("postgres-3"));
}

#[test]
fn a_leader_alone_is_written_without_voters() {
    for text in [
        r#"{"leader":"postgres-1","quorum":0,"sync_standby":null}"#,
        r#"{"leader":"postgres-1","sync_standby":""}"#,
    ] {
        let state = SyncState::parse(text).unwrap();
        assert_eq!(Vec::from_iter(state.members()), ["postgres-1"]);
        assert_eq!(state.quorum, 0);
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let snapshot = Snapshot {
        revision: 9,
        entries: vec![entry("sync", "nonsense", 5)],
    };
    let error = Cluster::parse(&keys(), snapshot).unwrap_err();
    assert!(error.to_string().contains("/db/shop/sync"), "{error}");
}

#[test]
fn it_takes_quorum_and_one_votes_about_this_very_leader_key() {
    assert!(!healthy(&[]).is_voted_dead());
    assert!(!healthy(&[("postgres-2", "40")]).is_voted_dead());
    assert!(healthy(&[("postgres-2", "40"), ("postgres-3", "40")]).is_voted_dead());
    // A vote about an earlier reign, and one that can't be read.
    assert!(!healthy(&[("postgres-2", "40"), ("postgres-3", "39")]).is_voted_dead());
    assert!(!healthy(&[("postgres-2", "40"), ("postgres-3", "yes")]).is_voted_dead());
}

#[test]
fn only_members_vote_and_the_leader_is_not_among_them() {
    assert!(!healthy(&[("postgres-2", "40"), ("postgres-1", "40")]).is_voted_dead());
    assert!(!healthy(&[("postgres-2", "40"), ("postgres-9", "40")]).is_voted_dead());
}

#[test]
fn the_last_replica_decides_alone() {
    let read = cluster(vec![
        entry("leader", "postgres-1", 40),
        entry(
            "sync",
            r#"{"leader":"postgres-1","quorum":0,"sync_standby":"postgres-3"}"#,
            50,
        ),
        entry("votes/postgres-3", "40", 60),
    ]);
    assert!(read.is_voted_dead());
}

#[test]
fn a_successor_that_has_not_written_sync_yet_can_be_voted_dead_by_those_that_are_left() {
    let mut entries = vec![
        entry("leader", "postgres-2", 70),
        entry(
            "sync",
            r#"{"leader":"postgres-1","quorum":1,"sync_standby":"postgres-2,postgres-3"}"#,
            50,
        ),
        entry("votes/postgres-3", "70", 80),
    ];
    assert!(!cluster(entries.clone()).is_voted_dead());
    entries.push(entry("votes/postgres-1", "70", 81));
    assert!(cluster(entries).is_voted_dead());
}

#[test]
fn a_leader_that_went_on_alone_is_voted_dead_by_nobody() {
    let read = cluster(vec![
        entry("leader", "postgres-1", 40),
        entry("sync", r#"{"leader":"postgres-1","quorum":0,"sync_standby":null}"#, 50),
        entry("votes/postgres-2", "40", 60),
        entry("votes/postgres-3", "40", 61),
    ]);
    assert!(!read.is_voted_dead());
}

#[test]
fn a_member_needs_quorum_others_and_an_outsider_one_more() {
    let state = healthy(&[]).sync.unwrap().state;
    assert_eq!(state.others_needed("postgres-1"), 1);
    assert_eq!(state.others_needed("postgres-3"), 1);
    assert_eq!(state.others_needed("postgres-9"), 2);
}
