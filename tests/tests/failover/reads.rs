//! What readers and writers meet at hosts that are slow, late, frozen or not there.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use shop_db::{Cluster, DbError, Freshness};
use system_tests::failover::{Scene, clients::Login};

/// Far above the 5 s that a write waits for a primary, for machines that are busy.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_accepts_connections_and_never_answers_fails_no_read() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let [frozen, _] = scene.tier.others(scene.primary().await?);
    scene.fault_begins();
    scene.tier.freeze(frozen).await?;
    scene.wait_for_reads("by the others", |node| node != frozen).await?;
    scene.wait_for_writes("with one replica frozen", |_| true).await?;
    scene.tier.wake(frozen).await?;
    scene
        .wait_for_reads("by the one that woke", |node| node == frozen)
        .await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_primary_writes_are_refused_in_time_and_reads_go_on() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let primary = scene.primary().await?;
    scene.tier.pause_failover().await?;
    scene.fault_begins();
    scene.tier.kill(primary).await?;
    scene
        .wait_for_reads("without a primary", |node| node != primary)
        .await?;

    let asked_at = Instant::now();
    let answer = tokio::time::timeout(ANSWER_DEADLINE, scene.clients.cluster.write())
        .await
        .context("no answer in time")?;
    let error = answer
        .err()
        .with_context(|| format!("a connection after {:?}", asked_at.elapsed()))?;
    ensure!(
        matches!(error, DbError::NoPrimary { .. }) && error.is_unavailable(),
        "{error}"
    );
    scene.wait_for_reads("still", |node| node != primary).await?;

    scene.tier.start(primary).await?;
    scene.tier.end_pause().await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lags_serves_nobody_until_it_has_caught_up() -> Result<()> {
    let mut scene = Scene::begin().await?;
    let [late, _] = scene.tier.others(scene.primary().await?);
    scene.fault_begins();
    scene.tier.stop_replay(late).await?;
    // On a busy machine the primary may seem slow.
    let bound = Login::prepare(&scene.tier)
        .await?
        .cluster_config()?
        .lag_max_of_slow_primary;
    scene
        .wait_for("the replica is found to lag", || {
            let status = scene.clients.cluster.status();
            let host = status.iter().find(|host| scene.tier.node_at(&host.host) == Some(late));
            let lag = host.and_then(|host| host.lag);
            if lag.is_some_and(|lag| lag > bound) {
                Ok(())
            } else {
                Err(format!("{lag:?}"))
            }
        })
        .await?;
    // A read that was under way may still have been answered by it.
    scene.wait_for_reads("by the others", |node| node != late).await?;
    let since = Instant::now();
    scene
        .wait_for_reads("by the others, again", |node| node != late)
        .await?;
    let by_the_late_one = scene.clients.ledger.reads_since(since, |node| node == late);
    scene.tier.go_on_replaying(late).await?;
    ensure!(by_the_late_one == 0, "{by_the_late_one} reads by a replica that lags");
    scene
        .wait_for_reads("by the one that caught up", |node| node == late)
        .await?;
    scene.end().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_name_does_not_resolve_is_done_without() -> Result<()> {
    let scene = Scene::begin().await?;
    let mut config = Login::prepare(&scene.tier).await?.patient_cluster_config()?;
    config.hosts.insert(0, "postgres-0.invalid:5432".to_owned());
    let cluster = Cluster::connect(config).await?;
    for _ in 0..10 {
        cluster.write().await?;
        let one = cluster.reading(Freshness::Any, async |mut connection| {
            Ok(sqlx::query_scalar::<_, i32>("select 1")
                .fetch_one(&mut *connection)
                .await?)
        });
        ensure!(one.await? == 1);
    }
    cluster.close().await;
    scene.end().await.map(drop)
}
