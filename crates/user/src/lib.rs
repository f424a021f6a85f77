//! People, their sessions, carts and orders. ARCHITECTURE.md has the map.

pub mod accounts;
pub mod checkout;
pub mod config;
pub mod domain;
pub mod error;
pub mod inventory;
pub mod payments;
pub mod process;
pub mod queries;
mod routes;
pub mod state;

use std::time::Duration;

use anyhow::Context;
use shop_db::{Cluster, ClusterConfig, Shards};
use shop_queue::{Queue, QueueOptions};
use shop_session::Sessions;
use shop_web::WebState;
use shop_web::internal::InternalClient;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use accounts::{FailedLogins, Passwords};
use checkout::{Checkout, Recovery, Relay};
use config::Config;
use inventory::Inventory;
use payments::{CardTimings, Gateway};
pub use routes::router;
use state::{AppState, watch_schema};

/// Checkouts that are under way at shutdown get so long to finish; recovery takes those that don't.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// The service, built and not yet serving.
pub struct App {
    pub state: AppState,
    pub queue: Queue,
}

impl App {
    /// Connects to everything. Waits for nothing: what is away is found when it comes.
    pub async fn build(config: Config) -> anyhow::Result<Self> {
        let shards = Shards::from_env("USERS_DB").await.context("the database of users")?;
        let ledger = ClusterConfig::from_env("PAYMENTS_DB").context("the database of payments")?;
        let ledger = Cluster::connect(ledger).await.context("the database of payments")?;
        let client = InternalClient::new(config.internal_url.as_str(), config.web.internal_token_file.expose())
            .context("INTERNAL_URL")?;
        let inventory = Inventory::new(client);
        let schema = watch_schema(&shards, &ledger);
        let gateway = Gateway::new(ledger, CardTimings::default());
        let checkout = Checkout::new(
            shards.clone(),
            inventory.clone(),
            gateway,
            config.timings(),
            config.checkouts_max.into(),
        );
        let passwords = Passwords::new(config.password_hashes_max.into())?;
        let queue = Queue::connect(config.queue, QueueOptions::default()).await;
        let sessions = Sessions::connect(config.sessions).await?;
        let carts = sessions.carts();
        let web = WebState::new("user", &config.web, sessions).await;
        shop_telemetry::set_instance(&web.instance);
        let failed_logins = FailedLogins::new();
        let state = AppState {
            web,
            shards,
            carts,
            inventory,
            checkout,
            passwords,
            failed_logins,
            schema,
        };
        Ok(Self { state, queue })
    }

    /// Serves until shutdown, then lets requests and checkouts finish.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let Self { state, queue } = self;
        let background = TaskTracker::new();
        background.spawn(Recovery::new(state.checkout.clone()).run(shutdown.clone()));
        background.spawn(Relay::new(state.checkout.clone(), queue, state.carts.clone()).run(shutdown.clone()));
        background.close();
        let checkout = state.checkout.clone();
        shop_web::app::serve(listener, router(state, shutdown.clone()), shutdown).await;
        let finished = async {
            checkout.drain().await;
            background.wait().await;
        };
        if tokio::time::timeout(DRAIN_DEADLINE, finished).await.is_err() {
            tracing::warn!("Some checkouts did not finish before the deadline; recovery takes them");
        }
    }
}
