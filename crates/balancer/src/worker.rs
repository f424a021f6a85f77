//! The threads that serve. Each has a single-threaded runtime, a pool of connections and a log buffer of its own, so
//! that a request never crosses threads and nothing on its way takes a lock.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::service::service_fn;
use shop_front::{Entrance, accept_forever};
use tokio::runtime::{Builder, LocalOptions};

use crate::client_address;
use crate::journal::Journal;
use crate::proxy::{self, Client};
use crate::upstream::Pool;
use crate::{Shared, Side};

/// Often, since it also closes what backends have closed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that are in work when bursts begin to be worth it.
const BURST_MIN: u32 = 4;

/// One thread's own things.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) journal: Journal,
    /// Requests in work on this thread.
    pub(crate) in_work: Cell<u32>,
}

/// Where so much is in work on a thread, lets the others go first who are ready, so that all of them send what they have
/// to send one right after the other. A backend that is sent one thing at a time goes to sleep in between, and to wake
/// it again costs more than what it is woken for.
pub(crate) async fn join_burst(in_work: u32) {
    let mut is_last = in_work < BURST_MIN;
    poll_fn(|cx| {
        if std::mem::replace(&mut is_last, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Serves until the process stops. `entrances` are where each side's connections come from.
pub(crate) fn run(shared: Arc<Shared>, entrances: Vec<(Side, Entrance)>) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    let stop = shared.stop.clone();
    let worker = Rc::new(Worker {
        journal: Journal::new(shared.log.buffer(), shared.instance.clone()),
        pool: Pool::default(),
        in_work: Cell::new(0),
        shared,
    });
    for (side, entrance) in entrances {
        runtime.spawn_local(serve_side(worker.clone(), side, entrance));
    }
    runtime.spawn_local(sweep_forever(worker.clone()));
    let keeping = worker.clone();
    runtime.spawn_local(async move { keeping.journal.keep().await });
    runtime.block_on(stop.cancelled());
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

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// In which order three tasks come to what they have to send, and send it.
    async fn order(in_work: u32) -> Vec<&'static str> {
        let order = Rc::new(RefCell::new(Vec::new()));
        let local = LocalSet::new();
        for _ in 0..3 {
            let order = order.clone();
            local.spawn_local(async move {
                order.borrow_mut().push("comes");
                join_burst(in_work).await;
                order.borrow_mut().push("sends");
            });
        }
        local.await;
        order.take()
    }

    #[tokio::test]
    async fn requests_leave_together_where_there_are_many_and_at_once_where_there_are_few() {
        let together = ["comes", "comes", "comes", "sends", "sends", "sends"];
        assert_eq!(order(BURST_MIN).await, together);
        let at_once = ["comes", "sends", "comes", "sends", "comes", "sends"];
        assert_eq!(order(BURST_MIN - 1).await, at_once);
    }
}
