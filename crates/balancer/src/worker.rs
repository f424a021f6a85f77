//! The threads that serve. Each has a single-threaded runtime, a pool of connections and a log buffer of its own, so
//! that a request never crosses threads and nothing on its way takes a lock.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use shop_front::access_log::LogBuffer;
use shop_front::{Entrance, accept_forever};
use tokio::runtime::{Builder, LocalOptions};

use crate::client_address;
use crate::proxy::{self, Client};
use crate::upstream::Pool;
use crate::{Shared, Side};

const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// One thread's own things.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) log: LogBuffer,
}

/// Serves until the process stops. `entrances` are where each side's connections come from.
pub(crate) fn run(shared: Arc<Shared>, entrances: Vec<(Side, Entrance)>) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let stop = shared.stop.clone();
    let worker = Rc::new(Worker {
        log: shared.log.buffer(),
        pool: Pool::default(),
        shared,
    });
    for (side, entrance) in entrances {
        runtime.spawn_local(serve_side(worker.clone(), side, entrance));
    }
    runtime.spawn_local(sweep_forever(worker.clone()));
    let flushing = worker.clone();
    runtime.spawn_local(async move { flushing.log.flush_forever().await });
    runtime.block_on(stop.cancelled());
    worker.log.flush();
    Ok(())
}

async fn sweep_forever(worker: Rc<Worker>) {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        worker.pool.sweep();
    }
}

async fn serve_side(worker: Rc<Worker>, side: Side, entrance: Entrance) {
    let front = worker.shared.front.clone();
    let make_service = move |connection: shop_front::Client| {
        let worker = worker.clone();
        let client = Rc::new(Client {
            side,
            is_trusted: client_address::is_in(&worker.shared.trusted_proxies, connection.peer.ip()),
            opened: Instant::now(),
            sound_host: RefCell::default(),
            connection,
        });
        service_fn(move |request| proxy::serve(worker.clone(), client.clone(), request))
    };
    accept_forever(front, entrance, make_service).await;
}
