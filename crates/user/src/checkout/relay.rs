//! What must follow a confirmation: the event reaches the broker, and the cart loses what was bought. Both lie in tables
//! until they are done, and both may happen twice: the event carries its id, the cart remembers the order.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use shop_db::{Cluster, DbError, Freshness, Position};
use shop_queue::Queue;
use shop_queue::messages::{OrderConfirmed, OrderConfirmedLine};
use shop_session::{CartLine, CartOwner, Carts};
use tokio_util::sync::CancellationToken;

use super::Checkout;
use crate::domain::{OrderId, UserId};
use crate::queries::order_outbox::Event;
use crate::queries::orders::OrderLine;
use crate::queries::{cart_jobs, order_outbox, orders};

/// What follows a confirmation.
#[derive(Clone, Copy)]
enum Work {
    Carts,
    Events,
}

/// The relay of one process, over all clusters.
pub struct Relay {
    checkout: Checkout,
    queue: Queue,
    carts: Carts,
}

impl Relay {
    /// Rows claimed in one round, from one table of one cluster.
    const BATCH_MAX: u32 = 32;
    const AT_ONCE: usize = 8;
    const PERIOD: Duration = Duration::from_secs(1);
    /// How long a claim lasts; what could not be done is tried again after it.
    const CLAIM: Duration = Duration::from_secs(10);

    pub fn new(checkout: Checkout, queue: Queue, carts: Carts) -> Self {
        Self { checkout, queue, carts }
    }

    /// Goes on until shutdown: a round whenever an order was confirmed here, and one a second for the others'.
    pub async fn run(self, shutdown: CancellationToken) {
        self.checkout
            .in_each_cluster(|cluster| {
                // Apart, so that carts don't wait for a broker that takes its time.
                let carts = self.watch(cluster, Work::Carts, &shutdown);
                let events = self.watch(cluster, Work::Events, &shutdown);
                futures::future::join(carts, events).map(|_| ())
            })
            .await;
    }

    async fn watch(&self, cluster: &Cluster, work: Work, shutdown: &CancellationToken) {
        let mut confirmed = self.checkout.confirmed.subscribe();
        loop {
            let called = async {
                let pause = Self::PERIOD.mul_f64(rand::random_range(0.7..1.3));
                // Being rung or not, a round follows.
                let _ = tokio::time::timeout(pause, confirmed.changed()).await;
            };
            if shutdown.run_until_cancelled(called).await.is_none() {
                return;
            }
            // After a full batch there are probably more.
            while !shutdown.is_cancelled() && self.round(cluster, work).await >= Self::BATCH_MAX as usize {}
        }
    }

    /// Does what lies in one cluster now.
    pub async fn relay(&self, cluster: &Cluster) {
        tokio::join!(self.round(cluster, Work::Carts), self.round(cluster, Work::Events));
    }

    /// Returns how many rows were claimed.
    async fn round(&self, cluster: &Cluster, work: Work) -> usize {
        let claimed = match work {
            Work::Carts => self.empty_carts(cluster).await,
            Work::Events => self.publish_events(cluster).await,
        };
        claimed.unwrap_or_else(|error| {
            tracing::warn!(
                cluster = cluster.name(),
                error = &error as &dyn std::error::Error,
                "Could not read what follows confirmations"
            );
            0
        })
    }

    async fn empty_carts(&self, cluster: &Cluster) -> Result<usize, DbError> {
        let jobs =
            cluster.writing(async |mut conn| Ok(cart_jobs::claim(&mut conn, Self::BATCH_MAX, Self::CLAIM).await?));
        let jobs = jobs.await?;
        let claimed = jobs.len();
        futures::stream::iter(jobs)
            .for_each_concurrent(Self::AT_ONCE, |(user_id, order_id)| async move {
                if let Err(error) = empty_cart(&self.carts, cluster, user_id, order_id).await {
                    tracing::warn!(order.id = %order_id, error = format!("{error:#}"), "A cart keeps what was bought for now");
                }
            })
            .await;
        Ok(claimed)
    }

    async fn publish_events(&self, cluster: &Cluster) -> Result<usize, DbError> {
        // While no broker is there the events wait where they are.
        if !self.queue.connected() {
            return Ok(0);
        }
        let events =
            cluster.writing(async |mut conn| Ok(order_outbox::claim(&mut conn, Self::BATCH_MAX, Self::CLAIM).await?));
        let events = events.await?;
        let claimed = events.len();
        futures::stream::iter(events)
            .for_each_concurrent(Self::AT_ONCE, |event| async move {
                if let Err(error) = self.publish(cluster, event).await {
                    tracing::warn!(order.id = %event.order_id, error = format!("{error:#}"), "An event waits for the broker");
                }
            })
            .await;
        Ok(claimed)
    }

    async fn publish(&self, cluster: &Cluster, event: Event) -> anyhow::Result<()> {
        let lines = lines(cluster, event.user_id, event.order_id).await?;
        let message = OrderConfirmed {
            order_id: event.order_id.0,
            user_id: event.user_id.0,
            total_cents: event.total_cents,
            lines: lines
                .into_iter()
                .map(|line| OrderConfirmedLine {
                    product_id: line.product_id,
                    quantity: line.quantity,
                    price_cents: line.price_cents,
                })
                .collect(),
        };
        self.queue.publish(event.message_id, &message).await?;
        let deleted =
            cluster.writing(async |mut conn| Ok(order_outbox::delete(&mut conn, event.user_id, event.order_id).await?));
        Ok(deleted.await?)
    }
}

/// Does the relay's work on one customer's cart now, for all orders that a read after `position` finds confirmed. Before
/// the customer changes the cart: whoever puts a print into it again right after buying it must not lose that copy to a
/// relay that comes later.
pub async fn settle_cart(carts: &Carts, cluster: &Cluster, user_id: UserId, position: Position) -> anyhow::Result<()> {
    let order_ids = cluster.reading(Freshness::After(position), async |mut conn| {
        Ok(cart_jobs::of_user(&mut conn, user_id).await?)
    });
    for order_id in order_ids.await? {
        empty_cart(carts, cluster, user_id, order_id).await?;
    }
    Ok(())
}

/// Takes an order's lines out of its user's cart, once per order however often it is done.
async fn empty_cart(carts: &Carts, cluster: &Cluster, user_id: UserId, order_id: OrderId) -> anyhow::Result<()> {
    let lines = lines(cluster, user_id, order_id).await?;
    let lines: Vec<CartLine> = lines
        .into_iter()
        .map(|line| CartLine {
            product_id: line.product_id,
            quantity: line.quantity,
        })
        .collect();
    carts.subtract(&CartOwner::User(user_id.0), order_id.0, &lines).await?;
    let deleted = cluster.writing(async |mut conn| Ok(cart_jobs::delete(&mut conn, user_id, order_id).await?));
    Ok(deleted.await?)
}

/// Read at the primary, where the confirmation was found a moment ago.
async fn lines(cluster: &Cluster, user_id: UserId, order_id: OrderId) -> Result<Vec<OrderLine>, DbError> {
    let lines = cluster.reading(Freshness::Primary, async |mut conn| {
        Ok(orders::lines(&mut conn, user_id, &[order_id]).await?)
    });
    Ok(lines.await?.into_iter().map(|(_, line)| line).collect())
}
