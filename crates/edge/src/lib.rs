//! The edge: a small CDN in front of the balancers. It keeps photos and assets, and answers for them as long as it may,
//! also while nothing behind it does.
//!
//! The life of a request is in [`handler`] and [`errand`]; what HTTP says about caching is in [`http_cache`]; the cache itself is
//! [`store`]; the way to the origin is [`fetch`] and [`origin`].

pub mod access_log;
pub mod admin;
pub mod body;
pub mod cache_status;
pub mod config;
pub mod deliver;
pub mod errand;
pub mod fetch;
pub mod handler;
pub mod http_cache;
pub mod isolation;
pub mod origin;
pub mod process;
pub mod request;
pub mod request_metrics;
pub mod server;
pub mod store;

use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::fetch::Fetcher;
use crate::handler::App;
use crate::request_metrics::RequestMetrics;
use crate::store::Store;

/// Opens the cache and puts the parts together. To be called within the runtime that fetches.
pub async fn build(config: &Config, instance: String) -> io::Result<Arc<App>> {
    let store_config = config.store();
    let opened = tokio::task::spawn_blocking(move || Store::open(store_config)).await;
    let store = Arc::new(opened.map_err(io::Error::other)??);
    let fetcher = Arc::new(Fetcher::new(config, Arc::clone(&store)));
    let stale_if_unreachable_seconds = config.stale_if_unreachable_seconds;
    Ok(Arc::new(App {
        instance,
        store,
        fetcher,
        metrics: RequestMetrics::new(),
        stale_if_unreachable_seconds,
    }))
}
