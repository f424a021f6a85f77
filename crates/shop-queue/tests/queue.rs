//! The queue against a real RabbitMQ, with a network in between that can be broken.

use std::sync::Mutex;
use std::time::Duration;

use shop_queue::messages::{OrderConfirmed, PhotoEdits, PhotoProcess};
use shop_queue::{Delivered, Message, Outcome, PublishError, Queue, QueueArgs, QueueOptions};
use shop_testkit::{FaultyProxy, amqp_url, unique, wait_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);
const QUEUE: &str = "photo.process";
const DEAD: &str = "photo.process.dead";

/// A queue whose names no other test has.
struct Own {
    queue: Queue,
    proxy: FaultyProxy,
}

impl Own {
    async fn connect() -> Self {
        let url = amqp_url();
        let address = url.rsplit_once('@').unwrap().1;
        let proxy = FaultyProxy::start(address).await;
        let args = QueueArgs::for_url(&url.replace(address, &proxy.addr().to_string())).unwrap();
        let options = QueueOptions {
            prefix: format!("{}.", unique("test")),
        };
        let queue = Queue::connect(args, options).await;
        wait_until("the broker is connected", SOON, || async { queue.connected() }).await;
        Self { queue, proxy }
    }

    async fn finish(self) {
        self.queue.delete_topology().await.unwrap();
    }

    async fn depth(&self, queue: &str) -> u32 {
        self.queue.depth(queue).await.unwrap_or(u32::MAX)
    }
}

fn message(photo_id: i64) -> PhotoProcess {
    PhotoProcess {
        photo_id,
        version: 1,
        original_key: format!("originals/{photo_id}"),
        edits: PhotoEdits::default(),
    }
}

/// Consumes until `until` says that what was seen is enough, giving each message the outcome that `decide` says.
async fn consume_until(
    queue: &Queue,
    decide: impl Fn(&Delivered<PhotoProcess>) -> Outcome,
    until: impl Fn(&[Delivered<PhotoProcess>]) -> bool,
) -> Vec<Delivered<PhotoProcess>> {
    let seen = Mutex::new(Vec::new());
    let shutdown = CancellationToken::new();
    let consuming = queue.consume(QUEUE, 4, shutdown.clone(), |delivered: Delivered<PhotoProcess>| {
        let outcome = decide(&delivered);
        let mut seen = seen.lock().unwrap();
        seen.push(delivered);
        if until(&seen) {
            shutdown.cancel();
        }
        std::future::ready(outcome)
    });
    tokio::time::timeout(SOON, consuming)
        .await
        .expect("enough messages came");
    seen.into_inner().unwrap()
}

#[tokio::test]
async fn a_message_arrives_once_and_is_gone_when_it_is_done() {
    let own = Own::connect().await;
    let id = Uuid::new_v4();
    own.queue.publish(id, &message(7)).await.unwrap();
    let seen = consume_until(&own.queue, |_| Outcome::Done, |seen| !seen.is_empty()).await;
    assert_eq!(
        (seen[0].id, &seen[0].message, seen[0].deliveries_before),
        (id, &message(7), 0)
    );
    wait_until("the queue is empty", SOON, || async { own.depth(QUEUE).await == 0 }).await;
    assert_eq!(own.depth(DEAD).await, 0);
    own.finish().await;
}

#[tokio::test]
async fn a_dead_message_goes_to_the_dead_letters_at_once() {
    let own = Own::connect().await;
    own.queue.publish(Uuid::new_v4(), &message(7)).await.unwrap();
    consume_until(&own.queue, |_| Outcome::Dead, |seen| !seen.is_empty()).await;
    wait_until("the dead letter arrives", SOON, || async { own.depth(DEAD).await == 1 }).await;
    own.finish().await;
}

#[tokio::test]
async fn a_message_that_fails_again_and_again_ends_in_the_dead_letters() {
    let own = Own::connect().await;
    own.queue.publish(Uuid::new_v4(), &message(7)).await.unwrap();
    // The first delivery and five more.
    let seen = consume_until(&own.queue, |_| Outcome::Retry, |seen| seen.len() == 6).await;
    let before: Vec<u32> = seen.iter().map(|delivered| delivered.deliveries_before).collect();
    assert_eq!(before, [0, 1, 2, 3, 4, 5]);
    wait_until("the dead letter arrives", SOON, || async { own.depth(DEAD).await == 1 }).await;
    own.finish().await;
}

/// Work for which there is no queue.
#[derive(serde::Serialize, serde::Deserialize)]
struct Orphan {}

impl Message for Orphan {
    const KEY: &'static str = "orphan.work";
    const VERSION: u32 = 1;
}

#[tokio::test]
async fn work_that_no_queue_takes_is_an_error_and_news_is_not() {
    let own = Own::connect().await;
    let news = OrderConfirmed {
        order_id: 1,
        user_id: 2,
        total_cents: 3,
        lines: Vec::new(),
    };
    own.queue.publish(Uuid::new_v4(), &news).await.unwrap();
    let error = own.queue.publish(Uuid::new_v4(), &Orphan {}).await.unwrap_err();
    assert!(matches!(error, PublishError::Unroutable), "{error}");
    own.finish().await;
}

#[tokio::test]
async fn exchanges_and_queues_that_were_lost_are_made_again() {
    let own = Own::connect().await;
    own.queue.delete_topology().await.unwrap();
    own.queue.publish(Uuid::new_v4(), &message(7)).await.unwrap();
    wait_until("the message is in its queue", SOON, || async {
        own.depth(QUEUE).await == 1
    })
    .await;
    own.finish().await;
}

#[tokio::test]
async fn publishing_and_consuming_go_on_after_the_connection_was_lost() {
    let own = Own::connect().await;
    own.queue.publish(Uuid::new_v4(), &message(1)).await.unwrap();
    own.proxy.cut();
    wait_until("the loss is noticed", SOON, || async { !own.queue.connected() }).await;
    let late = tokio::spawn({
        let queue = own.queue.clone();
        async move { queue.publish(Uuid::new_v4(), &message(2)).await }
    });
    own.proxy.thaw();
    late.await.unwrap().unwrap();
    let seen = consume_until(
        &own.queue,
        |_| Outcome::Done,
        |seen| {
            [1, 2]
                .iter()
                .all(|id| seen.iter().any(|delivered| delivered.message.photo_id == *id))
        },
    )
    .await;
    assert!(seen.len() >= 2);
    own.finish().await;
}

#[tokio::test]
async fn a_consumer_resumes_by_itself() {
    let own = Own::connect().await;
    let shutdown = CancellationToken::new();
    let (sender, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let consuming = tokio::spawn({
        let (queue, shutdown) = (own.queue.clone(), shutdown.clone());
        async move {
            queue
                .consume(QUEUE, 2, shutdown, move |delivered: Delivered<PhotoProcess>| {
                    sender.send(delivered.message.photo_id).unwrap();
                    std::future::ready(Outcome::Done)
                })
                .await;
        }
    });
    own.queue.publish(Uuid::new_v4(), &message(1)).await.unwrap();
    assert_eq!(arrived.recv().await, Some(1));
    own.proxy.cut();
    wait_until("the loss is noticed", SOON, || async { !own.queue.connected() }).await;
    own.proxy.thaw();
    own.queue.publish(Uuid::new_v4(), &message(2)).await.unwrap();
    // The first may come once more, if its acknowledgement was lost.
    let second = async { while arrived.recv().await != Some(2) {} };
    tokio::time::timeout(SOON, second)
        .await
        .expect("the second message arrives");
    shutdown.cancel();
    tokio::time::timeout(SOON, consuming)
        .await
        .expect("the consumer stops")
        .unwrap();
    own.finish().await;
}
