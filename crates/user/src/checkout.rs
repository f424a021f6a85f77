//! Checkout: a state machine over two databases and a payment gateway. Each order is worked on in a task of its own; what
//! a dead process leaves behind, recovery finishes. The states and the reasons are in ARCHITECTURE.md.

mod recovery;
mod relay;
mod run;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use shop_db::{Cluster, DbError, Freshness, Position, Shards, WriteConn};
use shop_web::extract::Consistency;
use sqlx::Connection;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::domain::{CardToken, IdempotencyKey, OrderId, OrderState, Reason, RequestHash, UserId};
use crate::inventory::{Inventory, InventoryError};
use crate::payments::{Gateway, GatewayError};
use crate::queries::accounts;
use crate::queries::order_steps::{self, Attempt, Held, Move, Moved};
use crate::queries::orders::{self, NewOrder, Order};

pub use recovery::Recovery;
pub use relay::{Relay, settle_cart};
pub use run::{End, Purchase, Run};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timings {
    /// How long an order may stay in one state before recovery takes it over.
    pub recovery_deadline: Duration,
    /// How long the payment gateway may take to answer.
    pub pay_deadline: Duration,
    /// How long a customer waits before being sent to the order's page.
    pub answer_deadline: Duration,
    /// How often recovery looks for overdue orders.
    pub recovery_period: Duration,
    /// How long a customer waits until what was bought has left the cart.
    pub settle_wait: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            recovery_deadline: Duration::from_secs(15),
            pay_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(7),
            recovery_period: Duration::from_secs(1),
            settle_wait: Duration::from_secs(1),
        }
    }
}

/// Why a step could not be done. Nothing is known of its effect, so it may be done again.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error("the order's database can't be reached")]
    Db(#[from] DbError),
    #[error("inventory can't be asked")]
    Inventory(#[from] InventoryError),
    #[error("the payment gateway can't be asked")]
    Gateway(#[from] GatewayError),
    #[error("order {0} is paid, but inventory has no reservation to sell")]
    PaidWithoutReservation(OrderId),
    #[error("order {0} is being cancelled, but inventory has sold it")]
    SoldWithoutPayment(OrderId),
}

/// Why an order could not be placed.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("as many checkouts are running as this process allows")]
    Busy,
    #[error("the key was used for another request, which made order {0}")]
    KeyReused(OrderId),
    #[error("the order's database can't be reached")]
    Db(#[from] DbError),
    #[error("the cluster's order numbers are used up")]
    OutOfNumbers,
    #[error("the checkout ended before it answered")]
    Ended,
}

impl From<sqlx::Error> for PlaceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// An order that exists, and how to hear of its end.
pub struct Placed {
    user_id: UserId,
    pub order_id: OrderId,
    /// Where the database stood once the order was written.
    pub position: Position,
    /// The task that works on it, where that is in this process.
    task: Option<JoinHandle<()>>,
}

/// A handle to the checkout.
#[derive(Clone)]
pub struct Checkout {
    pub(crate) shards: Shards,
    pub(crate) inventory: Inventory,
    pub(crate) gateway: Gateway,
    pub(crate) timings: Timings,
    slots: Arc<Semaphore>,
    running: TaskTracker,
    /// Counts confirmed orders, so that the relay need not wait for its next round.
    confirmed: watch::Sender<u64>,
}

impl Checkout {
    /// Failures in a row after which a holder leaves its order to recovery.
    const FAILURES_MAX: u32 = 3;

    pub fn new(shards: Shards, inventory: Inventory, gateway: Gateway, timings: Timings, running_max: usize) -> Self {
        Self {
            shards,
            inventory,
            gateway,
            timings,
            slots: Arc::new(Semaphore::new(running_max)),
            running: TaskTracker::new(),
            confirmed: watch::Sender::default(),
        }
    }

    /// The order of this key, if there is one. With another request hash the key is refused.
    pub async fn find(
        &self,
        user_id: UserId,
        key: &IdempotencyKey,
        request_hash: &RequestHash,
    ) -> Result<Option<Placed>, PlaceError> {
        let Some((keyed, position)) = self.keyed(user_id, key).await? else {
            return Ok(None);
        };
        if keyed.request_hash != request_hash.as_bytes() {
            return Err(PlaceError::KeyReused(keyed.order_id));
        }
        Ok(Some(Placed {
            user_id,
            order_id: keyed.order_id,
            position,
            task: None,
        }))
    }

    /// The order of this key, if there is one, whatever was asked for under it.
    pub async fn order_of(&self, user_id: UserId, key: &IdempotencyKey) -> Result<Option<OrderId>, PlaceError> {
        Ok(self.keyed(user_id, key).await?.map(|(keyed, _)| keyed.order_id))
    }

    async fn keyed(
        &self,
        user_id: UserId,
        key: &IdempotencyKey,
    ) -> Result<Option<(orders::Keyed, Position)>, PlaceError> {
        let cluster = self.shards.for_slot(user_id.slot());
        let found = cluster.reading(Freshness::Primary, async |mut conn| {
            match orders::find_by_key(&mut conn, user_id, key).await? {
                Some(keyed) => Ok(Some((keyed, conn.flushed().await?))),
                None => Ok(None),
            }
        });
        Ok(found.await?)
    }

    /// Writes the order and works on it in a task that the caller's end does not stop. If the key has an order by now,
    /// gives that one. What inventory writes for the order is noted as this request's.
    pub async fn place(
        &self,
        order: NewOrder,
        card: CardToken,
        consistency: &Consistency,
    ) -> Result<Placed, PlaceError> {
        let permit = Arc::clone(&self.slots)
            .try_acquire_owned()
            .map_err(|_| PlaceError::Busy)?;
        let (send_created, created) = oneshot::channel();
        let checkout = Self {
            inventory: self.inventory.for_request(consistency),
            ..self.clone()
        };
        let user_id = order.user_id;
        let task = async move {
            let purchase = Purchase {
                lines: order
                    .lines
                    .iter()
                    .map(|line| (line.product_id, line.quantity))
                    .collect(),
                total_cents: order.total_cents,
                card,
            };
            let created = checkout.create(&order).await;
            let held = created.as_ref().ok().and_then(|created| created.held);
            // Whoever asked may be gone; the order is worked on all the same.
            let _ = send_created.send(created);
            if let Some(held) = held {
                checkout.drive(Run::start(held, purchase)).await;
            }
            drop(permit);
        };
        let task = self.running.spawn(task.in_current_span());
        let created = created.await.map_err(|_| PlaceError::Ended)??;
        let task = created.held.is_some().then_some(task);
        Ok(Placed {
            user_id,
            order_id: created.order_id,
            position: created.position,
            task,
        })
    }

    /// If the host is lost that writes the order, it is written again on the next one. Nothing is known of the tries before
    /// then, but the key makes one order of them all, and its number tells whose it is.
    async fn create(&self, order: &NewOrder) -> Result<Created, PlaceError> {
        let tried = Tried::default();
        let cluster = self.shards.for_slot(order.user_id.slot());
        let written = cluster.writing_idempotent(async |conn| match self.write(conn, order, &tried).await {
            Err(PlaceError::Db(error)) => Err(error),
            written => Ok(written),
        });
        let (order_id, position, is_ours) = match written.await?? {
            Some((order_id, position)) => (order_id, position, true),
            None => {
                let known = self.find(order.user_id, &order.key, &order.request_hash).await?;
                let known = known.ok_or(PlaceError::Ended)?;
                (known.order_id, known.position, tried.contains(known.order_id))
            }
        };
        if is_ours {
            metrics::counter!("shop_orders_created_total").increment(1);
        }
        let held = Held {
            user_id: order.user_id,
            order_id,
            attempt: Attempt::FIRST,
        };
        Ok(Created {
            order_id,
            position,
            held: is_ours.then_some(held),
        })
    }

    /// A new order's id, and where the database stood once it was written. Nothing, if its key has an order. The id is
    /// noted before it is written, for when the answer is lost.
    async fn write(
        &self,
        mut conn: WriteConn,
        order: &NewOrder,
        tried: &Tried,
    ) -> Result<Option<(OrderId, Position)>, PlaceError> {
        let next = orders::next_number(&mut conn).await?;
        let order_id = OrderId::allocate(next, order.user_id).ok_or(PlaceError::OutOfNumbers)?;
        tried.note(order_id);
        let mut tx = conn.begin().await?;
        let is_new = orders::insert(&mut tx, order_id, order, self.timings.recovery_deadline).await?;
        if is_new {
            accounts::set_address(&mut tx, order.user_id, &order.address).await?;
        }
        tx.commit().await?;
        if !is_new {
            return Ok(None);
        }
        Ok(Some((order_id, conn.position().await?)))
    }

    /// Works on an order until it rests, is somebody else's, or fails too often; then recovery will take it.
    pub async fn drive(&self, mut run: Run) -> Option<End> {
        let mut failures = 0;
        loop {
            if let Some(end) = run.ended() {
                self.rested(&run, end).await;
                return Some(end);
            }
            let Err(error) = run.step(self).await else {
                continue;
            };
            failures += 1;
            if failures == Self::FAILURES_MAX {
                tracing::error!(order.id = %run.order_id(), step = run.next_step(), error = &error as &dyn std::error::Error, "Left an order to recovery");
                return None;
            }
            tracing::warn!(order.id = %run.order_id(), step = run.next_step(), error = &error as &dyn std::error::Error, "Repeating a step of an order");
            tokio::time::sleep(Duration::from_millis(100) * 3_u32.pow(failures)).await;
        }
    }

    /// How long things may take.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    /// When a customer whose request came in now has to be answered.
    pub fn answer_deadline(&self) -> Instant {
        Instant::now() + self.timings.answer_deadline
    }

    /// Waits until the order rests, at most until the deadline, and reads it. None if the deadline comes while the row
    /// can't be read, as when its primary has just died: the order exists all the same.
    pub async fn wait(&self, placed: &mut Placed, deadline: Instant) -> Result<Option<Order>, PlaceError> {
        if let Some(task) = &mut placed.task {
            // A task that failed leaves the order where it is, and the row says so.
            let _ = timeout_at(deadline, task).await;
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match timeout_at(deadline, self.look(placed)).await {
                Ok(Ok(order)) if order.state.is_at_rest() || Instant::now() + pause >= deadline => {
                    return Ok(Some(order));
                }
                Ok(Err(PlaceError::Db(error))) if error.is_unavailable() => {}
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) | Err(_) => {}
            }
            if Instant::now() + pause >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(400));
        }
    }

    async fn look(&self, placed: &mut Placed) -> Result<Order, PlaceError> {
        let (user_id, order_id) = (placed.user_id, placed.order_id);
        let cluster = self.shards.for_slot(user_id.slot());
        let found = cluster.reading(Freshness::Primary, async |mut conn| {
            let order = orders::find(&mut conn, user_id, order_id).await?;
            Ok((order, conn.flushed().await?))
        });
        let (order, position) = found.await?;
        placed.position = position;
        order.ok_or(PlaceError::Ended)
    }

    /// Waits for the checkouts that are running. To be called once no more are placed.
    pub async fn drain(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Looks after all clusters at once and apart, so that one that is down holds nobody else's orders up.
    async fn in_each_cluster<'a, Fut>(&'a self, watch: impl FnMut(&'a Cluster) -> Fut)
    where
        Fut: Future<Output = ()>,
    {
        join_all(self.shards.clusters().map(watch)).await;
    }

    pub(crate) async fn advance(&self, held: Held, step: &Move) -> Result<Moved, DbError> {
        let cluster = self.shards.for_slot(held.user_id.slot());
        let moved = cluster.writing(async |mut conn| {
            Ok(order_steps::advance(&mut conn, held, step, self.timings.recovery_deadline).await?)
        });
        let moved = moved.await?;
        if let Moved::Now { total_cents } = moved {
            count(step, total_cents);
        }
        Ok(moved)
    }

    async fn rested(&self, run: &Run, end: End) {
        if end == End::Rest(OrderState::Confirmed) {
            self.confirmed.send_modify(|count| *count += 1);
        }
        tracing::info!(order.id = %run.order_id(), attempt = run.attempt().0, end = ?end, "Finished the work on an order");
    }
}

/// What came of writing an order.
struct Created {
    order_id: OrderId,
    position: Position,
    /// Ours to work on, if it is a new one.
    held: Option<Held>,
}

/// The numbers under which an order may have been written.
#[derive(Default)]
struct Tried(Mutex<Vec<OrderId>>);

impl Tried {
    fn note(&self, order_id: OrderId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(order_id);
    }

    fn contains(&self, order_id: OrderId) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&order_id)
    }
}

fn count(step: &Move, total_cents: i64) {
    match step.to {
        OrderState::Confirmed => {
            metrics::counter!("shop_orders_confirmed_total").increment(1);
            metrics::counter!("shop_revenue_cents_total").increment(total_cents.unsigned_abs());
        }
        OrderState::Cancelling => {
            let reason = step.reason.map_or("unknown", Reason::as_str);
            metrics::counter!("shop_orders_cancelling_total", "reason" => reason).increment(1);
        }
        _ => {}
    }
}
