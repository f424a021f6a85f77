//! Taking connections from the listening sockets, for as long as there is room for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use shop_net::listen::{Accepted, ListenSource, Listeners};
use tokio::time::timeout;
use tracing::error;

use crate::connection::{self, Treatment};
use crate::parking::Lot;
use crate::tls::Tls;
use crate::{Client, Front, OpenConnection};

/// Pause before looking again whether there is room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Connections that were made before a socket closed are still taken from its queue, up to this many.
const LEFT_OVER_MAX: u32 = 64;

/// Where connections come from, and how they are met.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// The listening socket.
    pub source: ListenSource,
    /// What is spoken beneath HTTP, if anything.
    pub tls: Option<Tls>,
    /// Whether anybody may come. Strangers have to ask something soon, and wait while there are too many of them; the
    /// processes of one's own always get through: they are few, and others wait for them.
    pub is_public: bool,
}

/// Accepts connections and serves each by a service of its own, in local tasks of this thread. Returns when the process
/// drains.
///
/// From the gateway's socket nothing more is accepted once draining begins: another process takes it. Who comes to a
/// socket of this process's own has found it by DNS or by configuration, and is served for as long as possible.
pub async fn accept_forever<M, S, B>(front: Arc<Front>, entrance: Entrance, make_service: M)
where
    M: Fn(Client) -> S + Clone + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + 'static,
    S::Future: 'static,
    B: Body<Data = Bytes> + Unpin + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let Entrance { source, tls, is_public } = entrance;
    let treatment = Treatment { tls, is_public };
    let others_accept = source.is_handed_over();
    let until = if others_accept { &front.drain } else { &front.close }.clone();
    let mut listeners = source.listeners();
    drop(source);
    let lot = match Lot::new(front.clone()) {
        Ok(lot) => lot,
        Err(error) => {
            error!(%error, "No connections are accepted: idle ones could not be watched");
            return;
        }
    };
    tokio::task::spawn_local(lot.clone().attend());
    let welcome = |accepted: Accepted| {
        let Some(place) = front.addresses.enter(accepted.peer.ip(), is_public) else {
            front.refused.fetch_add(1, Relaxed);
            return;
        };
        front.accepted.fetch_add(1, Relaxed);
        tokio::task::spawn_local(connection::serve(
            OpenConnection::count(&front, Arc::new(place)),
            accepted,
            treatment.clone(),
            make_service.clone(),
            lot.clone(),
        ));
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = until.cancelled() => break,
            accepted = accept_when_there_is_room(&front, is_public, &mut listeners) => accepted,
        };
        welcome(accepted);
    }
    if others_accept {
        return;
    }
    for _ in 0..LEFT_OVER_MAX {
        let Ok(accepted) = timeout(FULL_PAUSE, listeners.accept()).await else {
            break;
        };
        welcome(accepted);
    }
}

async fn accept_when_there_is_room(front: &Front, is_public: bool, listeners: &mut Listeners) -> Accepted {
    while is_public && front.is_full() {
        tokio::time::sleep(FULL_PAUSE).await;
    }
    listeners.accept().await
}
