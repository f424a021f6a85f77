//! Messages between processes, over RabbitMQ.
//!
//! Delivery is at least once: a message is published again when its confirmation did not come, under the same id, and
//! delivered again when a consumer died before it acknowledged. Consumers must be idempotent.

mod config;
mod consume;
mod envelope;
mod link;
pub mod messages;
mod publish;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{QueueArgs, QueueOptions};
pub use consume::{Delivered, Outcome};
pub use envelope::Message;
pub use publish::PublishError;

use link::Link;
use topology::Names;

/// Publishes that may wait for their confirmation at once.
const PUBLISHES_MAX: usize = 256;

/// For so long a test's queues are tried to be removed, with a pause between two tries.
const DELETE_DEADLINE: Duration = Duration::from_secs(60);
const DELETE_PAUSE: Duration = Duration::from_millis(50);

/// A handle to the broker, whichever of its nodes that is at the moment. Cheap to clone; the connection is closed with
/// the last clone.
#[derive(Clone)]
pub struct Queue {
    names: Names,
    /// None while there is no connection.
    link: watch::Receiver<Option<Arc<Link>>>,
    publishes: Arc<Semaphore>,
    _stop: Arc<DropGuard>,
}

/// Why a queue could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// There is no connection to the broker.
    #[error("the broker is not connected")]
    Disconnected,
    /// The broker failed or refused.
    #[error("the broker failed")]
    Broker(#[source] lapin::Error),
}

impl Queue {
    /// Starts to connect, and connects again for ever. Doesn't wait: a process must start also while the broker is down.
    pub async fn connect(args: QueueArgs, options: QueueOptions) -> Self {
        let names = Names::new(&options.prefix);
        let stop = CancellationToken::new();
        let (sender, link) = watch::channel(None);
        tokio::spawn(link::keep_connected(args, names.clone(), sender, stop.clone()));
        Self {
            names,
            link,
            publishes: Arc::new(Semaphore::new(PUBLISHES_MAX)),
            _stop: Arc::new(stop.drop_guard()),
        }
    }

    /// Whether there is a connection now.
    pub fn connected(&self) -> bool {
        self.link.borrow().is_some()
    }

    /// How many messages are ready in `queue`, not counting those that consumers hold.
    pub async fn depth(&self, queue: &str) -> Result<u32, QueueError> {
        let link = self.link.borrow().clone().ok_or(QueueError::Disconnected)?;
        // On a channel of its own: asking for a queue that isn't there closes the channel.
        let channel = link.channel().await.map_err(QueueError::Broker)?;
        let passive = lapin::options::QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let found = channel
            .queue_declare(self.names.queue(queue).into(), passive, Default::default())
            .await
            .map_err(QueueError::Broker)?;
        let depth = found.message_count();
        let _ = channel.close(200, "done".into()).await;
        Ok(depth)
    }

    /// Removes the exchanges and queues, for tests that made theirs under a prefix. A busy broker may answer with an internal
    /// error and close the connection, which then comes back: it is tried again, for a minute.
    pub async fn delete_topology(&self) -> Result<(), QueueError> {
        let deadline = Instant::now() + DELETE_DEADLINE;
        loop {
            match self.try_delete_topology().await {
                Err(_) if Instant::now() < deadline => sleep(DELETE_PAUSE).await,
                ended => return ended,
            }
        }
    }

    async fn try_delete_topology(&self) -> Result<(), QueueError> {
        let link = self.link.borrow().clone().ok_or(QueueError::Disconnected)?;
        let channel = link.channel().await.map_err(QueueError::Broker)?;
        topology::delete(&channel, &self.names)
            .await
            .map_err(QueueError::Broker)
    }
}
