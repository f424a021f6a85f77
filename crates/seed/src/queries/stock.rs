//! Stock of products that sold.

use sqlx::PgConnection;

/// The greatest id that has stock, or 0.
pub async fn last_product(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select coalesce(max(product_id), 0) as "last!" from stock"#)
        .fetch_one(conn)
        .await
}

/// Makes a whole edition available again for the products from `from` up to, but not including, `end`. Returns how
/// many had sold something. The row's lock keeps sales out meanwhile, and stock at start grows by what is added, so
/// that the sums stay right.
pub async fn refill(conn: &mut PgConnection, from: i64, end: i64, open_copies: i64) -> sqlx::Result<u64> {
    let result = sqlx::query!(
        "
        update stock s
        set initial = s.initial + coalesce(p.edition_size, $3::bigint) - s.available,
            available = coalesce(p.edition_size, $3::bigint),
            updated_at = now()
        from products p
        where p.id = s.product_id and s.product_id >= $1 and s.product_id < $2
          and s.available < coalesce(p.edition_size, $3::bigint)
        ",
        from,
        end,
        open_copies,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected())
}
