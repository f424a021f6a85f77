//! The ledger. Only the payments module uses these, on its own database.

use sqlx::PgConnection;

use crate::domain::OrderId;

/// What the ledger says of an order, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Captured { amount_cents: i64 },
    Declined { amount_cents: i64 },
    Voided,
}

/// Writes the entry unless the order has one, and gives the one it has: the first to arrive decides.
pub async fn settle(conn: &mut PgConnection, order_id: OrderId, entry: Entry) -> sqlx::Result<Entry> {
    let (state, amount_cents) = match entry {
        Entry::Captured { amount_cents } => ("captured", Some(amount_cents)),
        Entry::Declined { amount_cents } => ("declined", Some(amount_cents)),
        Entry::Voided => ("voided", None),
    };
    let inserted = sqlx::query!(
        "insert into payments (order_id, state, amount_cents) values ($1, $2, $3) on conflict (order_id) do nothing",
        order_id.0,
        state,
        amount_cents
    )
    .execute(&mut *conn)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(entry);
    }
    // Entries are never changed or deleted, so the one that stood in the way is there. It is written as it is: this may be
    // a repeat on the next primary, and nobody acts on an entry that only one host has.
    let row = sqlx::query!(
        "update payments set state = state where order_id = $1 returning state, amount_cents",
        order_id.0
    )
    .fetch_one(conn)
    .await?;
    match (row.state.as_str(), row.amount_cents) {
        ("captured", Some(amount_cents)) => Ok(Entry::Captured { amount_cents }),
        ("declined", Some(amount_cents)) => Ok(Entry::Declined { amount_cents }),
        ("voided", _) => Ok(Entry::Voided),
        (other, _) => Err(sqlx::Error::Decode(format!("unknown payment state {other:?}").into())),
    }
}
