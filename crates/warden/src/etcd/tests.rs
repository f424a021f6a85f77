use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;

/// Long enough for any machine; none of the tests waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(20);

fn real() -> HostPort {
    shop_testkit::etcd_host().parse().unwrap()
}

fn etcd() -> Etcd {
    Etcd::new(&[real()])
}

/// A key that no other test uses.
fn unique() -> String {
    format!("/test/{}/", shop_testkit::unique("warden"))
}

async fn value_of(etcd: &Etcd, key: &str) -> Option<String> {
    let read = etcd.read(&[Keys::One(key.to_owned())]).await.unwrap();
    read.entries.into_iter().next().map(|entry| entry.value)
}

#[tokio::test]
async fn what_is_put_is_read_with_its_revision() {
    let (etcd, prefix) = (etcd(), unique());
    let (one, two) = (format!("{prefix}one"), format!("{prefix}two"));
    let put = Txn::default().then_put(&one, "1", None).then_put(&two, "zwölf", None);
    assert!(etcd.commit(&put).await.unwrap());
    let read = etcd
        .read(&[Keys::StartingWith(prefix.clone()), Keys::One("/none".to_owned())])
        .await
        .unwrap();
    let values: Vec<_> = read
        .entries
        .iter()
        .map(|entry| (entry.key.as_str(), entry.value.as_str()))
        .collect();
    assert_eq!(values, [(one.as_str(), "1"), (two.as_str(), "zwölf")]);
    assert!(read.entries[0].mod_revision > 0 && read.entries[0].mod_revision <= read.revision);
    assert_eq!(read.entries[0].mod_revision, read.entries[1].mod_revision);
}

#[tokio::test]
async fn a_transaction_happens_only_if_all_conditions_hold() {
    let (etcd, key) = (etcd(), unique());
    assert!(
        etcd.commit(&Txn::default().if_revision(&key, 0).then_put(&key, "mine", None))
            .await
            .unwrap()
    );
    assert!(
        !etcd
            .commit(&Txn::default().if_revision(&key, 0).then_put(&key, "too late", None))
            .await
            .unwrap()
    );
    let revision = etcd.read(&[Keys::One(key.clone())]).await.unwrap().entries[0].mod_revision;
    let two_conditions = |value| {
        Txn::default()
            .if_value(&key, value)
            .if_revision(&key, revision)
            .then_delete(&key)
    };
    assert!(!etcd.commit(&two_conditions("yours")).await.unwrap());
    assert_eq!(value_of(&etcd, &key).await.as_deref(), Some("mine"));
    assert!(etcd.commit(&two_conditions("mine")).await.unwrap());
    assert_eq!(value_of(&etcd, &key).await, None);
}

#[tokio::test]
async fn a_key_ends_with_its_lease() {
    let (etcd, key) = (etcd(), unique());
    let lease = etcd.grant_lease(Duration::from_secs(60)).await.unwrap();
    assert!(
        etcd.commit(&Txn::default().then_put(&key, "1", Some(lease)))
            .await
            .unwrap()
    );
    assert!(etcd.keep_alive(lease).await.unwrap());
    etcd.revoke(lease).await.unwrap();
    assert_eq!(value_of(&etcd, &key).await, None);
    assert!(!etcd.keep_alive(lease).await.unwrap());
    let orphan = etcd
        .commit(&Txn::default().then_put(&key, "1", Some(lease)))
        .await
        .unwrap_err();
    assert!(matches!(orphan, EtcdError::Refused { .. }), "{orphan}");
}

#[tokio::test]
async fn a_watch_reports_changes_of_all_its_keys_and_of_no_others() {
    let (etcd, prefix) = (Arc::new(etcd()), unique());
    let (one, votes) = (format!("{prefix}leader"), format!("{prefix}votes/"));
    let start = etcd.read(&[]).await.unwrap().revision;
    let keys = [Keys::One(one.clone()), Keys::StartingWith(votes.clone())];
    let mut watch = etcd.watch(&keys, start + 1).await.unwrap();
    for key in [one.clone(), format!("{votes}a")] {
        etcd.commit(&Txn::default().then_put(&key, "1", None)).await.unwrap();
        timeout(DEADLINE, watch.changed()).await.unwrap().unwrap();
    }
    // Changes from before the watch are reported as well, if they are not from before its revision.
    let mut late = etcd.watch(&keys[..1], start + 1).await.unwrap();
    timeout(DEADLINE, late.changed()).await.unwrap().unwrap();
    etcd.commit(&Txn::default().then_put(&format!("{prefix}other"), "1", None))
        .await
        .unwrap();
    etcd.commit(&Txn::default().then_delete(&one)).await.unwrap();
    timeout(DEADLINE, watch.changed()).await.unwrap().unwrap();
    assert!(
        timeout(Duration::from_millis(50), watch.changed()).await.is_err(),
        "somebody else's key was reported"
    );
}

#[tokio::test]
async fn dead_and_frozen_endpoints_are_passed_over() {
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hosts: Vec<HostPort> = [frozen.local_addr().unwrap(), dead.local_addr().unwrap()]
        .map(|address| address.to_string().parse().unwrap())
        .into();
    drop(dead);
    let etcd = Etcd::new(&[hosts[0].clone(), hosts[1].clone(), real()]);
    let key = unique();
    assert!(etcd.commit(&Txn::default().then_put(&key, "1", None)).await.unwrap());
    // From now on the one that answered is asked first.
    assert_eq!(etcd.hosts_in_turn()[0], real().as_str());
    etcd.watch(&[Keys::One(key)], 0).await.unwrap();
}

#[tokio::test]
async fn without_any_endpoint_the_last_failure_is_told() {
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host: HostPort = dead.local_addr().unwrap().to_string().parse().unwrap();
    drop(dead);
    let error = Etcd::new(std::slice::from_ref(&host)).read(&[]).await.unwrap_err();
    assert!(error.to_string().contains(host.as_str()), "{error}");
}
