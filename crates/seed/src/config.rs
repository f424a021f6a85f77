//! What the seed can be told.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use shop_telemetry::startup::SecretFile;

/// Fills the shop with 120 prints, their pictures and the demo accounts. Repeating it changes nothing.
#[derive(Debug, Parser)]
pub struct Config {
    /// What to do instead of filling the shop.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The shop's address, for registering, logging in and uploading.
    #[arg(long, env = "SHOP_URL")]
    pub shop_url: Option<String>,

    /// The file that holds the demo shopkeeper's password.
    #[arg(long, env = "SHOPKEEPER_PASSWORD_FILE")]
    pub shopkeeper_password_file: Option<SecretFile>,

    /// For load tests: make the catalogue this many products large.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub products: Option<i64>,

    /// For load tests: have this many customers beside the demo accounts. All have the demo customer's password.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    pub users: Option<i64>,
}

/// Everything else that the seed does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Puts the stock of every product back to what it was at first.
    Restock,
    /// Draws prints to files, without any shop.
    Draw(Draw),
}

/// Which prints to draw, and where to.
#[derive(Debug, Args)]
pub struct Draw {
    /// The series to draw; all of them if not given.
    #[arg(long)]
    pub series: Option<String>,
    /// A folder for one PNG per print.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// A PNG with all of them side by side.
    #[arg(long)]
    pub sheet: Option<PathBuf>,
    /// Pixels on the long side.
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u32).range(64..=4000))]
    pub size: u32,
    /// At most so many prints of a series.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10))]
    pub count: u32,
}

/// How the seed gets into the shop.
#[derive(Debug, Clone)]
pub struct Access {
    /// The shop's address.
    pub shop_url: String,
    /// The demo shopkeeper's password.
    pub shopkeeper_password: SecretFile,
}

/// A variable without which the shop can't be filled.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not set")]
pub struct Missing(&'static str);

impl Config {
    /// What filling the shop needs, and other commands do not.
    pub fn access(&self) -> Result<Access, Missing> {
        Ok(Access {
            shop_url: self
                .shop_url
                .clone()
                .filter(|url| !url.is_empty())
                .ok_or(Missing("SHOP_URL"))?,
            shopkeeper_password: self
                .shopkeeper_password_file
                .clone()
                .ok_or(Missing("SHOPKEEPER_PASSWORD_FILE"))?,
        })
    }
}
