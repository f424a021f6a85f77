//! Consuming: a handler's word decides what becomes of each message.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

use crate::Queue;
use crate::envelope::{self, Message, Unreadable};
use crate::link::{Link, next_link};
use crate::topology::Names;

/// The pause before a message that failed goes back; it doubles with each delivery, up to the maximum. Without it, a
/// dependency that is away for a second would use up all deliveries.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Pause before a consumer that was refused is started again on the same connection.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// How long handlers may go on after the shutdown began; then their messages go to somebody else.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A message as its handler gets it.
#[derive(Clone, Debug)]
pub struct Delivered<M> {
    /// The id that it was published under, the same however often it comes.
    pub id: Uuid,
    /// What it says.
    pub message: M,
    /// How often it was delivered before, as far as the broker counts.
    pub deliveries_before: u32,
}

/// What becomes of a message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its effect has happened: it is acknowledged.
    Done,
    /// It goes back after a pause, and to the dead letters when that happened too often.
    ///
    /// Not for a dependency that is down: hold the message then, until it is back.
    Retry,
    /// It goes to the dead letters now: it will never work.
    Dead,
}

impl Queue {
    /// Consumes `queue` until `shutdown`, over any number of lost connections. Up to `prefetch` handlers run at once, all
    /// in this task. Returns when the running handlers are done, or have had their time.
    pub async fn consume<M, H, Fut>(&self, queue: &str, prefetch: u16, shutdown: CancellationToken, handler: H)
    where
        M: Message,
        H: Fn(Delivered<M>) -> Fut,
        Fut: Future<Output = Outcome>,
    {
        let mut receiver = self.link.clone();
        loop {
            let next = next_link(&mut receiver, None);
            // Told to stop, or the queue was closed.
            let Some(Ok(link)) = shutdown.run_until_cancelled(next).await else {
                return;
            };
            match start(&link, &self.names, queue, prefetch).await {
                Ok(consumer) => {
                    tracing::info!(queue.name = queue, "Consuming");
                    drive(queue, consumer, &shutdown, &handler).await;
                }
                Err(error) => {
                    tracing::warn!(
                        queue.name = queue,
                        error = &error as &dyn std::error::Error,
                        "Could not consume"
                    );
                }
            }
            drop(link);
            if shutdown.run_until_cancelled(sleep(RESTART_PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

async fn start(link: &Link, names: &Names, queue: &str, prefetch: u16) -> Result<Consumer, lapin::Error> {
    let channel = link.channel().await?;
    channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
    channel
        .basic_consume(
            names.queue(queue).into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// Handles deliveries until the consumer ends or `shutdown`.
async fn drive<M, H, Fut>(queue: &str, mut consumer: Consumer, shutdown: &CancellationToken, handler: &H)
where
    M: Message,
    H: Fn(Delivered<M>) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(()) = running.next() => {}
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => running.push(handle(queue, delivery, handler)),
                Some(Err(error)) => {
                    tracing::warn!(queue.name = queue, error = &error as &dyn std::error::Error, "A consumer was interrupted");
                    break;
                }
                None => break,
            },
        }
    }
    // What was fetched but not begun goes back to the queue when the consumer, and with it the channel, is dropped.
    let drained = timeout(DRAIN_TIMEOUT, async { while running.next().await.is_some() {} }).await;
    if drained.is_err() {
        tracing::warn!(
            queue.name = queue,
            handlers = running.len(),
            "Handlers took too long: their messages are left to others"
        );
    }
}

async fn handle<M, H, Fut>(queue: &str, delivery: Delivery, handler: &H)
where
    M: Message,
    H: Fn(Delivered<M>) -> Fut,
    Fut: Future<Output = Outcome>,
{
    let started = Instant::now();
    let deliveries_before = deliveries_before(&delivery);
    let span = tracing::info_span!(
        "consume",
        queue.name = queue,
        queue.message_id = tracing::field::Empty,
        queue.deliveries_before = deliveries_before,
    );
    shop_telemetry::propagation::set_parent(&span, |name| header(&delivery, name));
    let outcome = async {
        match envelope::decode::<M>(&delivery.data) {
            Ok((id, message)) => {
                tracing::Span::current().record("queue.message_id", tracing::field::display(id));
                handler(Delivered {
                    id,
                    message,
                    deliveries_before,
                })
                .await
            }
            // Perhaps a process of the next version gets it.
            Err(error @ Unreadable::TooNew(_)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "Left a message to a newer process"
                );
                Outcome::Retry
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "Refused a message");
                Outcome::Dead
            }
        }
    }
    .instrument(span)
    .await;
    record(queue, outcome, started);
    settle(queue, &delivery, outcome, deliveries_before).await;
}

async fn settle(queue: &str, delivery: &Delivery, outcome: Outcome, deliveries_before: u32) {
    let settled = match outcome {
        Outcome::Done => delivery.acker.ack(BasicAckOptions::default()).await,
        Outcome::Dead => delivery.acker.reject(BasicRejectOptions { requeue: false }).await,
        Outcome::Retry => {
            sleep(retry_pause(deliveries_before)).await;
            delivery.acker.reject(BasicRejectOptions { requeue: true }).await
        }
    };
    match settled {
        Ok(true) => {}
        Ok(false) => tracing::info!(
            queue.name = queue,
            "The connection was lost before a message was settled: it comes again"
        ),
        Err(error) => {
            tracing::warn!(
                queue.name = queue,
                error = &error as &dyn std::error::Error,
                "A message was not settled: it comes again"
            );
        }
    }
}

fn retry_pause(deliveries_before: u32) -> Duration {
    RETRY_PAUSE_MIN
        .saturating_mul(2_u32.saturating_pow(deliveries_before))
        .min(RETRY_PAUSE_MAX)
}

fn record(queue: &str, outcome: Outcome, started: Instant) {
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Retry => "retry",
        Outcome::Dead => "dead",
    };
    metrics::histogram!("queue_handle_seconds", "queue" => queue.to_owned(), "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}

fn deliveries_before(delivery: &Delivery) -> u32 {
    let headers = delivery.properties.headers().as_ref();
    let count = headers.and_then(|headers| match headers.inner().get("x-delivery-count")? {
        AMQPValue::LongLongInt(count) => u32::try_from(*count).ok(),
        AMQPValue::LongInt(count) => u32::try_from(*count).ok(),
        AMQPValue::LongUInt(count) => Some(*count),
        AMQPValue::ShortShortUInt(count) => Some(u32::from(*count)),
        AMQPValue::ShortShortInt(count) => u32::try_from(*count).ok(),
        _ => None,
    });
    count.unwrap_or(u32::from(delivery.redelivered))
}

fn header(delivery: &Delivery, name: &str) -> Option<String> {
    match delivery.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(value) => String::from_utf8(value.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_before_a_retry_grows_up_to_its_maximum() {
        assert_eq!(retry_pause(0), Duration::from_millis(250));
        assert_eq!(retry_pause(2), Duration::from_secs(1));
        assert_eq!(retry_pause(40), RETRY_PAUSE_MAX);
    }
}
