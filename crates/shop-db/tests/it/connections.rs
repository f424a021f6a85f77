//! What every connection is, and that none serves again that isn't in order.

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use shop_db::{Cluster, DbError, Freshness};
use shop_testkit::{FreshDatabase, wait_until};
use sqlx::PgConnection;
use tokio::sync::Barrier;
use tokio::time::timeout;

use crate::support::{SOON, answer, config, connect, insert, one_connection, one_host, things};

async fn setting(connection: &mut PgConnection, name: &str) -> String {
    sqlx::query_scalar("select current_setting($1)")
        .bind(name)
        .fetch_one(connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn every_connection_has_a_name_and_limits_and_only_a_writer_may_write() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.application_name = "a-shop".to_owned();
    config.statement_timeout = Duration::from_millis(7001);
    config.lock_timeout = Duration::from_millis(3002);
    config.idle_in_transaction_timeout = Duration::from_millis(9003);
    let cluster = connect(config).await;
    let mut reader = cluster.read(Freshness::Any).await.unwrap();
    let mut writer = cluster.write().await.unwrap();
    let connections: [(&mut PgConnection, &str); 2] = [(&mut reader, "on"), (&mut writer, "off")];
    for (connection, read_only) in connections {
        for (name, value) in [
            ("application_name", "a-shop"),
            ("statement_timeout", "7001ms"),
            ("lock_timeout", "3002ms"),
            ("idle_in_transaction_session_timeout", "9003ms"),
            ("default_transaction_read_only", read_only),
            ("transaction_read_only", read_only),
        ] {
            assert_eq!(setting(connection, name).await, value, "{name}");
        }
    }
    // The probe's connection as well.
    let nameless: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
         where datname = current_database() and application_name <> 'a-shop'",
    )
    .fetch_one(&mut *writer)
    .await
    .unwrap();
    assert_eq!(nameless, 0);
}

#[tokio::test]
async fn the_pool_is_bounded_and_says_so() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.set_pool_max(2);
    config.acquire_timeout = Duration::from_secs(3);
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
    let cluster = one_connection(&database).await;
    let mut connection = cluster.write().await.unwrap();
    {
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        insert(&mut transaction, 1).await;
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
    let cluster = one_connection(&database).await;
    let mut connection = cluster.read(Freshness::Any).await.unwrap();
    let slow = sqlx::query("select pg_sleep(3)").execute(&mut *connection);
    assert!(tokio::time::timeout(Duration::from_millis(100), slow).await.is_err());
    drop(connection);
    assert_eq!(answer(&cluster).await.unwrap(), 42);
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
async fn a_connection_that_is_in_order_serves_again() {
    let database = FreshDatabase::empty().await;
    let cluster = one_connection(&database).await;
    let mut processes = std::collections::HashSet::new();
    for commits in [true, false, true] {
        let mut connection = cluster.write().await.unwrap();
        let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
        let process: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        processes.insert(process);
        if commits {
            transaction.commit().await.unwrap();
        }
    }
    assert_eq!(processes.len(), 1);
}

#[tokio::test]
async fn a_transaction_whose_beginning_was_given_up_swallows_nobodys_write() {
    let database = FreshDatabase::empty().await;
    let cluster = one_connection(&database).await;
    let mut connection = cluster.write().await.unwrap();
    // Sent, and given up before the answer: what a client that hangs up does to its request. An answer that was there at
    // once leaves a transaction to roll back.
    drop(sqlx::Connection::begin(&mut *connection).now_or_never());
    drop(connection);

    let mut connection = cluster.write().await.unwrap();
    insert(&mut connection, 1).await;
    assert_eq!(
        things(&database).await,
        [1],
        "a write that was acknowledged is there for everybody"
    );
}

#[tokio::test]
async fn a_commit_that_was_given_up_leaves_its_connection_in_order() {
    let database = FreshDatabase::empty().await;
    let cluster = one_connection(&database).await;
    let mut connection = cluster.write().await.unwrap();
    let mut transaction = sqlx::Connection::begin(&mut *connection).await.unwrap();
    insert(&mut transaction, 1).await;
    // Given up before the answer, unless that was there at once.
    drop(transaction.commit().now_or_never());
    drop(connection);

    let mut connection = cluster.write().await.unwrap();
    insert(&mut connection, 2).await;
    assert_eq!(things(&database).await.last(), Some(&2));
}

#[tokio::test]
async fn as_many_callers_as_a_pool_is_large_are_served_at_once() {
    let database = FreshDatabase::empty().await;
    let mut config = config(&database);
    config.set_pool_max(10);
    let cluster = connect(config).await;
    let all = Barrier::new(10);
    let callers = (0..10).map(async |_| {
        let _connection = cluster.write().await.unwrap();
        all.wait().await;
    });
    timeout(SOON, join_all(callers)).await.expect("all of them at once");
}

#[tokio::test]
async fn a_connection_whose_caller_gave_up_serves_the_next_one() {
    let database = FreshDatabase::empty().await;
    let (mut config, proxy) = one_host(&database).await;
    config.application_name = "patient".to_owned();
    config.read_wait = Duration::from_millis(300);
    let cluster = Cluster::connect(config).await.unwrap();
    let connections_are = async |count| {
        wait_until("as many connections are there as are to be", SOON, || async {
            patient_connections(&database).await == count
        })
        .await;
    };
    // The probe's, and the first one for writing.
    connections_are(2).await;

    proxy.freeze();
    let given_up = cluster.read(Freshness::Any).await.err();
    assert!(matches!(given_up, Some(DbError::NoReader { .. })), "{given_up:?}");
    proxy.thaw();
    connections_are(3).await;
    let mut connection = cluster.read(Freshness::Any).await.unwrap();
    sqlx::query("select").execute(&mut *connection).await.unwrap();
    drop(connection);
    assert_eq!(patient_connections(&database).await, 3, "it was not used");
}

async fn patient_connections(database: &FreshDatabase) -> i64 {
    sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = 'patient'")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap()
}
