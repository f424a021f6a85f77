//! Everything down, and up again.

use anyhow::Result;
use futures::future::try_join_all;
use system_tests::failover::{ETCD, POSTGRES, Scene};

#[tokio::test(flavor = "multi_thread")]
async fn all_stopped_and_all_started_is_as_before() -> Result<()> {
    let scene = Scene::begin().await?;
    try_join_all(POSTGRES.map(|node| scene.tier.stop(node))).await?;
    try_join_all(ETCD.map(|node| scene.tier.stop(node))).await?;
    try_join_all(ETCD.into_iter().chain(POSTGRES).map(|node| scene.tier.start(node))).await?;
    scene.wait_for_writes("after the start", |_| true).await?;
    scene.end_after_darkness().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_power_cut_any_two_suffice() -> Result<()> {
    for missing in POSTGRES {
        let scene = Scene::begin().await?;
        try_join_all(POSTGRES.map(|node| scene.tier.kill(node))).await?;
        let others = scene.tier.others(missing);
        try_join_all(others.map(|node| scene.tier.start(node))).await?;
        scene
            .wait_for_writes(&format!("without {missing}"), |node| node != missing)
            .await?;
        scene.end_after_darkness().await?;
    }
    Ok(())
}

/// A primary that stopped after its replicas acknowledged alone at the end, so it must come first.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_were_stopped_first_wait_for_the_one_that_went_on() -> Result<()> {
    let scene = Scene::begin().await?;
    let last = scene.primary().await?;
    let replicas = scene.tier.others(last);
    try_join_all(replicas.map(|node| scene.tier.stop(node))).await?;
    scene
        .wait_for_writes("by a primary that is alone", |node| node == last)
        .await?;
    scene.tier.stop(last).await?;
    try_join_all(replicas.map(|node| scene.tier.start(node))).await?;
    scene.nobody_leads(&replicas).await?;
    scene.tier.start(last).await?;
    scene
        .wait_for_writes("when the one that went on is back", |_| true)
        .await?;
    scene.end_after_darkness().await.map(drop)
}

/// Whatever it has by then: nothing, files without the one that says what they are, or all of them and no server yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_while_it_copies_its_data_copies_them_anew() -> Result<()> {
    for has in ["copying", "pg/backup_label", "pg/global/pg_control"] {
        let scene = Scene::begin().await?;
        let [replica, _] = scene.tier.others(scene.primary().await?);
        scene.tier.copy_anew(replica.name).await?;
        // If the copy is done before that was seen, this is a kill like any other.
        let script = format!("cd /var/lib/postgresql/data && until test -e copying -a -e {has}; do sleep 0.01; done");
        let _ = scene
            .tier
            .as_postgres(replica, &["timeout", "20", "sh", "-c", &script])
            .await;
        scene.tier.kill(replica).await?;
        scene.tier.start(replica).await?;
        scene.tier.wait_until_whole().await?;
        scene.end().await?;
    }
    Ok(())
}
