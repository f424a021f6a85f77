use shop_db::{Cluster, SchemaWatch, Shards};
use shop_session::Carts;
use shop_web::WebState;

use crate::accounts::{FailedLogins, Passwords};
use crate::checkout::Checkout;
use crate::domain::UserId;
use crate::inventory::Inventory;

/// What handlers work with: handles that are cheap to clone.
#[derive(Clone)]
pub struct AppState {
    pub web: WebState,
    pub shards: Shards,
    pub carts: Carts,
    pub inventory: Inventory,
    pub checkout: Checkout,
    pub passwords: Passwords,
    pub failed_logins: FailedLogins,
    pub schema: SchemaWatch,
}

impl AppState {
    /// The cluster that holds everything of this user.
    pub fn cluster(&self, user_id: UserId) -> &Cluster {
        self.shards.for_slot(user_id.slot())
    }
}

/// Watches whether the databases have the tables that this service was compiled for.
pub fn watch_schema(shards: &Shards, ledger: &Cluster) -> SchemaWatch {
    let users = migrate::newest(&migrate::USERS);
    let payments = migrate::newest(&migrate::PAYMENTS);
    let databases = shards.clusters().map(|cluster| (cluster.clone(), users));
    SchemaWatch::start(databases.chain([(ledger.clone(), payments)]))
}
