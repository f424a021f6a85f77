//! Faults of what elects.

use anyhow::Result;
use futures::try_join;
use system_tests::{
    failover::{ETCD, Scene, scene::DEADLINE},
    wait_until,
};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_of_etcd_writes_go_on() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let primary = scene.primary().await?;
    scene.fault_begins();
    try_join!(scene.tier.kill(ETCD[0]), scene.tier.kill(ETCD[1]))?;
    wait_until("Patroni does without etcd", DEADLINE, || async {
        match scene.tier.is_in_failsafe_mode(primary).await {
            Ok(true) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
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
