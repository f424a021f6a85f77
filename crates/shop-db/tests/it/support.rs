//! Clusters to test with.

use std::time::Duration;

use shop_db::{Cluster, ClusterConfig, DbError, Freshness};
use shop_testkit::{FaultyProxy, FreshDatabase, wait_until};
use sqlx::PgConnection;

/// Unoptimised code takes its time to log in, and the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The configuration of a cluster whose one host is the testbed's server.
pub(crate) fn config(database: &FreshDatabase) -> ClusterConfig {
    let mut config = ClusterConfig::for_url("test", database.url()).unwrap();
    config.connect_timeout = SOON;
    config.acquire_timeout = SOON;
    config.read_wait = SOON;
    config.write_wait = SOON;
    config.probe_timeout = SOON;
    config
}

/// The same server behind a proxy.
pub(crate) async fn one_host(database: &FreshDatabase) -> (ClusterConfig, FaultyProxy) {
    let mut config = config(database);
    let proxy = FaultyProxy::start(&config.hosts[0]).await;
    config.hosts = vec![proxy.addr().to_string()];
    (config, proxy)
}

/// The same server behind two proxies: two hosts, each of which says that it is the primary.
pub(crate) async fn two_hosts(database: &FreshDatabase) -> (ClusterConfig, FaultyProxy, FaultyProxy) {
    let mut config = config(database);
    let server = config.hosts[0].clone();
    let (first, second) = (FaultyProxy::start(&server).await, FaultyProxy::start(&server).await);
    config.hosts = vec![first.addr().to_string(), second.addr().to_string()];
    config.set_pool_max(4);
    // They are to freeze.
    config.probe_timeout = Duration::from_secs(1);
    config.connect_timeout = Duration::from_secs(3);
    (config, first, second)
}

/// Connects, and waits until every host is known.
pub(crate) async fn connect(config: ClusterConfig) -> Cluster {
    let cluster = Cluster::connect(config).await.unwrap();
    wait_until("all hosts are up", SOON, || async {
        cluster.status().iter().all(|host| host.up)
    })
    .await;
    cluster
}

/// Connects by a pool of one connection, to a database with an empty table `things`.
pub(crate) async fn one_connection(database: &FreshDatabase) -> Cluster {
    let mut things = database.connect().await;
    sqlx::query("create table things (id int)")
        .execute(&mut things)
        .await
        .unwrap();
    let mut config = config(database);
    config.set_pool_max(1);
    Cluster::connect(config).await.unwrap()
}

pub(crate) async fn insert(connection: &mut PgConnection, id: i32) {
    sqlx::query("insert into things values ($1)")
        .bind(id)
        .execute(connection)
        .await
        .unwrap();
}

/// What everybody sees in `things`, in order.
pub(crate) async fn things(database: &FreshDatabase) -> Vec<i32> {
    sqlx::query_scalar("select id from things order by id")
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap()
}

pub(crate) async fn answer(cluster: &Cluster) -> Result<i32, DbError> {
    let mut connection = cluster.read(Freshness::Any).await?;
    Ok(sqlx::query_scalar("select 42").fetch_one(&mut *connection).await?)
}
