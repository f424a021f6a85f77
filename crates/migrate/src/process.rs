//! Migrates every database, says what it did, and ends. A second run changes nothing.

use std::process::ExitCode;
use std::time::Duration;

use crate::{migrate, targets_from_env};
use shop_telemetry::startup;

/// Brings the schemas of all databases up to date. The databases and their owners' logins are read from `INVENTORY_DB_*`,
/// `USERS_DB_*` (with `USERS_CLUSTERS` and `USERS_SLOTS`) and `PAYMENTS_DB_*`.
#[derive(clap::Parser)]
struct Arguments {
    /// How long to wait for the primary of a database, in seconds.
    #[arg(long, env = "MIGRATE_WAIT_S", default_value_t = 60)]
    wait_s: u64,
}

/// Runs until a signal ends it, or the work is done.
#[tokio::main(flavor = "current_thread")]
pub async fn main() -> ExitCode {
    let arguments: Arguments = startup::parse_or_exit();
    let targets = targets_from_env().unwrap_or_else(|error| startup::exit_config(error));
    let _telemetry = shop_telemetry::init("migrate");
    let wait = Duration::from_secs(arguments.wait_s);
    for target in &targets {
        let name = &target.config.name;
        match migrate(target, wait).await {
            Ok(applied) if applied.is_empty() => {
                tracing::info!(db.cluster = name, "{name} is up to date");
            }
            Ok(applied) => {
                tracing::info!(db.cluster = name, "{name}: applied {}", applied.join(", "));
            }
            Err(error) => {
                tracing::error!(db.cluster = name, "{error:#}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
