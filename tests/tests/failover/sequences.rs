//! Faults on top of faults.

use anyhow::{Result, ensure};
use futures::try_join;
use system_tests::failover::{Scene, measure::wait_until_not_counted};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_primary_may_die_before_the_first_is_back() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let first = scene.primary().await?;
    scene.fault_begins();
    scene.tier.kill(first).await?;
    let second = scene.wait_for_successor(first).await?;
    scene
        .wait_for_writes("by the second primary", |node| node == second)
        .await?;
    // Before that, one of the two dead has to be back: `/sync` says that the third alone might lack something.
    wait_until_not_counted(&scene.tier, first).await?;
    scene.tier.kill(second).await?;
    scene
        .wait_for_writes("by the third", |node| node != first && node != second)
        .await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_primary_may_die_as_soon_as_the_first_is_started_again() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let first = scene.primary().await?;
    scene.fault_begins();
    scene.tier.kill(first).await?;
    let second = scene.wait_for_successor(first).await?;
    scene.tier.start(first).await?;
    scene.tier.kill(second).await?;
    scene.wait_for_writes("after the second", |node| node != second).await?;
    scene.end().await.map(drop)
}

/// The first one comes back with a log that is longer than the second one's, on the timeline that was left.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_then_a_replica_then_the_next_primary_may_die() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let first = scene.primary().await?;
    scene.fault_begins();
    scene.tier.kill_with_a_tail(first).await?;
    let second = scene.wait_for_successor(first).await?;
    let replica = scene
        .tier
        .others(first)
        .into_iter()
        .find(|node| *node != second)
        .unwrap_or(first);
    scene.tier.kill(replica).await?;
    scene
        .wait_for_writes("by a primary that is alone", |node| node == second)
        .await?;
    wait_until_not_counted(&scene.tier, replica).await?;
    scene.tier.kill(second).await?;
    try_join!(scene.tier.start(first), scene.tier.start(replica))?;
    // Only the second has what it acknowledged alone.
    scene.nobody_leads(&[first, replica]).await?;
    scene.tier.start(second).await?;
    scene
        .wait_for_writes("when the one that has everything is back", |_| true)
        .await?;
    scene.end_after_darkness().await.map(drop)
}

/// The first one is back with a longer log before the second dies, and has had no time to rewind to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_tail_that_nobody_acknowledged_keeps_nobody_back() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let first = scene.primary().await?;
    scene.fault_begins();
    scene.tier.kill_with_a_tail(first).await?;
    let second = scene.wait_for_successor(first).await?;
    scene.wait_for_writes("by the second", |node| node == second).await?;
    scene.tier.kill(second).await?;
    scene.tier.start(first).await?;
    scene
        .wait_for_writes("by the third", |node| node != first && node != second)
        .await?;
    // For a while only one was left, and that had stopped to hear from a primary.
    scene.end_after_darkness().await.map(drop)
}

/// As if promotions had begun timelines of which nobody here has heard.
#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_begins_no_timeline_that_another_may_have_begun() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let timeline = scene.timeline().await?;
    let unheard = serde_json::json!({"node": old.name, "number": 1000, "timeline": timeline + 2}).to_string();
    scene.fault_begins();
    scene.tier.etcd_put_back("promotion", Some(&unheard)).await?;
    scene.tier.kill(old).await?;
    scene.wait_for_successor(old).await?;
    ensure!(scene.timeline().await? == timeline + 3);
    // It rewinds across the numbers that were skipped.
    scene.tier.start(old).await?;
    scene.wait_for_replica(old).await?;
    scene.end().await.map(drop)
}

/// One replica acknowledges while the other gets nothing, and dies. What it acknowledged is the primary's alone then, and
/// for the one that is left it isn't enough that it once had everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_is_not_counted_for_what_another_acknowledged() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [acknowledging, behind] = scene.tier.others(old);
    scene.fault_begins();
    scene.tier.stop_receiving(behind).await?;
    scene.wait_for_writes("that one replica doesn't get", |_| true).await?;
    scene.tier.kill(acknowledging).await?;
    wait_until_not_counted(&scene.tier, acknowledging).await?;
    scene.tier.kill(old).await?;
    scene.tier.go_on_receiving(behind).await?;
    let members = scene.tier.sync_members().await?;
    if members.iter().any(|name| name == behind.name) {
        scene.wait_for_successor(old).await?;
    } else {
        scene.nobody_leads(&[behind]).await?;
    }
    scene.end_after_darkness().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_may_die_while_a_replica_is_dead() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [dead, alive] = scene.tier.others(old);
    scene.tier.kill(dead).await?;
    wait_until_not_counted(&scene.tier, dead).await?;
    scene.fault_begins();
    scene.tier.kill(old).await?;
    scene.wait_for_writes("by the last one", |node| node == alive).await?;
    scene.end().await.map(drop)
}

/// P freezes, R1 is promoted and acknowledges, R1 dies before it has written `/history`, P wakes. Patroni alone would let P
/// lead again on the old timeline, and what R1 acknowledged would be gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_wakes_after_its_successor_died_does_not_lead_on() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let frozen = scene.primary().await?;
    let history = scene.tier.etcd_get("history").await?;
    scene.fault_begins();
    scene.tier.freeze(frozen).await?;
    let successor = scene.wait_for_successor(frozen).await?;
    scene
        .wait_for_writes("by the successor", |node| node == successor)
        .await?;
    scene.tier.kill(successor).await?;
    scene.tier.etcd_put_back("history", history.as_deref()).await?;
    scene.tier.wake(frozen).await?;
    let third = scene
        .tier
        .others(frozen)
        .into_iter()
        .find(|node| *node != successor)
        .unwrap_or(frozen);
    scene
        .wait_for_writes("by the only one that has everything", |node| node == third)
        .await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_promoted_while_both_that_have_everything_are_dead() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [acknowledging, behind] = scene.tier.others(old);
    scene.fault_begins();
    scene.tier.freeze(behind).await?;
    scene.wait_for_writes("that one replica doesn't get", |_| true).await?;
    try_join!(scene.tier.kill(old), scene.tier.kill(acknowledging))?;
    scene.tier.wake(behind).await?;
    scene.nobody_leads(&[behind]).await?;
    scene.tier.start(acknowledging).await?;
    scene
        .wait_for_writes("when one that has everything is back", |_| true)
        .await?;
    scene.end_after_darkness().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_replicas_writes_go_on_and_then_only_this_primary_may_lead() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let alone = scene.primary().await?;
    let [one, two] = scene.tier.others(alone);
    scene.fault_begins();
    try_join!(scene.tier.kill(one), scene.tier.kill(two))?;
    scene.wait_for_writes("without replicas", |node| node == alone).await?;
    scene.wait_for_reads("by the primary", |node| node == alone).await?;
    let members = scene.tier.sync_members().await?;
    ensure!(
        members == [alone.name],
        "acknowledged alone while /sync names {members:?}"
    );

    scene.tier.kill(alone).await?;
    try_join!(scene.tier.start(one), scene.tier.start(two))?;
    scene.nobody_leads(&[one, two]).await?;
    scene.tier.start(alone).await?;
    scene
        .wait_for_writes("when the one that has everything is back", |_| true)
        .await?;
    scene.end_after_darkness().await.map(drop)
}
