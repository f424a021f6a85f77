//! The ledger, in the database `payments`.

use sqlx::PgConnection;

/// What the ledger says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaymentRow {
    pub(crate) order_id: i64,
    pub(crate) state: String,
    pub(crate) amount_cents: Option<i64>,
}

pub(crate) async fn of_orders(conn: &mut PgConnection, order_ids: &[i64]) -> sqlx::Result<Vec<PaymentRow>> {
    sqlx::query_as!(
        PaymentRow,
        "select order_id, state, amount_cents from payments where order_id = any($1)",
        order_ids
    )
    .fetch_all(conn)
    .await
}

/// Ids and states after this order.
pub(crate) async fn page(conn: &mut PgConnection, after: i64, limit: i64) -> sqlx::Result<Vec<(i64, String)>> {
    let rows = sqlx::query!(
        "select order_id, state from payments where order_id > $1 order by order_id limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row.state)).collect())
}
