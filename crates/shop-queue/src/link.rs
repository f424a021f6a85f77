//! The connection to one of the broker's nodes, and the task that replaces it when it breaks.
//!
//! lapin can reconnect by itself, but only to the node that it knows, which may be the dead one.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::ConfirmSelectOptions;
use lapin::{Channel, Connection, ConnectionProperties};
use rand::seq::SliceRandom as _;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::{BrokerNode, CONNECT_TIMEOUT_MS};
use crate::topology::{self, Names};
use crate::{QueueArgs, QueueError};

/// Connecting, logging in, and declaring everything takes no longer, or failed.
const SETUP_TIMEOUT: Duration = Duration::from_millis(CONNECT_TIMEOUT_MS + 3000);

/// How often the connection is looked at, beside what it says by itself.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Pause after all nodes failed; it doubles up to the maximum.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// A connection that works, until it is found not to.
pub(crate) struct Link {
    connection: Connection,
    /// The one channel that publishes, with confirmations.
    pub(crate) publisher: Channel,
    broken: Notify,
}

impl Link {
    /// A new channel on this connection.
    pub(crate) async fn channel(&self) -> Result<Channel, lapin::Error> {
        self.connection.create_channel().await
    }

    /// Says that something on this connection failed, so that it is replaced.
    pub(crate) fn mark_broken(&self) {
        self.broken.notify_one();
    }

    async fn open(args: &QueueArgs, node: &BrokerNode, names: &Names) -> Result<Self, lapin::Error> {
        let properties = ConnectionProperties::default().with_connection_name("shop".into());
        let connection = Connection::connect_uri(args.uri(node), properties).await?;
        let setup = connection.create_channel().await?;
        topology::declare(&setup, names).await?;
        setup.close(200, "done".into()).await?;
        let publisher = connection.create_channel().await?;
        publisher.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self {
            connection,
            publisher,
            broken: Notify::new(),
        })
    }

    /// Completes when the connection or its publisher is of no use any more.
    async fn until_broken(&self) {
        let look = async {
            while self.connection.status().connected() && self.publisher.status().connected() {
                sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = look => {}
            () = self.broken.notified() => {}
        }
    }

    async fn close(&self) {
        // A broken or frozen connection can't be closed in good form; its sockets go with the last reference.
        let _ = timeout(Duration::from_secs(1), self.connection.close(200, "closed".into())).await;
    }
}

/// Connects to one node after the other until told to stop, and announces each connection.
pub(crate) async fn keep_connected(
    args: QueueArgs,
    names: Names,
    sender: watch::Sender<Option<Arc<Link>>>,
    stop: CancellationToken,
) {
    let connected = metrics::gauge!("queue_connected");
    let mut pause = PAUSE_MIN;
    loop {
        connected.set(0.0);
        let attempt = connect_to_any(&args, &names);
        match stop.run_until_cancelled(attempt).await {
            None => return,
            Some(Some(link)) => {
                pause = PAUSE_MIN;
                connected.set(1.0);
                let link = Arc::new(link);
                sender.send_replace(Some(Arc::clone(&link)));
                let stopped = stop.run_until_cancelled(link.until_broken()).await.is_none();
                sender.send_replace(None);
                link.close().await;
                if stopped {
                    return;
                }
                tracing::warn!("The connection to the broker is lost");
            }
            Some(None) => {
                if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                    return;
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// The first node that works, in an order made by chance, so that processes spread over the nodes.
async fn connect_to_any(args: &QueueArgs, names: &Names) -> Option<Link> {
    let mut nodes: Vec<&BrokerNode> = args.rabbitmq_nodes.iter().collect();
    nodes.shuffle(&mut rand::rng());
    for node in nodes {
        let address = format!("{}:{}", node.host, node.port);
        match timeout(SETUP_TIMEOUT, Link::open(args, node, names)).await {
            Ok(Ok(link)) => {
                tracing::info!(queue.node = address, "Connected to the broker");
                return Some(link);
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    queue.node = address,
                    error = &error as &dyn std::error::Error,
                    "A broker node refused"
                );
            }
            Err(_elapsed) => tracing::warn!(queue.node = address, "A broker node did not answer"),
        }
    }
    None
}

/// Waits for a connection that is not `known`.
pub(crate) async fn next_link(
    receiver: &mut watch::Receiver<Option<Arc<Link>>>,
    known: Option<&Arc<Link>>,
) -> Result<Arc<Link>, QueueError> {
    let is_new = |link: &Option<Arc<Link>>| match (link, known) {
        (Some(link), Some(known)) => !Arc::ptr_eq(link, known),
        (Some(_), None) => true,
        (None, _) => false,
    };
    let found = receiver.wait_for(is_new).await.map_err(|_| QueueError::Disconnected)?;
    found.clone().ok_or(QueueError::Disconnected)
}
