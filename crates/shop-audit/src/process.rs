//! Compares orders, reservations and the ledger, prints what it found, and exits 1 if anything is wrong.

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use crate::{Databases, Options, audit, counts, unconfirmed};
use anyhow::Context;
use clap::Parser;
use shop_db::{Cluster, ClusterConfig, Shards};
use shop_telemetry::startup;

/// Some million orders.
const IDS_BYTES_MAX: u64 = 64 << 20;

/// Compares orders, reservations and the ledger to the row. Safe to run while the shop sells.
///
/// Exit status: 0 all agree; 1 something is wrong; 2 a database could not be read; 64 bad configuration.
#[derive(Debug, Parser)]
struct Args {
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// Print only how many orders are in each state.
    #[arg(long)]
    counts: bool,
    /// Read ids of orders from standard input, and print those that are not confirmed.
    #[arg(long, conflicts_with_all = ["json", "counts"])]
    unconfirmed: bool,
    /// How long an order may stay in one state that is not final, in seconds.
    #[arg(long, env = "AUDIT_IN_FLIGHT_SECONDS_MAX", default_value_t = 40)]
    in_flight_seconds_max: u64,
}

/// Runs until a signal ends it, or the work is done.
#[tokio::main]
pub async fn main() -> ExitCode {
    let args: Args = startup::parse_or_exit();
    let databases = match connect().await {
        Ok(databases) => databases,
        Err(error) => startup::exit_config(format!("{error:#}")),
    };
    match run(&args, &databases).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("shop-audit: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn connect() -> anyhow::Result<Databases> {
    let inventory = ClusterConfig::from_env("INVENTORY_DB").context("the database of inventory")?;
    let payments = ClusterConfig::from_env("PAYMENTS_DB").context("the database of payments")?;
    Ok(Databases {
        users: Shards::from_env("USERS_DB").await.context("the database of users")?,
        inventory: Cluster::connect(inventory).await?,
        payments: Cluster::connect(payments).await?,
    })
}

async fn run(args: &Args, databases: &Databases) -> anyhow::Result<bool> {
    if args.counts {
        let counts = counts(databases).await?;
        if args.json {
            println!("{}", serde_json::to_string(&counts)?);
        } else {
            for (state, count) in counts {
                println!("{state} {count}");
            }
        }
        return Ok(true);
    }
    if args.unconfirmed {
        let mut text = String::new();
        std::io::stdin().take(IDS_BYTES_MAX).read_to_string(&mut text)?;
        let ids: Vec<i64> = text
            .split_whitespace()
            .map(|id| id.parse().with_context(|| format!("{id:?} is not the id of an order")))
            .collect::<Result<_, _>>()?;
        let unconfirmed = unconfirmed(databases, &ids).await?;
        unconfirmed.iter().for_each(|id| println!("{id}"));
        return Ok(unconfirmed.is_empty());
    }
    let options = Options {
        in_flight_max: Duration::from_secs(args.in_flight_seconds_max),
    };
    let report = audit(databases, options).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}
