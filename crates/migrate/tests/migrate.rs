//! Migrations against a real Postgres.

use std::time::Duration;

use migrate::{INVENTORY, PAYMENTS, Target, USERS, migrate};
use shop_db::ClusterConfig;
use shop_testkit::FreshDatabase;
use sqlx::Executor as _;

const WAIT: Duration = Duration::from_secs(20);

fn target(database: &FreshDatabase, migrations: &'static sqlx::migrate::Migrator) -> Target {
    Target {
        config: ClusterConfig::for_url("test", database.url()).unwrap(),
        migrations,
    }
}

#[tokio::test]
async fn every_migration_is_applied_once_however_often_it_runs() {
    for migrations in [&INVENTORY, &USERS, &PAYMENTS] {
        let database = FreshDatabase::empty().await;
        let target = target(&database, migrations);
        let applied = migrate(&target, WAIT).await.unwrap();
        assert_eq!(applied.len(), migrations.iter().count());
        assert!(applied[0].starts_with("0001 "), "{applied:?}");
        assert_eq!(migrate(&target, WAIT).await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn two_at_once_do_the_work_once() {
    let database = FreshDatabase::empty().await;
    let (one, other) = (target(&database, &PAYMENTS), target(&database, &PAYMENTS));
    let (one, other) = tokio::join!(migrate(&one, WAIT), migrate(&other, WAIT));
    one.unwrap();
    other.unwrap();
    let count: i64 = sqlx::query_scalar("select count(*) from _sqlx_migrations")
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap();
    assert_eq!(count, PAYMENTS.iter().count() as i64);
}

#[tokio::test]
async fn a_migration_that_finds_its_lock_taken_tries_again() {
    let database = FreshDatabase::empty().await;
    // The lock that keeps two migrations apart, held by somebody who is slow.
    let target = target(&database, &PAYMENTS);
    migrate(&target, WAIT).await.unwrap();
    let mut slow = database.connect().await;
    slow.execute("begin; lock table _sqlx_migrations in access exclusive mode")
        .await
        .unwrap();
    let release = async {
        let mut watcher = database.connect().await;
        for waiting in [true, false] {
            let query =
                "select exists(select from pg_locks where not granted and relation = '_sqlx_migrations'::regclass)";
            let deadline = tokio::time::Instant::now() + WAIT;
            loop {
                let seen: bool = sqlx::query_scalar(query).fetch_one(&mut watcher).await.unwrap();
                if seen == waiting {
                    break;
                }
                assert!(
                    tokio::time::Instant::now() < deadline,
                    "nobody began, or nobody gave up, to wait for the lock"
                );
            }
        }
        slow.execute("rollback").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate(&target, WAIT), release);
    assert_eq!(migrated.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_database_that_never_answers_is_named() {
    let database = FreshDatabase::empty().await;
    let mut target = target(&database, &PAYMENTS);
    target.config.hosts = vec!["127.0.0.1:1".to_owned()];
    target.config.write_wait = Duration::from_millis(200);
    let error = migrate(&target, Duration::from_millis(500)).await.unwrap_err();
    assert!(format!("{error:#}").contains("test: no primary"), "{error:#}");
}
