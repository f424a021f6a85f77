//! One fault of the primary at a time.

use anyhow::Result;
use futures::try_join;
use system_tests::failover::Scene;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_is_succeeded_and_comes_back_as_a_replica() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    scene.fault_begins();
    scene.tier.kill(old).await?;
    scene.wait_for_successor(old).await?;
    scene.tier.start(old).await?;
    scene.wait_for_replica(old).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_primary_is_succeeded_and_comes_back_as_a_replica() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    scene.fault_begins();
    try_join!(scene.tier.stop(old), scene.wait_for_successor(old))?;
    scene.tier.start(old).await?;
    scene.wait_for_replica(old).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_takes_nothing_after_it_wakes() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    scene.fault_begins();
    scene.tier.freeze(old).await?;
    scene.wait_for_successor(old).await?;
    scene.wait_for_writes("by the new primary", |node| node != old).await?;
    scene.tier.wake(old).await?;
    scene.wait_for_replica(old).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_without_a_network_is_succeeded_and_takes_nothing_when_it_is_back() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    scene.fault_begins();
    scene.tier.cut(old).await?;
    scene.wait_for_successor(old).await?;
    scene.wait_for_writes("by the new primary", |node| node != old).await?;
    scene.tier.reconnect(old).await?;
    scene.wait_for_replica(old).await?;
    scene.end().await.map(drop)
}

/// The primary still renews its lease then, and takes its key back when it was deleted: who leads in the end is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_reaches_etcd_but_no_replica_acknowledges_nothing_that_is_lost() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [one, two] = scene.tier.others(old);
    scene.fault_begins();
    scene.tier.cut_off_from(old, &[one, two]).await?;
    scene
        .wait_for_writes("though the replicas are cut off", |_| true)
        .await?;
    scene.tier.let_through(old).await?;
    scene.end().await?;

    // A second time with one of the replicas only: the other goes on acknowledging.
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [one, _] = scene.tier.others(old);
    scene.fault_begins();
    scene.tier.cut_off_from(old, &[one]).await?;
    scene.wait_for_writes("though one replica is cut off", |_| true).await?;
    scene.tier.let_through(old).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_loses_nothing() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [successor, _] = scene.tier.others(old);
    scene.fault_begins();
    try_join!(scene.tier.switch_over(old, successor), scene.wait_for_successor(old))?;
    scene
        .wait_for_writes("by the one that was chosen", |node| node == successor)
        .await?;
    scene.end().await.map(drop)
}
