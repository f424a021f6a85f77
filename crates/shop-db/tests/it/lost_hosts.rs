//! Hosts that die, freeze or come back in the middle of something.

use std::time::Duration;

use shop_db::{Cluster, DbError, Freshness};
use shop_testkit::{FreshDatabase, wait_until};
use sqlx::Executor as _;

use crate::support::{SOON, answer, config, connect, two_hosts};

#[tokio::test]
async fn reads_and_writes_go_on_when_a_host_freezes() {
    let database = FreshDatabase::empty().await;
    let (config, first, _second) = two_hosts(&database).await;
    let cluster = connect(config).await;
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
    let cluster = connect(config).await;
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
    let cluster = connect(config).await;
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
    let cluster = connect(config).await;
    first.cut();
    wait_until("the cut host is given up", SOON, || async { !cluster.status()[0].up }).await;
    assert_eq!(answer(&cluster).await.unwrap(), 42);
}

#[tokio::test]
async fn a_write_on_a_host_that_freezes_ends_and_is_not_run_again() {
    let database = FreshDatabase::empty().await;
    let (config, first, _second) = two_hosts(&database).await;
    let cluster = connect(config).await;
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        cluster
            .writing(async |mut connection| {
                sender.send(connection.host().to_owned()).unwrap();
                sqlx::query("select pg_sleep(0.2)").execute(&mut *connection).await?;
                Ok(())
            })
            .await
    });
    assert_eq!(begun.recv().await.unwrap(), first.addr().to_string());
    first.freeze();
    let ended = tokio::time::timeout(SOON, writing).await.expect("an end").unwrap();
    assert!(matches!(&ended, Err(DbError::HostLost { .. })), "{ended:?}");
    assert!(ended.unwrap_err().is_unavailable());
    assert!(begun.recv().await.is_none(), "it was run again");
}

#[tokio::test]
async fn a_write_that_may_be_done_twice_is_run_again_on_another_host() {
    let database = FreshDatabase::empty().await;
    let (config, first, second) = two_hosts(&database).await;
    let cluster = connect(config).await;
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        cluster
            .writing_idempotent(|mut connection| {
                let host = connection.host().to_owned();
                sender.send(host.clone()).unwrap();
                async move {
                    sqlx::query("select pg_sleep(0.2)").execute(&mut *connection).await?;
                    Ok(host)
                }
            })
            .await
    });
    assert_eq!(begun.recv().await.unwrap(), first.addr().to_string());
    first.cut();
    let ended = tokio::time::timeout(SOON, writing).await.expect("an end").unwrap();
    assert_eq!(ended.unwrap(), second.addr().to_string());
}

#[tokio::test]
async fn a_write_that_is_refused_is_not_run_again() {
    let database = FreshDatabase::empty().await;
    let cluster = connect(config(&database)).await;
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let refused = cluster.writing_idempotent(async |mut connection| {
        runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        sqlx::query("select 1 / 0").execute(&mut *connection).await?;
        Ok(())
    });
    assert!(matches!(refused.await, Err(DbError::Sqlx(_))));
    assert_eq!(runs.into_inner(), 1);
}

#[tokio::test]
async fn a_read_whose_connections_the_server_ends_one_after_another_is_run_until_one_lasts() {
    const ENDED: usize = 5;
    let database = FreshDatabase::empty().await;
    let cluster = connect(config(&database)).await;
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let answered = cluster.reading(Freshness::Primary, async |mut connection| {
        if runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < ENDED {
            sqlx::query("select pg_terminate_backend(pg_backend_pid())")
                .execute(&mut *connection)
                .await?;
        }
        Ok(sqlx::query_scalar::<_, i32>("select 42")
            .fetch_one(&mut *connection)
            .await?)
    });
    assert_eq!(answered.await.unwrap(), 42);
    assert_eq!(runs.into_inner(), ENDED + 1);
}

/// Makes the probe wait, and nobody else, for as long as a row says so.
const SLOW_PROBE: &str = "
    create schema slow;
    create table slow.gate (shut boolean not null);
    insert into slow.gate values (false);
    create function slow.pg_postmaster_start_time() returns timestamptz language plpgsql as $$
    begin
        while (select shut from slow.gate) loop
            perform pg_catalog.pg_sleep(0.05);
        end loop;
        return pg_catalog.pg_postmaster_start_time();
    end $$;
    do $$ begin
        execute format('alter database %I set search_path = slow, pg_catalog, public', current_database());
    end $$;";

#[tokio::test]
async fn a_host_that_answers_others_is_overloaded_and_not_dead() {
    let database = FreshDatabase::empty().await;
    let mut admin = database.connect().await;
    admin.execute(SLOW_PROBE).await.unwrap();
    let mut config = config(&database);
    config.probe_timeout = Duration::from_secs(1);
    config.set_pool_max(2);
    let cluster = connect(config.clone()).await;
    let runs = std::sync::atomic::AtomicUsize::new(0);
    let long = cluster.reading(Freshness::Any, async |mut connection| {
        runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pause = sqlx::query("select pg_sleep($1)").bind(3.0 * config.probe_timeout.as_secs_f64());
        pause.execute(&mut *connection).await?;
        Ok(())
    });

    admin.execute("update slow.gate set shut = true").await.unwrap();
    let others = async {
        loop {
            let mut connection = cluster.read(Freshness::Any).await.unwrap();
            sqlx::query("select").execute(&mut *connection).await.unwrap();
            assert!(cluster.status()[0].up);
        }
    };
    tokio::select! {
        ended = long => ended.unwrap(),
        () = others => {}
    }
    assert_eq!(runs.into_inner(), 1, "the connection was dropped");

    // Nobody else asks any more.
    wait_until("the host that answers nobody is given up", SOON, || async {
        !cluster.status()[0].up
    })
    .await;
    admin.execute("update slow.gate set shut = false").await.unwrap();
    wait_until("the host is back", SOON, || async { cluster.status()[0].up }).await;
}
