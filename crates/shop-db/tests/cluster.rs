//! The cluster against a real Postgres, with a network in between that can be broken.

use std::time::{Duration, Instant};

use shop_db::{Cluster, ClusterConfig, DbError, Freshness, Position, Role};
use shop_testkit::{FaultyProxy, FreshDatabase, wait_until};

const SOON: Duration = Duration::from_secs(20);

/// The configuration of a cluster whose one host is the testbed's server.
fn config(database: &FreshDatabase) -> ClusterConfig {
    let mut config = ClusterConfig::for_url("test", database.url()).unwrap();
    // Unoptimised code takes its time to log in, and the machine may be busy.
    config.connect_timeout = Duration::from_secs(3);
    config.read_wait = Duration::from_secs(10);
    config.write_wait = Duration::from_secs(10);
    config
}

/// The same server behind two proxies: two hosts, each of which says that it is the primary.
async fn two_hosts(database: &FreshDatabase) -> (ClusterConfig, FaultyProxy, FaultyProxy) {
    let mut config = config(database);
    let server = config.hosts[0].clone();
    let (first, second) = (FaultyProxy::start(&server).await, FaultyProxy::start(&server).await);
    config.hosts = vec![first.addr().to_string(), second.addr().to_string()];
    config.set_pool_max(4);
    (config, first, second)
}

async fn answer(cluster: &Cluster) -> Result<i32, DbError> {
    let mut connection = cluster.read(Freshness::Any).await?;
    Ok(sqlx::query_scalar("select 42").fetch_one(&mut *connection).await?)
}

#[tokio::test]
async fn a_read_may_not_write() {
    let database = FreshDatabase::empty().await;
    let cluster = Cluster::connect(config(&database)).await.unwrap();
    let mut connection = cluster.read(Freshness::Any).await.unwrap();
    let error = sqlx::query("create table things (id int)")
        .execute(&mut *connection)
        .await
        .unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25006");
}

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
    config.read_wait = Duration::from_millis(300);
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
async fn the_pool_is_bounded_and_says_so() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.set_pool_max(2);
    config.acquire_timeout = Duration::from_millis(200);
    let cluster = Cluster::connect(config).await.unwrap();
    let first = cluster.write().await.unwrap();
    let _second = cluster.write().await.unwrap();
    let error = cluster.write().await.err().unwrap();
    assert!(
        matches!(error, DbError::Overloaded { .. }) && error.is_unavailable(),
        "{error}"
    );
    drop(first);
    wait_until("a connection that came back serves again", SOON, || async {
        cluster.write().await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_transaction_is_rolled_back_before_its_connection_serves_again() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.set_pool_max(1);
    let cluster = Cluster::connect(config).await.unwrap();
    let mut connection = cluster.write().await.unwrap();
    sqlx::query("create table things (id int)")
        .execute(&mut *connection)
        .await
        .unwrap();
    {
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        sqlx::query("insert into things values (1)")
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    drop(connection);
    let mut connection = cluster.write().await.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from things")
        .fetch_one(&mut *connection)
        .await
        .unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn a_statement_that_was_given_up_does_not_poison_its_connection() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.set_pool_max(1);
    let cluster = Cluster::connect(config).await.unwrap();
    let mut connection = cluster.read(Freshness::Any).await.unwrap();
    let slow = sqlx::query("select pg_sleep(3)").execute(&mut *connection);
    assert!(tokio::time::timeout(Duration::from_millis(100), slow).await.is_err());
    drop(connection);
    assert_eq!(answer(&cluster).await.unwrap(), 42);
}

#[tokio::test]
async fn reads_and_writes_go_on_when_a_host_freezes() {
    let database = FreshDatabase::empty().await;
    let (config, first, _second) = two_hosts(&database).await;
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("both hosts are up", SOON, || async {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    assert_eq!(cluster.write().await.unwrap().host(), first.addr().to_string());

    // More callers than connections hang on the frozen host.
    let held = cluster.read(Freshness::Any).await.unwrap();
    first.freeze();
    wait_until("the frozen host is given up", SOON, || async {
        !cluster.status()[0].up
    })
    .await;
    for _ in 0..20 {
        assert_eq!(answer(&cluster).await.unwrap(), 42);
        assert_ne!(cluster.write().await.unwrap().host(), first.addr().to_string());
    }
    drop(held);

    first.thaw();
    wait_until("the thawed host is back", SOON, || async { cluster.status()[0].up }).await;
}

#[tokio::test]
async fn a_read_that_its_host_leaves_unanswered_is_run_again_on_another() {
    let database = FreshDatabase::empty().await;
    let (config, first, second) = two_hosts(&database).await;
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("both hosts are up", SOON, || async {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let reading = tokio::spawn(async move {
        cluster
            .reading(Freshness::Any, |mut connection| {
                let host = connection.host().to_owned();
                sender.send(host.clone()).unwrap();
                async move {
                    // Long enough that the host freezes in the middle, short enough that its answer would come soon.
                    sqlx::query("select pg_sleep(0.2)").execute(&mut *connection).await?;
                    Ok(host)
                }
            })
            .await
    });
    assert_eq!(begun.recv().await.unwrap(), first.addr().to_string());
    first.freeze();
    assert_eq!(reading.await.unwrap().unwrap(), second.addr().to_string());
}

#[tokio::test]
async fn a_read_that_its_host_cuts_off_is_run_again_on_another() {
    let database = FreshDatabase::empty().await;
    let (config, first, _second) = two_hosts(&database).await;
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("both hosts are up", SOON, || async {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    answer(&cluster).await.unwrap();
    first.cut();
    for _ in 0..10 {
        let answered = cluster
            .reading(Freshness::Any, |mut connection| async move {
                let number = sqlx::query_scalar::<_, i32>("select 42");
                Ok(number.fetch_one(&mut *connection).await?)
            })
            .await;
        assert_eq!(answered.unwrap(), 42);
    }
}

#[tokio::test]
async fn a_mistake_is_not_run_again() {
    let database = FreshDatabase::empty().await;
    let cluster = Cluster::connect(config(&database)).await.unwrap();
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let failed = cluster
        .reading(Freshness::Any, |mut connection| {
            runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move {
                let wrong = sqlx::query("select * from nowhere");
                Ok(wrong.execute(&mut *connection).await?)
            }
        })
        .await;
    assert!(!failed.unwrap_err().is_unavailable());
    assert_eq!(runs.into_inner(), 1);
}

#[tokio::test]
async fn a_killed_host_is_noticed_by_its_closed_connections() {
    let database = FreshDatabase::empty().await;
    let (mut config, first, _second) = two_hosts(&database).await;
    // So that only the end of the connection can tell.
    config.probe_interval = Duration::from_secs(60);
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("both hosts are up", SOON, || async {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    first.cut();
    wait_until("the cut host is given up", Duration::from_secs(1), || async {
        !cluster.status()[0].up
    })
    .await;
    assert_eq!(answer(&cluster).await.unwrap(), 42);
}

#[tokio::test]
async fn a_write_waits_for_the_primary_and_goes_on_when_it_is_back() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    let proxy = FaultyProxy::start(&config.hosts[0]).await;
    config.hosts = vec![proxy.addr().to_string()];
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
    let mut config = config(&database);
    let proxy = FaultyProxy::start(&config.hosts[0]).await;
    config.hosts = vec![proxy.addr().to_string()];
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
async fn a_wrong_password_is_told_at_once_and_is_no_outage() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.password = "wrong".to_owned().into();
    let cluster = Cluster::connect(config).await.unwrap();
    answer(&cluster).await.unwrap();
    let error = cluster.write().await.err().unwrap();
    assert!(matches!(error, DbError::Sqlx(_)) && !error.is_unavailable(), "{error}");
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
