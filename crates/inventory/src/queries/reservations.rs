//! Reserve, sell and release, each idempotent by order id and compare-and-set on the reservation's state.
//!
//! Every function wants a transaction: a half-done reservation must never be seen. Locks are always taken in the same
//! order, first the reservation, then the stock rows by product, so that two orders can't wait for each other.

use sqlx::PgConnection;

use crate::domain::reservation::{Line, Release, Reserve, Sell, Shortage, State};

/// Reserves all lines or none. On anything but [`Reserve::Reserved`] the caller rolls back.
pub async fn reserve(conn: &mut PgConnection, order_id: i64, lines: &[Line]) -> sqlx::Result<Reserve> {
    let inserted = sqlx::query!(
        "insert into reservations (order_id, state) values ($1, 'reserved') on conflict do nothing",
        order_id,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if inserted == 0 {
        return repeated(conn, order_id, lines).await;
    }

    let (product_ids, quantities) = columns(lines);
    let locked = lock_stock(conn, &product_ids).await?;
    let shortages: Vec<Shortage> = lines
        .iter()
        .map(|line| Shortage {
            product_id: line.product_id,
            // A product without a stock row has nothing to give.
            available: locked
                .iter()
                .find(|(product_id, _)| *product_id == line.product_id)
                .map_or(0, |(_, available)| *available),
        })
        .zip(lines)
        .filter(|(stock, line)| stock.available < i64::from(line.quantity))
        .map(|(stock, _)| stock)
        .collect();
    if !shortages.is_empty() {
        return Ok(Reserve::SoldOut(shortages));
    }

    let left = sqlx::query!(
        r#"
        with lines as (
            select product_id, quantity from unnest($2::bigint[], $3::integer[]) as l (product_id, quantity)
        ), noted as (
            insert into reservation_lines (order_id, product_id, quantity)
            select $1, product_id, quantity from lines
        )
        update stock s
        set available = s.available - l.quantity, reserved = s.reserved + l.quantity, updated_at = now()
        from lines l
        where s.product_id = l.product_id
        returning s.product_id, s.available
        "#,
        order_id,
        &product_ids,
        &quantities,
    )
    .fetch_all(&mut *conn)
    .await?;
    let emptied = left
        .into_iter()
        .filter(|row| row.available == 0)
        .map(|row| row.product_id)
        .collect();
    Ok(Reserve::Reserved { emptied })
}

/// Turns what an order reserved into sold.
pub async fn sell(conn: &mut PgConnection, order_id: i64) -> sqlx::Result<Sell> {
    let moved = sqlx::query!(
        "update reservations set state = 'sold', updated_at = now() where order_id = $1 and state = 'reserved'",
        order_id,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if moved == 0 {
        return Ok(match state(conn, order_id).await? {
            Some(State::Sold) => Sell::Sold,
            _ => Sell::NotReserved,
        });
    }
    lock_stock_of(conn, order_id).await?;
    sqlx::query!(
        "
        update stock s
        set reserved = s.reserved - l.quantity, sold = s.sold + l.quantity, updated_at = now()
        from reservation_lines l
        where l.order_id = $1 and s.product_id = l.product_id
        ",
        order_id,
    )
    .execute(&mut *conn)
    .await?;
    Ok(Sell::Sold)
}

/// Gives a reservation back. An order that never reserved leaves a tombstone, so that it never will.
pub async fn release(conn: &mut PgConnection, order_id: i64) -> sqlx::Result<Release> {
    let buried = sqlx::query!(
        "insert into reservations (order_id, state) values ($1, 'released') on conflict do nothing",
        order_id,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if buried == 1 {
        return Ok(Release::Released { refilled: Vec::new() });
    }
    let moved = sqlx::query!(
        "update reservations set state = 'released', updated_at = now() where order_id = $1 and state = 'reserved'",
        order_id,
    )
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if moved == 0 {
        return Ok(match state(conn, order_id).await? {
            Some(State::Sold) => Release::AlreadySold,
            _ => Release::Released { refilled: Vec::new() },
        });
    }
    let before = lock_stock_of(conn, order_id).await?;
    sqlx::query!(
        "
        update stock s
        set available = s.available + l.quantity, reserved = s.reserved - l.quantity, updated_at = now()
        from reservation_lines l
        where l.order_id = $1 and s.product_id = l.product_id
        ",
        order_id,
    )
    .execute(&mut *conn)
    .await?;
    let refilled = before
        .into_iter()
        .filter(|(_, available)| *available == 0)
        .map(|(product_id, _)| product_id)
        .collect();
    Ok(Release::Released { refilled })
}

/// The answer to an order id that is known already: the same as the first time.
async fn repeated(conn: &mut PgConnection, order_id: i64, lines: &[Line]) -> sqlx::Result<Reserve> {
    if state(conn, order_id).await? == Some(State::Released) {
        return Ok(Reserve::Released);
    }
    let reserved = sqlx::query_as!(
        Line,
        "select product_id, quantity from reservation_lines where order_id = $1 order by product_id",
        order_id,
    )
    .fetch_all(&mut *conn)
    .await?;
    if reserved == lines {
        Ok(Reserve::Reserved { emptied: Vec::new() })
    } else {
        Ok(Reserve::Different)
    }
}

/// Where an order's reservation stands; none if the order never asked.
pub async fn state(conn: &mut PgConnection, order_id: i64) -> sqlx::Result<Option<State>> {
    let state = sqlx::query_scalar!("select state from reservations where order_id = $1", order_id)
        .fetch_optional(&mut *conn)
        .await?;
    Ok(state.map(|text| match text.as_str() {
        "sold" => State::Sold,
        "released" => State::Released,
        _ => State::Reserved,
    }))
}

/// Locks stock rows by rising product id and says what is available. An `update` alone would lock in any order.
async fn lock_stock(conn: &mut PgConnection, product_ids: &[i64]) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        "select product_id, available from stock where product_id = any($1) order by product_id for update",
        product_ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.available)).collect())
}

/// The same for what an order holds.
async fn lock_stock_of(conn: &mut PgConnection, order_id: i64) -> sqlx::Result<Vec<(i64, i64)>> {
    let rows = sqlx::query!(
        "
        select s.product_id, s.available
        from stock s join reservation_lines l on l.product_id = s.product_id
        where l.order_id = $1 order by s.product_id for update of s
        ",
        order_id,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.product_id, row.available)).collect())
}

fn columns(lines: &[Line]) -> (Vec<i64>, Vec<i32>) {
    lines.iter().map(|line| (line.product_id, line.quantity)).unzip()
}
