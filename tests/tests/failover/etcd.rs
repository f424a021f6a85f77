//! Faults of what elects.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use futures::try_join;
use system_tests::{
    failover::{ETCD, Scene},
    poll_until,
};

/// Longer than Patroni tries to renew its lease before it asks the members instead.
const WITHOUT_ETCD_SECONDS: i64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_of_etcd_writes_go_on() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let primary = scene.primary().await?;
    scene.fault_begins();
    try_join!(scene.tier.kill(ETCD[0]), scene.tier.kill(ETCD[1]))?;
    poll_until(
        "Patroni has been without etcd for a while",
        Duration::from_secs(60),
        Duration::from_millis(200),
        || async {
            let last = scene
                .tier
                .last_look_at_etcd(primary)
                .await
                .map_err(|error| format!("{error:#}"))?;
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |time| time.as_secs() as i64);
            if now - last >= WITHOUT_ETCD_SECONDS {
                Ok(())
            } else {
                Err(format!("for {} s", now - last))
            }
        },
    )
    .await?;
    scene.wait_for_writes("without etcd", |node| node == primary).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_and_the_leader_of_etcd_may_die_together() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let (old, etcd) = (scene.primary().await?, scene.tier.etcd_leader().await?);
    scene.fault_begins();
    try_join!(scene.tier.kill(old), scene.tier.kill(etcd))?;
    scene.wait_for_successor(old).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_watcher_disturbs_nobody_and_is_back_for_the_next_failover() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [one, two] = scene.tier.others(old);
    scene.fault_begins();
    for node in [old, one, two] {
        if !scene.tier.kill_watcher(node).await? {
            println!("there is no watcher on {node}");
        }
    }
    scene.wait_for_writes("without watchers", |node| node == old).await?;
    scene.tier.kill(old).await?;
    scene.wait_for_successor(old).await?;
    scene.end().await.map(drop)
}
