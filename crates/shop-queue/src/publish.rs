//! Publishing, with confirmations.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use lapin::types::{AMQPValue, FieldTable, LongString};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::envelope::{self, Message};
use crate::link::{Link, next_link};
use crate::{Queue, QueueError};

/// How long a publish may take, over all its tries. The longest gap measured when a queue's leader died was 7 s.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages survive a restart of the broker.
const PERSISTENT: u8 = 2;

/// Why a message was not published. Unless it says that the broker refused, the message may be in the queue all the same.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No confirmation came in time.
    #[error("the broker did not confirm within {PUBLISH_TIMEOUT:?}")]
    Timeout,
    /// Too many publishes wait for their confirmations.
    #[error("too many messages wait for the broker")]
    Overloaded,
    /// The broker refused: the queue is full.
    #[error("the queue is full")]
    Refused,
    /// No queue takes messages of this kind.
    #[error("no queue takes the message")]
    Unroutable,
    /// The message can't be written as JSON.
    #[error("the message can't be encoded")]
    Encode(#[from] serde_json::Error),
    /// The process is stopping.
    #[error("the queue is closed")]
    Closed,
}

enum Attempt {
    Confirmed,
    Failed(PublishError),
    /// The connection broke before the confirmation: the message may have arrived or not.
    Unknown,
}

impl Queue {
    /// Publishes a message and waits until the broker has it on a majority of its nodes. What was not confirmed when a
    /// connection broke is published again on the next one, under the same id.
    pub async fn publish<M: Message>(&self, id: Uuid, message: &M) -> Result<(), PublishError> {
        let started = Instant::now();
        let outcome = self.publish_within(started + PUBLISH_TIMEOUT, id, message).await;
        let result = match &outcome {
            Ok(()) => "confirmed",
            Err(PublishError::Refused | PublishError::Unroutable) => "refused",
            Err(_) => "failed",
        };
        metrics::histogram!("queue_publish_seconds", "key" => M::KEY, "result" => result)
            .record(started.elapsed().as_secs_f64());
        outcome
    }

    async fn publish_within<M: Message>(&self, deadline: Instant, id: Uuid, message: &M) -> Result<(), PublishError> {
        let body = envelope::encode(id, message)?;
        let properties = properties::<M>(id);
        let _place = match timeout_at(deadline, self.publishes.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_closed)) => return Err(PublishError::Closed),
            Err(_elapsed) => return Err(PublishError::Overloaded),
        };
        let mut receiver = self.link.clone();
        let mut known: Option<Arc<Link>> = None;
        loop {
            let link = match timeout_at(deadline, next_link(&mut receiver, known.as_ref())).await {
                Ok(Ok(link)) => link,
                Ok(Err(QueueError::Disconnected | QueueError::Broker(_))) => {
                    return Err(PublishError::Closed);
                }
                Err(_elapsed) => return Err(PublishError::Timeout),
            };
            let attempt = self.publish_on::<M>(&link, &body, properties.clone());
            match timeout_at(deadline, attempt).await {
                Ok(Attempt::Confirmed) => return Ok(()),
                Ok(Attempt::Failed(error)) => return Err(error),
                Ok(Attempt::Unknown) => {
                    link.mark_broken();
                    known = Some(link);
                }
                Err(_elapsed) => return Err(PublishError::Timeout),
            }
        }
    }

    async fn publish_on<M: Message>(&self, link: &Link, body: &[u8], properties: BasicProperties) -> Attempt {
        let options = BasicPublishOptions {
            mandatory: M::MUST_BE_ROUTED,
            ..Default::default()
        };
        let sent = link
            .publisher
            .basic_publish(self.names.events().into(), M::KEY.into(), options, body, properties)
            .await;
        let confirmation = match sent {
            Ok(confirmation) => confirmation.await,
            Err(error) => Err(error),
        };
        match confirmation {
            Ok(confirmation) if confirmation.is_nack() => Attempt::Failed(PublishError::Refused),
            Ok(confirmation) if confirmation.is_ack() => match confirmation.take_message() {
                Some(_returned) => Attempt::Failed(PublishError::Unroutable),
                None => Attempt::Confirmed,
            },
            Ok(_) | Err(_) => Attempt::Unknown,
        }
    }
}

fn properties<M: Message>(id: Uuid) -> BasicProperties {
    let mut headers = FieldTable::default();
    for (name, value) in shop_telemetry::propagation::inject() {
        headers.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    BasicProperties::default()
        .with_message_id(id.to_string().into())
        .with_type(M::KEY.into())
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_timestamp(now.as_secs())
        .with_headers(headers)
}
