//! Who serves, and what is waited for.

use std::time::{Duration, Instant};

use shop_db::{Cluster, DbError, Freshness, Position, Role};
use shop_testkit::{FreshDatabase, wait_until};

use crate::support::{SOON, answer, config, one_host};

#[tokio::test]
async fn what_was_committed_is_covered_by_the_position_that_follows_it() {
    let database = FreshDatabase::empty().await;
    let cluster = Cluster::connect(config(&database)).await.unwrap();
    let mut connection = cluster.write().await.unwrap();
    sqlx::query("create table things (id int)")
        .execute(&mut *connection)
        .await
        .unwrap();
    let before = connection.position().await.unwrap();
    sqlx::query("insert into things select generate_series(1, 1000)")
        .execute(&mut *connection)
        .await
        .unwrap();
    // The testbed commits without waiting for its disk, so the flushed position may be a moment late there.
    let mut after = connection.position().await.unwrap();
    let deadline = Instant::now() + SOON;
    while !(after.covers(before) && after != before) && Instant::now() < deadline {
        after = connection.position().await.unwrap();
    }
    assert!(after.covers(before) && !before.covers(after), "{before} then {after}");

    let read = cluster.read(Freshness::After(after)).await.unwrap();
    assert_eq!(read.role(), Role::Primary);
    assert!(
        read.position().covers(after),
        "a connection that may serve the read says that it has seen it"
    );
}

#[tokio::test]
async fn a_position_of_the_future_is_not_served() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.write_wait = Duration::from_millis(300);
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("the host serves", SOON, || async { answer(&cluster).await.is_ok() }).await;
    let future = Position {
        timeline: u32::MAX,
        lsn: 1,
    };
    let error = cluster.read(Freshness::After(future)).await.err().unwrap();
    assert!(
        matches!(error, DbError::NoReader { .. }) && error.is_unavailable(),
        "{error}"
    );
}

#[tokio::test]
async fn a_write_waits_for_the_primary_and_goes_on_when_it_is_back() {
    let database = FreshDatabase::empty().await;
    let (config, proxy) = one_host(&database).await;
    proxy.cut();
    let cluster = Cluster::connect(config).await.unwrap();
    let waiting = tokio::spawn({
        let cluster = cluster.clone();
        async move { cluster.write().await.map(|connection| connection.host().to_owned()) }
    });
    wait_until("the probe has failed once", SOON, || async {
        cluster.status()[0].role.is_none()
    })
    .await;
    proxy.thaw();
    assert_eq!(waiting.await.unwrap().unwrap(), proxy.addr().to_string());
}

#[tokio::test]
async fn a_write_without_a_primary_ends_at_its_deadline() {
    let database = FreshDatabase::empty().await;
    let (mut config, proxy) = one_host(&database).await;
    config.write_wait = Duration::from_millis(400);
    proxy.freeze();
    let cluster = Cluster::connect(config).await.unwrap();
    let started = Instant::now();
    let error = cluster.write().await.err().unwrap();
    assert!(
        matches!(error, DbError::NoPrimary { .. }) && error.is_unavailable(),
        "{error}"
    );
    assert!(started.elapsed() < SOON);
}

#[tokio::test]
async fn a_request_is_told_which_host_served_it() {
    let database = FreshDatabase::empty().await;
    let cluster = Cluster::connect(config(&database)).await.unwrap();
    let (answered, hops) = shop_telemetry::timing::scope(answer(&cluster)).await;
    assert_eq!(answered.unwrap(), 42);
    assert_eq!(hops.len(), 1);
    assert_eq!(hops[0].name, "db");
    assert!(hops[0].desc.ends_with(" primary"), "{}", hops[0].desc);
}

#[tokio::test]
async fn a_read_at_the_primary_may_say_what_it_saw() {
    let database = FreshDatabase::empty().await;
    let cluster = Cluster::connect(config(&database)).await.unwrap();
    let mut writer = cluster.write().await.unwrap();
    sqlx::query("create table things (id int)")
        .execute(&mut *writer)
        .await
        .unwrap();
    let written = writer.position().await.unwrap();
    let read = cluster.reading(Freshness::Primary, async |mut connection| {
        let seen = connection.flushed().await?;
        Ok((connection.position(), seen))
    });
    let (before, seen) = read.await.unwrap();
    assert!(seen.covers(written), "{seen} after {written}");
    assert!(seen.covers(before));
}

#[tokio::test]
async fn a_read_that_needs_the_primary_waits_for_it_as_long_as_a_write() {
    let database = FreshDatabase::empty().await;
    let (mut config, proxy) = one_host(&database).await;
    config.read_wait = Duration::from_millis(1);
    proxy.cut();
    let cluster = Cluster::connect(config).await.unwrap();
    let any = cluster.read(Freshness::Any).await.err().unwrap();
    assert!(matches!(any, DbError::NoReader { .. }), "{any}");
    let waiting = tokio::spawn({
        let cluster = cluster.clone();
        async move {
            cluster
                .read(Freshness::Primary)
                .await
                .map(|connection| connection.role())
        }
    });
    proxy.thaw();
    assert_eq!(waiting.await.unwrap().unwrap(), Role::Primary);
}

#[tokio::test]
async fn those_who_wait_for_a_primary_are_bounded_too() {
    let database = FreshDatabase::empty().await;
    let (mut config, proxy) = one_host(&database).await;
    config.set_pool_max(1);
    proxy.cut();
    let cluster = Cluster::connect(config).await.unwrap();
    // Twenty may wait for one connection.
    let mut callers: Vec<_> = (0..25)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move { cluster.write().await.map(drop) })
        })
        .collect();
    let mut refused = 0;
    wait_until("the surplus is turned away", SOON, || {
        callers.retain_mut(|caller| !caller.is_finished());
        refused = 25 - callers.len();
        std::future::ready(refused == 5)
    })
    .await;
    proxy.thaw();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
}
