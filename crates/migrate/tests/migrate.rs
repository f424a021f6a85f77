//! Migrations against a real Postgres.

use std::time::Duration;

use migrate::{INVENTORY, PAYMENTS, Target, USERS, migrate};
use shop_db::ClusterConfig;
use shop_testkit::{FaultyProxy, FreshDatabase};
use sqlx::migrate::Migrate as _;
use sqlx::{Executor as _, PgConnection};

/// A busy machine may take several looks to find its primary.
const WAIT: Duration = Duration::from_secs(60);

fn target(database: &FreshDatabase, migrations: &'static sqlx::migrate::Migrator) -> Target {
    let mut config = ClusterConfig::for_url("test", database.url()).unwrap();
    // The machine may be busy, and no test is about that.
    config.connect_timeout = WAIT;
    config.acquire_timeout = WAIT;
    config.probe_timeout = WAIT;
    config.write_wait = WAIT;
    Target { config, migrations }
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

/// Waits until somebody waits, or nobody does any more, for the lock of the table of migrations.
async fn wait_for_waiter(watcher: &mut PgConnection, waiting: bool) {
    let deadline = tokio::time::Instant::now() + WAIT;
    loop {
        let seen: bool = sqlx::query_scalar(
            "select exists(select from pg_locks where not granted and relation = '_sqlx_migrations'::regclass)",
        )
        .fetch_one(&mut *watcher)
        .await
        .unwrap();
        if seen == waiting {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "nobody began, or nobody gave up, to wait for the lock"
        );
    }
}

/// Somebody who is slow, and holds the lock that keeps two migrations apart.
async fn lock(database: &FreshDatabase) -> PgConnection {
    let mut slow = database.connect().await;
    slow.execute("begin; lock table _sqlx_migrations in access exclusive mode")
        .await
        .unwrap();
    slow
}

#[tokio::test]
async fn a_migration_that_finds_its_lock_taken_tries_again() {
    let database = FreshDatabase::empty().await;
    let target = target(&database, &PAYMENTS);
    migrate(&target, WAIT).await.unwrap();
    let mut slow = lock(&database).await;
    let release = async {
        let mut watcher = database.connect().await;
        wait_for_waiter(&mut watcher, true).await;
        wait_for_waiter(&mut watcher, false).await;
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
async fn a_migration_that_loses_its_primary_is_tried_again() {
    let database = FreshDatabase::empty().await;
    let mut target = target(&database, &PAYMENTS);
    migrate(&target, WAIT).await.unwrap();
    let proxy = FaultyProxy::start(&target.config.hosts[0]).await;
    target.config.hosts = vec![proxy.addr().to_string()];
    let mut slow = lock(&database).await;
    let fail_over = async {
        wait_for_waiter(&mut database.connect().await, true).await;
        proxy.cut();
        slow.execute("rollback").await.unwrap();
        proxy.thaw();
    };
    let (migrated, ()) = tokio::join!(migrate(&target, WAIT), fail_over);
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
async fn migrations_of_an_older_release_leave_a_newer_schema_alone() {
    let database = FreshDatabase::empty().await;
    let target = target(&database, &PAYMENTS);
    migrate(&target, WAIT).await.unwrap();
    database
        .connect()
        .await
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, '', 0)",
        )
        .await
        .unwrap();
    assert_eq!(migrate(&target, WAIT).await.unwrap(), Vec::<String>::new());
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

/// Runs the program with each database in a cluster of its own, at this address.
async fn run_program(databases: [(&str, &FreshDatabase, String); 3]) -> std::process::Output {
    let password = tempfile::NamedTempFile::new().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_migrate"));
    command.env("MIGRATE_WAIT_S", "15");
    for (prefix, database, host) in databases {
        let url = url::Url::parse(database.url()).unwrap();
        std::fs::write(password.path(), url.password().unwrap()).unwrap();
        command.env(format!("{prefix}_DB_HOSTS"), host);
        command.env(format!("{prefix}_DB_NAME"), database.name());
        for who in ["", "READ_"] {
            command.env(format!("{prefix}_DB_{who}USER"), url.username());
            command.env(format!("{prefix}_DB_{who}PASSWORD_FILE"), password.path());
        }
    }
    command.output().await.unwrap()
}

#[tokio::test]
async fn each_database_may_have_a_cluster_of_its_own() {
    let mut databases = Vec::new();
    let mut clusters = Vec::new();
    for migrations in [&INVENTORY, &USERS, &PAYMENTS] {
        let database = FreshDatabase::empty().await;
        clusters.push(FaultyProxy::start(&target(&database, migrations).config.hosts[0]).await);
        databases.push(database);
    }
    let at = |index: usize, prefix: &'static str| (prefix, &databases[index], clusters[index].addr().to_string());
    let all = || [at(0, "INVENTORY"), at(1, "USERS"), at(2, "PAYMENTS")];

    // Only the one whose cluster is away is not migrated.
    clusters[2].cut();
    let without_payments = run_program(all()).await;
    let log = String::from_utf8_lossy(&without_payments.stdout).into_owned();
    assert!(
        !without_payments.status.success() && log.contains("payments: no primary"),
        "{log}"
    );
    for (database, table, there) in [(0, "products", true), (1, "orders", true), (2, "payments", false)] {
        let found: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(table)
            .fetch_one(&mut databases[database].connect().await)
            .await
            .unwrap();
        assert_eq!(found, there, "{table}");
    }
    clusters[2].thaw();
    let complete = run_program(all()).await;
    assert!(
        complete.status.success(),
        "{}",
        String::from_utf8_lossy(&complete.stdout)
    );
}
