use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use shop_queue::QueueArgs;
use shop_session::SessionArgs;
use shop_web::WebArgs;
use url::Url;

use crate::checkout::Timings;

/// People, sessions, carts and orders. The databases are configured by `USERS_DB_*`, `USERS_CLUSTERS`, `USERS_SLOTS` and
/// `PAYMENTS_DB_*`.
#[derive(Debug, Parser)]
pub struct Config {
    /// Address to serve at.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8000")]
    pub listen: SocketAddr,

    /// Ask the running service whether it is ready, and exit.
    #[arg(long)]
    pub health_check: bool,

    /// Where other services are reached: the balancer's private listener.
    #[arg(long, env = "INTERNAL_URL", default_value = "http://balancer:9000")]
    pub internal_url: Url,

    /// Checkouts that run at once in this process; more are asked to come back.
    #[arg(long, env = "CHECKOUTS_MAX", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub checkouts_max: u16,

    /// Passwords that are hashed at once; each takes 19 MiB and a core.
    #[arg(long, env = "PASSWORD_HASHES_MAX", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub password_hashes_max: u16,

    /// How long an order may stay in one state before recovery takes it over, in milliseconds.
    #[arg(long, env = "CHECKOUT_RECOVERY_DEADLINE_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkout_recovery_deadline_ms: u64,

    /// How long the payment gateway may take to answer, in milliseconds.
    #[arg(long, env = "CHECKOUT_PAY_DEADLINE_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkout_pay_deadline_ms: u64,

    /// How long a customer waits for an order before being sent to its page, in milliseconds.
    #[arg(long, env = "CHECKOUT_ANSWER_DEADLINE_MS", default_value_t = 7_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkout_answer_deadline_ms: u64,

    /// How often to look for orders that are overdue, in milliseconds.
    #[arg(long, env = "CHECKOUT_RECOVERY_PERIOD_MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkout_recovery_period_ms: u64,

    #[command(flatten)]
    pub sessions: SessionArgs,

    #[command(flatten)]
    pub queue: QueueArgs,

    #[command(flatten)]
    pub web: WebArgs,
}

impl Config {
    pub fn timings(&self) -> Timings {
        Timings {
            recovery_deadline: Duration::from_millis(self.checkout_recovery_deadline_ms),
            pay_deadline: Duration::from_millis(self.checkout_pay_deadline_ms),
            answer_deadline: Duration::from_millis(self.checkout_answer_deadline_ms),
            recovery_period: Duration::from_millis(self.checkout_recovery_period_ms),
            ..Timings::default()
        }
    }
}
