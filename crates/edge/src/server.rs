//! The threads that serve: connections accepted, answered, drained.

use std::convert::Infallible;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use shop_front::{Client, Entrance, Front, Limits, accept_forever};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::access_log::ThreadLog;
use crate::handler::{App, handle};

/// A client that has sent nothing for so long between two requests is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A client that takes nothing of what is sent for so long is gone.
const STALL_MAX: Duration = Duration::from_secs(30);
const HEADERS_MAX: usize = 64;
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Threads that wait for the disk, for each thread that serves.
const DISK_THREADS_MAX: usize = 8;

/// What the threads share about connections.
pub fn front(connections_max: u32) -> Arc<Front> {
    Front::new(Limits {
        connections_max,
        connections_per_address_max: 0,
        unlimited: Vec::new(),
        tunnels_max: 0,
        tunnel_idle_max: IDLE_MAX,
        stall_max: STALL_MAX,
        idle_max: IDLE_MAX,
        headers_max: HEADERS_MAX,
        head_bytes_max: HEAD_BYTES_MAX,
    })
}

/// Starts a thread that serves until it is stopped, on a runtime of its own.
pub fn start_thread(
    number: usize,
    entrances: Vec<Entrance>,
    app: Arc<App>,
    front: Arc<Front>,
    log: shop_front::access_log::LogBuffer,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(DISK_THREADS_MAX)
        .build()?;
    std::thread::Builder::new()
        .name(format!("serve-{number}"))
        .spawn(move || {
            let log = Rc::new(ThreadLog::new(app.instance.clone(), log));
            let local = LocalSet::new();
            for entrance in entrances {
                local.spawn_local(serve(entrance, app.clone(), front.clone(), log.clone()));
            }
            local.spawn_local(async move { log.flush_forever().await });
            local.block_on(&runtime, stop.cancelled());
        })
}

async fn serve(entrance: Entrance, app: Arc<App>, front: Arc<Front>, log: Rc<ThreadLog>) {
    let draining = front.clone();
    let make_service = move |client: Client| {
        let (app, log, client, front) = (app.clone(), log.clone(), Rc::new(client), draining.clone());
        service_fn(move |request: Request<Incoming>| {
            let is_http2 = request.version() == Version::HTTP_2;
            let (front, answering) = (front.clone(), handle(app.clone(), log.clone(), client.clone(), request));
            async move {
                let mut response = answering.await;
                if front.is_draining() && !is_http2 {
                    response
                        .headers_mut()
                        .insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    accept_forever(front, entrance, make_service).await;
}
