//! Room that runs out.

use anyhow::Result;
use futures::future::try_join_all;
use system_tests::failover::{Node, Scene, Tier};

/// Small enough to be outgrown in a moment, on disks that hold little more than one of the usual ones.
const SIZES: [(&str, &str); 3] = [
    ("max_wal_size", "64MB"),
    ("max_slot_wal_keep_size", "48MB"),
    ("wal_keep_size", "16MB"),
];

async fn outgrow(scene: &Scene, primary: Node, replica: Node) -> Result<()> {
    for (name, small) in SIZES {
        scene.tier.set_parameter(name, small).await?;
    }
    scene.tier.kill(replica).await?;
    scene.tier.outgrow_slot(primary).await?;
    scene
        .wait_for_writes("without the replica", |node| node == primary)
        .await?;
    scene.tier.start(replica).await?;
    scene.wait_for_replica(replica).await.map(drop)
}

async fn put_back(tier: &Tier, usual: &[String]) -> Result<()> {
    tier.heal().await?;
    for ((name, _), usual) in SIZES.iter().zip(usual) {
        tier.set_parameter(name, usual).await?;
    }
    Ok(())
}

/// The log that the replica needs is gone by then: it takes a new copy of everything, by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_slot_outgrew_its_bound_comes_back_by_itself() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let primary = scene.primary().await?;
    let [replica, _] = scene.tier.others(primary);
    let usual = try_join_all(SIZES.map(|(name, _)| scene.tier.parameter(primary, name))).await?;
    scene.fault_begins();
    let outcome = outgrow(&scene, primary, replica).await;
    let restored = put_back(&scene.tier, &usual).await;
    outcome?;
    restored?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_disk_is_full_is_succeeded_and_comes_back_when_there_is_room() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let full = scene.primary().await?;
    if !scene.tier.disk_may_be_filled(full).await? {
        println!("left out: the disks of this cluster are the machine's own");
        return scene.end().await.map(drop);
    }
    scene.fault_begins();
    scene.tier.fill_disk(full).await?;
    let outcome = async {
        scene.tier.use_the_log_up(full).await?;
        scene.wait_for_successor(full).await?;
        scene.wait_for_writes("by the new primary", |node| node != full).await
    };
    let outcome = outcome.await;
    scene.tier.empty_disk(full).await?;
    outcome?;
    scene.wait_for_replica(full).await?;
    scene.end().await.map(drop)
}
