//! Orders as customers and the shopkeeper see them. How they move on is in `order_steps`.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use crate::domain::{Address, IdempotencyKey, OrderId, OrderState, Reason, RequestHash, UserId};

/// One print of an order, with the words and the price of the moment it was ordered.
#[derive(Debug, Clone)]
pub struct OrderLine {
    pub product_id: i64,
    pub quantity: u32,
    pub price_cents: i64,
    pub title: String,
    pub artist: String,
    pub photo: Option<serde_json::Value>,
}

/// An order about to be made.
#[derive(Debug, Clone)]
pub struct NewOrder {
    pub user_id: UserId,
    pub key: IdempotencyKey,
    pub request_hash: RequestHash,
    pub address: Address,
    pub lines: Vec<OrderLine>,
    pub total_cents: i64,
}

/// An order without its lines.
#[derive(Debug, Clone)]
pub struct Order {
    pub user_id: UserId,
    pub order_id: OrderId,
    pub state: OrderState,
    pub reason: Option<Reason>,
    pub reason_lines: Option<serde_json::Value>,
    pub total_cents: i64,
    pub recipient: String,
    pub street: String,
    pub postcode: String,
    pub city: String,
    pub country: String,
    pub created_at: OffsetDateTime,
}

/// What a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    pub order_id: OrderId,
    pub request_hash: Vec<u8>,
}

struct Row {
    user_id: i64,
    order_id: i64,
    state: String,
    reason: Option<String>,
    reason_lines: Option<serde_json::Value>,
    total_cents: i64,
    recipient: String,
    street: String,
    postcode: String,
    city: String,
    country: String,
    created_at: OffsetDateTime,
}

impl TryFrom<Row> for Order {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        Ok(Self {
            user_id: UserId(row.user_id),
            order_id: OrderId(row.order_id),
            state: state_from(&row.state)?,
            reason: row.reason.as_deref().and_then(Reason::parse),
            reason_lines: row.reason_lines,
            total_cents: row.total_cents,
            recipient: row.recipient,
            street: row.street,
            postcode: row.postcode,
            city: row.city,
            country: row.country,
            created_at: row.created_at,
        })
    }
}

pub(crate) fn state_from(text: &str) -> sqlx::Result<OrderState> {
    OrderState::parse(text).ok_or_else(|| sqlx::Error::Decode(format!("unknown order state {text:?}").into()))
}

/// The next number of this cluster, of which an order id is made.
pub async fn next_number(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select nextval('order_ids') as "number!""#)
        .fetch_one(conn)
        .await
}

/// Writes the order as `pending`, lines and all. False: the key has an order already, and nothing was written.
/// The caller holds the transaction.
pub async fn insert(
    conn: &mut PgConnection,
    order_id: OrderId,
    order: &NewOrder,
    deadline: Duration,
) -> sqlx::Result<bool> {
    let inserted = sqlx::query!(
        "insert into orders (user_id, order_id, idempotency_key, request_hash, due_at, total_cents,
                             recipient, street, postcode, city, country)
         values ($1, $2, $3, $4, now() + make_interval(secs => $5), $6, $7, $8, $9, $10, $11)
         on conflict (user_id, idempotency_key) do nothing",
        order.user_id.0,
        order_id.0,
        order.key.as_str(),
        order.request_hash.as_bytes(),
        deadline.as_secs_f64(),
        order.total_cents,
        order.address.recipient(),
        order.address.street(),
        order.address.postcode(),
        order.address.city(),
        order.address.country()
    )
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    let product_ids: Vec<i64> = order.lines.iter().map(|line| line.product_id).collect();
    let quantities: Vec<i32> = order.lines.iter().map(|line| line.quantity.cast_signed()).collect();
    let prices: Vec<i64> = order.lines.iter().map(|line| line.price_cents).collect();
    let titles: Vec<String> = order.lines.iter().map(|line| line.title.clone()).collect();
    let artists: Vec<String> = order.lines.iter().map(|line| line.artist.clone()).collect();
    let photos: Vec<Option<Json<serde_json::Value>>> =
        order.lines.iter().map(|line| line.photo.clone().map(Json)).collect();
    sqlx::query!(
        "insert into order_lines (user_id, order_id, product_id, quantity, price_cents, title, artist, photo)
         select $1, $2, line.* from unnest($3::bigint[], $4::integer[], $5::bigint[], $6::text[], $7::text[], $8::jsonb[]) as line",
        order.user_id.0,
        order_id.0,
        &product_ids,
        &quantities,
        &prices,
        &titles,
        &artists,
        &photos as &[Option<Json<serde_json::Value>>]
    )
    .execute(&mut *conn)
    .await?;
    Ok(true)
}

pub async fn find_by_key(
    conn: &mut PgConnection,
    user_id: UserId,
    key: &IdempotencyKey,
) -> sqlx::Result<Option<Keyed>> {
    let row = sqlx::query!(
        "select order_id, request_hash from orders where user_id = $1 and idempotency_key = $2",
        user_id.0,
        key.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Keyed {
        order_id: OrderId(row.order_id),
        request_hash: row.request_hash,
    }))
}

pub async fn find(conn: &mut PgConnection, user_id: UserId, order_id: OrderId) -> sqlx::Result<Option<Order>> {
    let row = sqlx::query_as!(
        Row,
        "select user_id, order_id, state, reason, reason_lines, total_cents, recipient, street, postcode, city, country,
                created_at
         from orders where user_id = $1 and order_id = $2",
        user_id.0,
        order_id.0
    )
    .fetch_optional(conn)
    .await?;
    row.map(Order::try_from).transpose()
}

/// A user's orders, newest first, those before `before`.
pub async fn list(
    conn: &mut PgConnection,
    user_id: UserId,
    before: Option<OrderId>,
    limit: u32,
) -> sqlx::Result<Vec<Order>> {
    let rows = sqlx::query_as!(
        Row,
        "select user_id, order_id, state, reason, reason_lines, total_cents, recipient, street, postcode, city, country,
                created_at
         from orders where user_id = $1 and order_id < $2 order by order_id desc limit $3",
        user_id.0,
        before.map_or(i64::MAX, |order_id| order_id.0),
        i64::from(limit)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// The newest orders of this cluster, for the shopkeeper.
pub async fn newest(conn: &mut PgConnection, limit: u32) -> sqlx::Result<Vec<Order>> {
    let rows = sqlx::query_as!(
        Row,
        "select user_id, order_id, state, reason, reason_lines, total_cents, recipient, street, postcode, city, country,
                created_at
         from orders order by order_id desc limit $1",
        i64::from(limit)
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Order::try_from).collect()
}

/// The lines of some orders of one user, in the order of the products' ids.
pub async fn lines(
    conn: &mut PgConnection,
    user_id: UserId,
    order_ids: &[OrderId],
) -> sqlx::Result<Vec<(OrderId, OrderLine)>> {
    let ids: Vec<i64> = order_ids.iter().map(|order_id| order_id.0).collect();
    let rows = sqlx::query!(
        "select order_id, product_id, quantity, price_cents, title, artist, photo
         from order_lines where user_id = $1 and order_id = any($2) order by order_id, product_id",
        user_id.0,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let line = OrderLine {
                product_id: row.product_id,
                quantity: row.quantity.cast_unsigned(),
                price_cents: row.price_cents,
                title: row.title,
                artist: row.artist,
                photo: row.photo,
            };
            (OrderId(row.order_id), line)
        })
        .collect())
}
