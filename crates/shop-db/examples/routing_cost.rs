//! What routing costs: the CPU time of a read through `Cluster::read`, over the same read with a bare pool.
//!
//! ```sh
//! scripts/testbed up && eval "$(scripts/testbed env)"
//! cargo run --release --package shop-db --example routing_cost
//! ```
//!
//! Both take a connection, run one short statement and give the connection back. The bare pool doesn't ask the server
//! first whether the connection still works, as it would by default, since those of a `Cluster` don't either. Only this
//! process's time counts, not the server's; rounds of both take turns, so that a busy machine disturbs both.

use std::error::Error;
use std::time::Duration;

use shop_db::{Cluster, ClusterConfig, Freshness};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

const ROUNDS: usize = 9;
const CALLS_PER_ROUND: u32 = 4_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: eval \"$(scripts/testbed env)\"")?;
    let config = ClusterConfig::for_url("routing_cost", &url)?;
    let bare = PgPoolOptions::new()
        .max_connections(config.pool_max)
        .test_before_acquire(false)
        .connect(&url)
        .await?;
    let cluster = Cluster::connect(config).await?;
    // Connections are opened and statements prepared before anything counts.
    through_pool(&bare).await?;
    through_cluster(&cluster).await?;

    let (mut pool_rounds, mut cluster_rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        pool_rounds.push(through_pool(&bare).await?);
        cluster_rounds.push(through_cluster(&cluster).await?);
    }
    let (pool, routed) = (median(pool_rounds), median(cluster_rounds));
    println!("per call, median of {ROUNDS} rounds of {CALLS_PER_ROUND} calls:");
    println!("  bare pool      {:6.1} us of CPU", micros(pool));
    println!("  Cluster::read  {:6.1} us of CPU", micros(routed));
    println!("  routing        {:+6.1} us of CPU", micros(routed) - micros(pool));
    Ok(())
}

async fn through_pool(pool: &PgPool) -> Result<Duration, Box<dyn Error>> {
    let before = cpu_time()?;
    for _ in 0..CALLS_PER_ROUND {
        let mut connection = pool.acquire().await?;
        sqlx::query_scalar::<_, i32>("select 1")
            .fetch_one(&mut *connection)
            .await?;
    }
    Ok((cpu_time()? - before) / CALLS_PER_ROUND)
}

async fn through_cluster(cluster: &Cluster) -> Result<Duration, Box<dyn Error>> {
    let before = cpu_time()?;
    for _ in 0..CALLS_PER_ROUND {
        let mut connection = cluster.read(Freshness::Any).await?;
        sqlx::query_scalar::<_, i32>("select 1")
            .fetch_one(&mut *connection)
            .await?;
    }
    Ok((cpu_time()? - before) / CALLS_PER_ROUND)
}

/// What all threads of this process have spent so far, to the nanosecond, as the kernel's scheduler counts it.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    let mut nanoseconds = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        let spent = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanoseconds += spent.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
