//! A node whose clock is five minutes fast or slow, from its start or from one moment to the next.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use system_tests::failover::{Node, Scene, scene::DEADLINE};
use system_tests::poll_until;

const OFFSETS_SECONDS: [i64; 2] = [300, -300];

/// The lease of Patroni: nobody is elected before that unless the watchers vote, and a leader that forgot to renew it is gone.
const LEASE: Duration = Duration::from_secs(20);

async fn put_wrong(scene: &Scene, node: Node, offset_seconds: i64) -> Result<()> {
    scene.tier.set_clock(node, offset_seconds).await?;
    scene.tier.clock_is_off_by(node, offset_seconds).await
}

/// Waits until the Patroni of `node` has gone on for longer than a lease lasts.
async fn outlive_a_lease(scene: &Scene, node: Node) -> Result<()> {
    let seconds = i64::try_from(LEASE.as_secs())? + 5;
    let first = scene.tier.last_look_at_etcd(node).await?;
    poll_until("Patroni goes on", DEADLINE, Duration::from_millis(500), || async {
        let last = scene.tier.last_look_at_etcd(node).await;
        let last = last.map_err(|error| format!("{error:#}"))?;
        if last - first >= seconds {
            Ok(())
        } else {
            Err(format!("for {} s", last - first))
        }
    })
    .await
}

async fn nobody_is_deposed_by_the_clock_of(node: Node, scene: &Scene) -> Result<()> {
    let (primary, timeline) = (scene.primary().await?, scene.timeline().await?);
    for offset_seconds in OFFSETS_SECONDS {
        put_wrong(scene, node, offset_seconds).await?;
        outlive_a_lease(scene, node).await?;
        scene.wait_for_writes("by the same primary", |by| by == primary).await?;
        scene.tier.wait_until_whole().await?;
        ensure!(scene.primary().await? == primary && scene.timeline().await? == timeline);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_keeps_its_place_when_its_clock_jumps() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let primary = scene.primary().await?;
    scene.fault_begins();
    nobody_is_deposed_by_the_clock_of(primary, &scene).await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_keeps_its_place_when_its_clock_jumps() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let [replica, _] = scene.tier.others(scene.primary().await?);
    scene.fault_begins();
    nobody_is_deposed_by_the_clock_of(replica, &scene).await?;
    scene.end().await.map(drop)
}

/// Kills the primary, and sees that the watchers' votes replace it, and not its lease that runs out.
async fn kill_and_succeed_in_time(scene: &Scene, old: Node) -> Result<Node> {
    let killed_at = Instant::now();
    scene.tier.kill(old).await?;
    let successor = scene.wait_for_successor(old).await?;
    let took = killed_at.elapsed();
    println!("{successor} took over after {took:?}");
    ensure!(took < LEASE, "{took:?} passed until somebody took over");
    Ok(successor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_whose_clock_is_wrong_is_succeeded_in_time() -> Result<()> {
    for offset_seconds in OFFSETS_SECONDS {
        let mut scene = Scene::begin().await?;
        let old = scene.primary().await?;
        put_wrong(&scene, old, offset_seconds).await?;
        scene.fault_begins();
        kill_and_succeed_in_time(&scene, old).await?;
        // It starts with the wrong clock now.
        scene.tier.start(old).await?;
        scene.wait_for_replica(old).await?;
        scene.tier.clock_is_off_by(old, offset_seconds).await?;
        scene.tier.wait_until_whole().await?;
        scene.end().await?;
    }
    Ok(())
}

/// One candidate is fast and the other slow, so that the successor's clock is wrong whoever that is.
#[tokio::test(flavor = "multi_thread")]
async fn candidates_whose_clocks_are_wrong_take_over_in_time() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    let [one, two] = scene.tier.others(old);
    put_wrong(&scene, one, OFFSETS_SECONDS[0]).await?;
    put_wrong(&scene, two, OFFSETS_SECONDS[1]).await?;
    scene.fault_begins();
    let first = kill_and_succeed_in_time(&scene, old).await?;
    scene.tier.start(old).await?;
    scene.wait_for_replica(old).await?;
    scene.tier.wait_until_whole().await?;
    // The other one gets its turn as well.
    let second = if first == one { two } else { one };
    scene.tier.switch_over(first, second).await?;
    scene
        .wait_for_writes("by the other one whose clock is wrong", |node| node == second)
        .await?;
    scene.end().await.map(drop)
}

/// Patroni knows by a clock until when it leads, and the one that it wakes up with says that it still does.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_primary_whose_clock_was_set_back_takes_nothing_after_it_wakes() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let old = scene.primary().await?;
    scene.fault_begins();
    scene.tier.freeze(old).await?;
    scene.tier.set_clock(old, -300).await?;
    scene.wait_for_successor(old).await?;
    scene.wait_for_writes("by the new primary", |node| node != old).await?;
    scene.tier.wake(old).await?;
    scene.wait_for_replica(old).await?;
    scene.tier.clock_is_off_by(old, -300).await?;
    scene.end().await.map(drop)
}
