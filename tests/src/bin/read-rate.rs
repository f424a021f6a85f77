//! Rows read per second through `shop-db`, with the data tier's three hosts against one of its replicas alone.
//!
//! Each query has its host read a thousand rows of an index and sends one number back, so that the hosts work and not
//! this program. Rounds of both take turns, so that a busy machine disturbs both. Where all hosts share one machine's
//! cores there is nothing to be gained, and that is what it shows. `scripts/failover-times` starts the cluster for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use shop_db::{Cluster, Freshness};
use system_tests::failover::{
    POSTGRES, Tier,
    clients::{Login, wait_until_known},
};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
const READERS: usize = 8;
const ROWS: u64 = 1000;
const RUN: &str = "read-rate";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let tier = Tier::from_env()?;
    tier.wait_until_whole().await?;
    let login = Login::prepare(&tier).await?;
    let primary = tier.primary().await.context("there is no primary")?;
    let fill = format!(
        "insert into failover_writes (run, number) select '{RUN}', n from generate_series(1, {ROWS}) n on conflict do nothing"
    );
    tier.psql(primary, "inventory", &fill).await?;

    let all = Cluster::connect(login.patient_cluster_config()?).await?;
    let mut one = login.patient_cluster_config()?;
    let replica = POSTGRES
        .into_iter()
        .find(|node| *node != primary)
        .context("there is no replica")?;
    one.hosts = vec![format!("{}:5432", tier.address(replica))];
    let one = Cluster::connect(one).await?;
    for cluster in [&all, &one] {
        wait_until_known(cluster).await?;
    }

    let (mut with_all, mut with_one) = (Vec::new(), Vec::new());
    rows_per_second(&all).await?;
    rows_per_second(&one).await?;
    for round in 1..=ROUNDS {
        with_all.push(rows_per_second(&all).await?);
        with_one.push(rows_per_second(&one).await?);
        eprintln!("round {round} of {ROUNDS}");
    }
    let (all, one) = (median(with_all), median(with_one));
    println!("rows read per second, three hosts: {all:.0}");
    println!("rows read per second, one host: {one:.0}");
    println!("three hosts over one: {:.2}", all / one);
    Ok(())
}

async fn rows_per_second(cluster: &Cluster) -> Result<f64> {
    let (began, rows) = (Instant::now(), AtomicU64::new(0));
    let readers = (0..READERS).map(async |_| -> Result<()> {
        while began.elapsed() < ROUND {
            let mut connection = cluster.read(Freshness::Any).await?;
            let seen: i64 = sqlx::query_scalar("select count(attempts + number) from failover_writes where run = $1")
                .bind(RUN)
                .fetch_one(&mut *connection)
                .await?;
            ensure!(seen as u64 == ROWS, "{seen} rows instead of {ROWS}");
            rows.fetch_add(ROWS, Ordering::Relaxed);
        }
        Ok(())
    });
    try_join_all(readers).await?;
    Ok(rows.into_inner() as f64 / began.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}
