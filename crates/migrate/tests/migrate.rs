//! Migrations against a real Postgres.

use std::time::Duration;

use migrate::{INVENTORY, PAYMENTS, Target, USERS, migrate};
use shop_db::ClusterConfig;
use shop_testkit::FreshDatabase;
use sqlx::Executor as _;
use sqlx::migrate::Migrate as _;

/// A busy machine may take several looks to find its primary.
const WAIT: Duration = Duration::from_secs(60);

fn target(database: &FreshDatabase, migrations: &'static sqlx::migrate::Migrator) -> Target {
    Target {
        config: ClusterConfig::for_url("test", database.url()).unwrap(),
        migrations,
    }
}

/// Asks until the answer is yes.
async fn until(database: &FreshDatabase, query: &'static str) {
    let mut watcher = database.connect().await;
    let deadline = tokio::time::Instant::now() + WAIT;
    while !sqlx::query_scalar::<_, bool>(query)
        .fetch_one(&mut watcher)
        .await
        .unwrap()
    {
        assert!(tokio::time::Instant::now() < deadline, "it never became so: {query}");
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
        let waiting =
            "select exists(select from pg_locks where not granted and relation = '_sqlx_migrations'::regclass)";
        until(&database, waiting).await;
        let given_up =
            "select not exists(select from pg_locks where not granted and relation = '_sqlx_migrations'::regclass)";
        until(&database, given_up).await;
        slow.execute("rollback").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate(&target, WAIT), release);
    assert_eq!(migrated.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_migration_whose_connection_is_lost_tries_again() {
    let database = FreshDatabase::empty().await;
    let target = target(&database, &PAYMENTS);
    migrate(&target, WAIT).await.unwrap();
    let mut slow = database.connect().await;
    slow.execute("begin; lock table _sqlx_migrations in access exclusive mode")
        .await
        .unwrap();
    let kill = async {
        let killed = "select coalesce(bool_or(pg_terminate_backend(pid)), false) from pg_locks
                      where not granted and relation = '_sqlx_migrations'::regclass";
        until(&database, killed).await;
        slow.execute("rollback").await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate(&target, WAIT), kill);
    assert_eq!(migrated.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_second_process_waits_for_the_first_one_s_migrations() {
    let database = FreshDatabase::empty().await;
    let target = target(&database, &PAYMENTS);
    let mut first = database.connect().await;
    first.lock().await.unwrap();
    let release = async {
        // Longer than a table's lock is waited for, and without a break.
        let waiting = "select exists(select from pg_locks where not granted and locktype = 'advisory'
                       and database = (select oid from pg_database where datname = current_database())
                       and clock_timestamp() - waitstart > interval '3 s')";
        until(&database, waiting).await;
        first.unlock().await.unwrap();
    };
    let (migrated, ()) = tokio::join!(migrate(&target, WAIT), release);
    assert_eq!(migrated.unwrap().len(), PAYMENTS.iter().count());
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
