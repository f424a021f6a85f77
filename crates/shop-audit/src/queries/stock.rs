//! Counters of stock against the reservations that they count, in one snapshot.

use sqlx::PgConnection;

/// A product whose numbers don't agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StockRow {
    pub(crate) product_id: i64,
    pub(crate) initial: i64,
    pub(crate) available: i64,
    pub(crate) reserved: i64,
    pub(crate) sold: i64,
    pub(crate) reserved_by_orders: i64,
    pub(crate) sold_by_orders: i64,
}

/// One statement, so one snapshot: orders may move while it runs.
pub(crate) async fn mismatches(conn: &mut PgConnection) -> sqlx::Result<Vec<StockRow>> {
    sqlx::query_as!(
        StockRow,
        r#"select stock.product_id, initial, available, reserved, sold,
               coalesce(by_orders.reserved_sum, 0) as "reserved_by_orders!",
               coalesce(by_orders.sold_sum, 0) as "sold_by_orders!"
           from stock left join (
               select l.product_id,
                   sum(l.quantity) filter (where r.state = 'reserved') as reserved_sum,
                   sum(l.quantity) filter (where r.state = 'sold') as sold_sum
               from reservation_lines l join reservations r using (order_id) group by l.product_id
           ) as by_orders using (product_id)
           where initial <> available + reserved + sold or available < 0 or reserved < 0 or sold < 0
               or reserved <> coalesce(by_orders.reserved_sum, 0) or sold <> coalesce(by_orders.sold_sum, 0)
           order by stock.product_id"#
    )
    .fetch_all(conn)
    .await
}

pub(crate) async fn count(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from stock"#)
        .fetch_one(conn)
        .await
}
