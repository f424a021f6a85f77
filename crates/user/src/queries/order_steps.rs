//! How an order moves on: every move is compare-and-set on state and attempt.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use super::orders::state_from;
use crate::domain::{OrderId, OrderState, Reason, UserId};

/// Who works on an order: the number that recovery raises when it takes the order over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt(pub i32);

impl Attempt {
    /// Whoever creates an order holds it first.
    pub const FIRST: Self = Self(1);
}

/// An order in somebody's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub user_id: UserId,
    pub order_id: OrderId,
    pub attempt: Attempt,
}

/// One move of an order.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub from: OrderState,
    pub to: OrderState,
    /// Why, on the way to `Cancelling`.
    pub reason: Option<Reason>,
    pub reason_lines: Option<serde_json::Value>,
}

/// What came of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The order has been moved.
    Now { total_cents: i64 },
    /// The order was there already, by an earlier move of the same attempt whose answer was lost.
    Before,
    /// Somebody else has the order.
    Lost,
}

/// Moves the order, if it is still ours. `deadline` is when recovery may take it from the new state.
/// A confirmation writes the event and the cart's job in the same statement.
pub async fn advance(conn: &mut PgConnection, held: Held, step: &Move, deadline: Duration) -> sqlx::Result<Moved> {
    let moved = match step.to {
        OrderState::Confirmed => confirm(conn, held, step.from, deadline).await?,
        _ => update(conn, held, step, deadline).await?,
    };
    if let Some(total_cents) = moved {
        return Ok(Moved::Now { total_cents });
    }
    let now = current(conn, held.user_id, held.order_id).await?;
    Ok(if now == Some((step.to, held.attempt)) {
        Moved::Before
    } else {
        Moved::Lost
    })
}

async fn update(conn: &mut PgConnection, held: Held, step: &Move, deadline: Duration) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "update orders set state = $5, state_since = now(), due_at = now() + make_interval(secs => $6),
             reason = case when $5 = 'cancelled' then reason else $7 end,
             reason_lines = case when $5 = 'cancelled' then reason_lines else $8 end
         where user_id = $1 and order_id = $2 and state = $3 and attempt = $4
         returning total_cents",
        held.user_id.0,
        held.order_id.0,
        step.from.as_str(),
        held.attempt.0,
        step.to.as_str(),
        deadline.as_secs_f64(),
        step.reason.map(Reason::as_str),
        step.reason_lines
    )
    .fetch_optional(conn)
    .await
}

async fn confirm(
    conn: &mut PgConnection,
    held: Held,
    from: OrderState,
    deadline: Duration,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "with moved as (
             update orders set state = 'confirmed', state_since = now(), due_at = now() + make_interval(secs => $5)
             where user_id = $1 and order_id = $2 and state = $3 and attempt = $4
             returning user_id, order_id, total_cents
         ), event as (
             insert into order_outbox (user_id, order_id, message_id) select user_id, order_id, $6 from moved
         ), job as (
             insert into cart_jobs (user_id, order_id) select user_id, order_id from moved
         )
         select total_cents from moved",
        held.user_id.0,
        held.order_id.0,
        from.as_str(),
        held.attempt.0,
        deadline.as_secs_f64(),
        Uuid::now_v7()
    )
    .fetch_optional(conn)
    .await
}

/// Where an order stands, and in whose hands.
pub async fn current(
    conn: &mut PgConnection,
    user_id: UserId,
    order_id: OrderId,
) -> sqlx::Result<Option<(OrderState, Attempt)>> {
    let row = sqlx::query!(
        "select state, attempt from orders where user_id = $1 and order_id = $2",
        user_id.0,
        order_id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| Ok((state_from(&row.state)?, Attempt(row.attempt))))
        .transpose()
}

/// Takes overdue orders over, at most `limit`, by raising their attempt. Orders that another process is taking at this
/// moment are passed by. An order that was taken often waits longer for the next time, up to eight deadlines.
pub async fn take_overdue(
    conn: &mut PgConnection,
    limit: u32,
    deadline: Duration,
) -> sqlx::Result<Vec<(Held, OrderState)>> {
    let rows = sqlx::query!(
        r#"update orders set attempt = orders.attempt + 1,
               due_at = now() + make_interval(secs => $2) * least(orders.attempt, 8)
           from (select user_id, order_id from orders
                 where state in ('pending', 'reserved', 'paid', 'cancelling') and due_at < now()
                 order by due_at limit $1 for update skip locked) as overdue
           where orders.user_id = overdue.user_id and orders.order_id = overdue.order_id
           returning orders.user_id, orders.order_id, orders.state, orders.attempt"#,
        i64::from(limit),
        deadline.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    let held = |user_id, order_id, attempt| Held {
        user_id: UserId(user_id),
        order_id: OrderId(order_id),
        attempt: Attempt(attempt),
    };
    rows.into_iter()
        .map(|row| Ok((held(row.user_id, row.order_id, row.attempt), state_from(&row.state)?)))
        .collect()
}
