//! Exchanges and queues. Declared at every connection: what exists already stays as it is.

use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString};
use lapin::{Channel, ExchangeKind};

use crate::Message as _;
use crate::messages::PhotoProcess;

/// Each queue is named after the one routing key that fills it.
const QUEUES: &[&str] = &[PhotoProcess::KEY];

/// A message that failed this often goes to the dead letters.
const DELIVERY_LIMIT: i32 = 5;

/// A queue that is this long refuses more: publishers hear of it, instead of the broker's disk.
const QUEUE_LENGTH_MAX: i32 = 100_000;

/// The broker's names for things, with the prefix of tests.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    pub(crate) fn events(&self) -> String {
        format!("{}shop.events", self.prefix)
    }

    pub(crate) fn dead(&self) -> String {
        format!("{}shop.dead", self.prefix)
    }

    pub(crate) fn queue(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Makes sure that everything is there.
pub(crate) async fn declare(channel: &Channel, names: &Names) -> Result<(), lapin::Error> {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    for exchange in [names.events(), names.dead()] {
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await?;
    }
    for key in QUEUES {
        let dead = format!("{key}.dead");
        declare_queue(channel, &names.queue(&dead), dead_letter_arguments()).await?;
        bind(channel, &names.queue(&dead), &names.dead(), &dead).await?;
        declare_queue(channel, &names.queue(key), work_arguments(&names.dead(), &dead)).await?;
        bind(channel, &names.queue(key), &names.events(), key).await?;
    }
    Ok(())
}

/// Removes all of it.
pub(crate) async fn delete(channel: &Channel, names: &Names) -> Result<(), lapin::Error> {
    for key in QUEUES {
        for queue in [names.queue(key), names.queue(&format!("{key}.dead"))] {
            channel
                .queue_delete(queue.into(), QueueDeleteOptions::default())
                .await?;
        }
    }
    for exchange in [names.events(), names.dead()] {
        channel
            .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
            .await?;
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, queue: &str, arguments: FieldTable) -> Result<(), lapin::Error> {
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel.queue_declare(queue.into(), durable, arguments).await?;
    Ok(())
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), lapin::Error> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// A dead letter is lost only with a majority of the nodes: `at-least-once` moves it with a confirmation, which works
/// only with `reject-publish`.
fn work_arguments(dead_exchange: &str, dead_key: &str) -> FieldTable {
    let mut arguments = dead_letter_arguments();
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments.insert("x-dead-letter-exchange".into(), text(dead_exchange));
    arguments.insert("x-dead-letter-routing-key".into(), text(dead_key));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments
}

fn dead_letter_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_LENGTH_MAX));
    arguments
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}
