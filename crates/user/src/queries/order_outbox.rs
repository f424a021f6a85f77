//! Events of confirmed orders on their way to the broker.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::domain::{OrderId, UserId};

/// An event to be published. A second publication carries the same id.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    pub user_id: UserId,
    pub order_id: OrderId,
    pub message_id: Uuid,
    pub total_cents: i64,
}

/// Claims events for `life`: long enough to publish them; who dies meanwhile leaves them to the next.
pub async fn claim(conn: &mut PgConnection, limit: u32, life: Duration) -> sqlx::Result<Vec<Event>> {
    let rows = sqlx::query!(
        "update order_outbox set claimed_until = now() + make_interval(secs => $2)
         from (select o.user_id, o.order_id, orders.total_cents
               from order_outbox o join orders using (user_id, order_id)
               where o.claimed_until < now()
               order by o.claimed_until limit $1 for update of o skip locked) as next
         where order_outbox.user_id = next.user_id and order_outbox.order_id = next.order_id
         returning order_outbox.user_id, order_outbox.order_id, order_outbox.message_id, next.total_cents",
        i64::from(limit),
        life.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    let event = |user_id, order_id, message_id, total_cents| Event {
        user_id: UserId(user_id),
        order_id: OrderId(order_id),
        message_id,
        total_cents,
    };
    Ok(rows
        .into_iter()
        .map(|row| event(row.user_id, row.order_id, row.message_id, row.total_cents))
        .collect())
}

/// The broker has it.
pub async fn delete(conn: &mut PgConnection, user_id: UserId, order_id: OrderId) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from order_outbox where user_id = $1 and order_id = $2",
        user_id.0,
        order_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}
