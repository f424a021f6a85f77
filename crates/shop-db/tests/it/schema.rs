//! Processes and schemas of different ages.

use std::time::Duration;

use shop_db::{Cluster, Freshness, SchemaWatch};
use shop_testkit::{FreshDatabase, wait_until};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::support::{SOON, config, connect, one_host};

const RECORD: &str = "create table _sqlx_migrations (version bigint primary key, success boolean not null)";

async fn apply(database: &FreshDatabase, version: i64, success: bool) {
    let statement = format!("insert into _sqlx_migrations values ({version}, {success})");
    database
        .connect()
        .await
        .execute(AssertSqlSafe(statement))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_process_newer_than_the_schema_says_so_until_the_migrations_have_run() {
    let database = FreshDatabase::empty().await;
    let watch = SchemaWatch::start([(connect(config(&database)).await, 2)]);
    wait_until("a database without any migration is too old", SOON, async || {
        watch
            .outdated()
            .is_some_and(|why| why.contains("test is at version 0") && why.contains("needs 2"))
    })
    .await;
    database.connect().await.execute(RECORD).await.unwrap();
    apply(&database, 1, true).await;
    // One that failed does not count.
    apply(&database, 2, false).await;
    wait_until("one migration is missing", SOON, async || {
        watch.outdated().is_some_and(|why| why.contains("at version 1"))
    })
    .await;
    apply(&database, 3, true).await;
    wait_until("the schema suffices, and is newer", SOON, async || {
        watch.outdated().is_none()
    })
    .await;
}

#[tokio::test]
async fn one_schema_of_several_is_enough_to_be_too_old() {
    let (old, new) = (FreshDatabase::empty().await, FreshDatabase::empty().await);
    for database in [&old, &new] {
        database.connect().await.execute(RECORD).await.unwrap();
        apply(database, 1, true).await;
    }
    apply(&new, 2, true).await;
    let mut configs = [config(&new), config(&old)];
    configs[1].name = "another".to_owned();
    let [new, old] = configs.map(connect);
    let watch = SchemaWatch::start([(new.await, 2), (old.await, 2)]);
    wait_until("the other one is found to be old", SOON, async || {
        watch
            .outdated()
            .is_some_and(|why| why.contains("another is at version 1"))
    })
    .await;
}

#[tokio::test]
async fn a_schema_that_nobody_knows_is_no_reason() {
    let database = FreshDatabase::empty().await;
    let (mut config, proxy) = one_host(&database).await;
    config.write_wait = Duration::from_secs(2);
    proxy.cut();
    let cluster = Cluster::connect(config).await.unwrap();
    let watch = SchemaWatch::start([(cluster.clone(), 2)]);
    assert!(cluster.read(Freshness::Primary).await.is_err());
    assert_eq!(watch.outdated(), None);
    proxy.thaw();
    wait_until("it is known", SOON, async || watch.outdated().is_some()).await;
}
