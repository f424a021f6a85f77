//! Reservations, in the database `inventory`.

use sqlx::PgConnection;

/// A reservation with its lines, written as those of an order are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReservationRow {
    pub(crate) order_id: i64,
    pub(crate) state: String,
    pub(crate) lines: Vec<String>,
}

pub(crate) async fn of_orders(conn: &mut PgConnection, order_ids: &[i64]) -> sqlx::Result<Vec<ReservationRow>> {
    sqlx::query_as!(
        ReservationRow,
        r#"select order_id, state,
               array(select product_id || ' x ' || quantity from reservation_lines l
                     where l.order_id = reservations.order_id order by product_id) as "lines!"
           from reservations where order_id = any($1)"#,
        order_ids
    )
    .fetch_all(conn)
    .await
}

/// Ids and states after this order.
pub(crate) async fn page(conn: &mut PgConnection, after: i64, limit: i64) -> sqlx::Result<Vec<(i64, String)>> {
    let rows = sqlx::query!(
        "select order_id, state from reservations where order_id > $1 order by order_id limit $2",
        after,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row.state)).collect())
}
