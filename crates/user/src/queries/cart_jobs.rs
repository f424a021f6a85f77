//! Carts that must still lose what was bought.

use std::time::Duration;

use sqlx::PgConnection;

use crate::domain::{OrderId, UserId};

/// Claims jobs for `life`: long enough to do them; who dies meanwhile leaves them to the next.
pub async fn claim(conn: &mut PgConnection, limit: u32, life: Duration) -> sqlx::Result<Vec<(UserId, OrderId)>> {
    let rows = sqlx::query!(
        "update cart_jobs set claimed_until = now() + make_interval(secs => $2)
         from (select user_id, order_id from cart_jobs where claimed_until < now()
               order by claimed_until limit $1 for update skip locked) as next
         where cart_jobs.user_id = next.user_id and cart_jobs.order_id = next.order_id
         returning cart_jobs.user_id, cart_jobs.order_id",
        i64::from(limit),
        life.as_secs_f64()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (UserId(row.user_id), OrderId(row.order_id)))
        .collect())
}

/// Orders of a customer whose lines are still in the cart.
pub async fn of_user(conn: &mut PgConnection, user_id: UserId) -> sqlx::Result<Vec<OrderId>> {
    let order_ids = sqlx::query_scalar!("select order_id from cart_jobs where user_id = $1", user_id.0)
        .fetch_all(conn)
        .await?;
    Ok(order_ids.into_iter().map(OrderId).collect())
}

/// The cart has been changed.
pub async fn delete(conn: &mut PgConnection, user_id: UserId, order_id: OrderId) -> sqlx::Result<()> {
    sqlx::query!(
        "delete from cart_jobs where user_id = $1 and order_id = $2",
        user_id.0,
        order_id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}
