//! Finishes what others left behind: every process looks for overdue orders in all clusters.

use std::time::Duration;

use futures::StreamExt;
use shop_db::{Cluster, DbError};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{Checkout, Run};
use crate::domain::OrderState;
use crate::queries::order_steps::{Held, take_overdue};

/// The recovery of one process.
pub struct Recovery {
    checkout: Checkout,
}

impl Recovery {
    /// Orders taken over in one round, from one cluster.
    const BATCH_MAX: u32 = 32;
    /// Orders worked on at once, of one cluster.
    const AT_ONCE: usize = 8;

    pub fn new(checkout: Checkout) -> Self {
        Self { checkout }
    }

    /// Goes on until shutdown. An order in hand is finished first.
    pub async fn run(self, shutdown: CancellationToken) {
        self.checkout
            .in_each_cluster(|cluster| self.watch(cluster, &shutdown))
            .await;
    }

    async fn watch(&self, cluster: &Cluster, shutdown: &CancellationToken) {
        loop {
            // Jitter keeps the processes from asking in step.
            let pause = self
                .checkout
                .timings
                .recovery_period
                .mul_f64(rand::random_range(0.7..1.3));
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            self.recover(cluster).await;
        }
    }

    /// Takes over and finishes what is overdue now in one cluster, and says how many orders that were.
    pub async fn recover(&self, cluster: &Cluster) -> usize {
        let taken = match self.take(cluster).await {
            Ok(taken) => taken,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(cluster = cluster.name(), error, "Could not look for overdue orders");
                return 0;
            }
        };
        let count = taken.len();
        futures::stream::iter(taken)
            .for_each_concurrent(Self::AT_ONCE, |(held, state)| async move {
                let span = tracing::info_span!("recover", order.id = %held.order_id);
                tracing::info!(order.id = %held.order_id, state = state.as_str(), attempt = held.attempt.0, "Took over an overdue order");
                metrics::counter!("shop_orders_recovered_total", "state" => state.as_str()).increment(1);
                self.checkout.drive(Run::recover(held, state)).instrument(span).await;
            })
            .await;
        count
    }

    async fn take(&self, cluster: &Cluster) -> Result<Vec<(Held, OrderState)>, DbError> {
        let deadline: Duration = self.checkout.timings.recovery_deadline;
        let taken = cluster.writing(async |mut conn| Ok(take_overdue(&mut conn, Self::BATCH_MAX, deadline).await?));
        taken.await
    }
}
