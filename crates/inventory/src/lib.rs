//! Products, stock and photos: the service behind the shop's walls.
//!
//! A library, so that tests build the very service that `main` serves.

pub mod cached;
pub mod catalogue;
pub mod config;
pub mod domain;
pub mod error;
pub mod process;
pub mod queries;
pub mod routes;
pub mod state;
pub mod tasks;
pub mod uploads;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::state::AppState;

/// Serves requests and runs the tasks beside them until `shutdown`; then finishes what is under way.
pub async fn run(app: AppState, listener: TcpListener, shutdown: CancellationToken) {
    let tasks = TaskTracker::new();
    tasks.spawn(tasks::relay::run(app.clone(), shutdown.clone()));
    tasks.spawn(tasks::sweep::run(app.clone(), shutdown.clone()));
    tasks.spawn(tasks::dead_letters::run(app.clone(), shutdown.clone()));
    tasks.close();
    shop_web::app::serve(listener, routes::router(app), shutdown).await;
    tasks.wait().await;
}
