//! The process `seed`: fills the shop once, puts stock back, or draws prints to look at.

use std::process::ExitCode;

use crate::config::{Command, Config};
use crate::{bulk, fill, prints, restock};
use anyhow::{Context as _, Result};
use shop_db::{Cluster, ClusterConfig, Shards};
use shop_telemetry::startup;

/// Runs until a signal ends it, or the work is done.
#[tokio::main]
pub async fn main() -> ExitCode {
    let config: Config = startup::parse_or_exit();
    if let Some(Command::Draw(draw)) = &config.command {
        return finish(prints::proof::draw(draw));
    }
    let _telemetry = shop_telemetry::init("seed");
    let work = async {
        match &config.command {
            None => fill_all(&config).await,
            Some(Command::Restock) => restock::run(&inventory().await?).await,
            Some(Command::Draw(_)) => Ok(()),
        }
    };
    // A stopped seed leaves nothing half done: the next start goes on where this one was.
    tokio::select! {
        result = work => finish(result),
        () = startup::shutdown_signal() => {
            tracing::info!("Stopped before the end");
            ExitCode::FAILURE
        }
    }
}

async fn fill_all(config: &Config) -> Result<()> {
    let access = config.access().unwrap_or_else(|error| startup::exit_config(error));
    let inventory = inventory().await?;
    let users = users().await?;
    // The shop is serving meanwhile: drawing must not take the processor from it.
    if let Err(error) = rustix::process::nice(10) {
        tracing::warn!(error = %error, "Could not lower the seed's own priority");
    }
    let customer_id = fill::run(&access, &inventory, &users).await?;
    if let Some(products) = config.products {
        bulk::products(&inventory, products)
            .await
            .context("filling the catalogue")?;
    }
    if let Some(count) = config.users {
        bulk::users(&users, customer_id, count)
            .await
            .context("filling the accounts")?;
    }
    Ok(())
}

async fn inventory() -> Result<Cluster> {
    let config = ClusterConfig::from_env("INVENTORY_DB").unwrap_or_else(|error| startup::exit_config(error));
    Ok(Cluster::connect(config).await?)
}

async fn users() -> Result<Shards> {
    if let Err(error) = Shards::configs_from_env("USERS_DB") {
        startup::exit_config(error);
    }
    Ok(Shards::from_env("USERS_DB").await?)
}

fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %format!("{error:#}"), "The seed failed");
            eprintln!("seed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
