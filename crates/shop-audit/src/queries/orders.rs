//! The database `users`, one cluster at a time.

use sqlx::PgConnection;

/// An order, as far as the audit cares. Lines are "product x quantity" in the order of products.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OrderRow {
    pub(crate) user_id: i64,
    pub(crate) order_id: i64,
    pub(crate) state: String,
    pub(crate) attempt: i32,
    pub(crate) total_cents: i64,
    pub(crate) lines_cents: i64,
    pub(crate) lines: Vec<String>,
    /// How long the order has been in this state.
    pub(crate) state_seconds: f64,
}

/// Orders after this key, in the order of the table's key.
pub(crate) async fn page(conn: &mut PgConnection, after: (i64, i64), limit: i64) -> sqlx::Result<Vec<OrderRow>> {
    sqlx::query_as!(
        OrderRow,
        r#"select user_id, order_id, state, attempt, total_cents,
               coalesce(lines.cents, 0) as "lines_cents!",
               coalesce(lines.list, '{}') as "lines!",
               extract(epoch from now() - state_since)::float8 as "state_seconds!"
           from orders left join lateral (
               select sum(quantity * price_cents)::bigint as cents,
                   array_agg(product_id || ' x ' || quantity order by product_id) as list
               from order_lines l where l.user_id = orders.user_id and l.order_id = orders.order_id
           ) as lines on true
           where (user_id, order_id) > ($1, $2) order by user_id, order_id limit $3"#,
        after.0,
        after.1,
        limit
    )
    .fetch_all(conn)
    .await
}

/// State and attempt of some orders.
pub(crate) async fn states(conn: &mut PgConnection, order_ids: &[i64]) -> sqlx::Result<Vec<(i64, String, i32)>> {
    let rows = sqlx::query!(
        "select order_id, state, attempt from orders where order_id = any($1)",
        order_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.order_id, row.state, row.attempt))
        .collect())
}

/// How many orders are in each state.
pub(crate) async fn counts(conn: &mut PgConnection) -> sqlx::Result<Vec<(String, i64)>> {
    let rows = sqlx::query!(r#"select state, count(*) as "count!" from orders group by state"#)
        .fetch_all(conn)
        .await?;
    Ok(rows.into_iter().map(|row| (row.state, row.count)).collect())
}

/// Keys of this cluster that have more than one order.
pub(crate) async fn doubled_keys(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(i64, String, i64)>> {
    let rows = sqlx::query!(
        r#"select user_id, idempotency_key, count(*) as "count!" from orders
           group by user_id, idempotency_key having count(*) > 1 limit $1"#,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.user_id, row.idempotency_key, row.count))
        .collect())
}
