//! What handlers and tasks share: cheap handles, no globals.

use std::sync::Arc;

use shop_cache::Cache;
use shop_db::{Cluster, SchemaWatch};
use shop_objects::Objects;
use shop_queue::Queue;
use shop_web::WebState;
use tokio::sync::Notify;

use crate::domain::original;
use crate::uploads::memory::UploadMemory;

/// The name under which positions of this service's cluster travel: stock, which every buyer writes.
pub const INVENTORY: &str = "inventory";
/// The same cluster's positions as far as words and pictures go, which only the shopkeeper writes. Apart, so that a
/// customer who bought something does not read past every cached product for a minute.
pub const CATALOGUE: &str = "catalogue";

/// What uploads may hold in memory together: four of the largest, or many small ones.
pub const UPLOAD_MEMORY_BYTES_MAX: usize = 4 * original::BYTES_MAX;

/// Handles to everything this service uses.
#[derive(Clone)]
pub struct AppState {
    pub db: Cluster,
    pub cache: Cache,
    pub queue: Queue,
    pub objects: Objects,
    pub web: WebState,
    /// Room for files that are being uploaded.
    pub upload_memory: UploadMemory,
    /// Rung when a message was put into the outbox.
    pub relay: Arc<Notify>,
    /// Whether the database has the tables that this service was compiled for.
    pub schema: SchemaWatch,
}

impl AppState {
    /// Puts the handles together.
    pub fn new(db: Cluster, cache: Cache, queue: Queue, objects: Objects, web: WebState) -> Self {
        let schema = SchemaWatch::start([(db.clone(), migrate::newest(&migrate::INVENTORY))]);
        Self {
            db,
            cache,
            queue,
            objects,
            web,
            upload_memory: UploadMemory::new(UPLOAD_MEMORY_BYTES_MAX),
            relay: Arc::new(Notify::new()),
            schema,
        }
    }
}
