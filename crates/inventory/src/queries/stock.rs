//! How many copies there are.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::domain::product::{Counts, Stock};

/// Copies of one product; none if there is no such product.
pub async fn find(conn: &mut PgConnection, product_id: i64) -> sqlx::Result<Option<Stock>> {
    sqlx::query_as!(
        Stock,
        "
        select s.product_id, s.available, p.edition_size
        from stock s join products p on p.id = s.product_id
        where s.product_id = $1
        ",
        product_id,
    )
    .fetch_optional(conn)
    .await
}

/// What is available of each of some products; unknown ones are left out.
pub async fn available(conn: &mut PgConnection, product_ids: &[i64]) -> sqlx::Result<HashMap<i64, i64>> {
    let rows = sqlx::query!(
        "select product_id, available from stock where product_id = any($1)",
        product_ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.available)).collect())
}

/// All counters of one product; none if there is no such product.
pub async fn counts(conn: &mut PgConnection, product_id: i64) -> sqlx::Result<Option<Counts>> {
    sqlx::query_as!(
        Counts,
        "select product_id, initial, available, reserved, sold from stock where product_id = $1",
        product_id,
    )
    .fetch_optional(conn)
    .await
}

/// Brings new copies in; a negative number takes unsold ones out of sale. None if there is no such product, or it has other
/// than `initial` copies in all.
pub async fn add(
    conn: &mut PgConnection,
    product_id: i64,
    copies: i64,
    initial: Option<i64>,
) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar!(
        "
        update stock set initial = initial + $2, available = available + $2, updated_at = now()
        where product_id = $1 and initial = coalesce($3, initial) returning available
        ",
        product_id,
        copies,
        initial,
    )
    .fetch_optional(conn)
    .await
}
