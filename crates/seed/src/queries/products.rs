//! Products and the stock that they start with.

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::prints::{Edition, Print};

/// Numbers drawn from a sequence in one statement.
const NUMBERS_MAX: i64 = 100_000;

/// How many products there are with ids up to `last`.
pub async fn count_up_to(conn: &mut PgConnection, last: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(r#"select count(*) as "count!" from products where id <= $1"#, last)
        .fetch_one(conn)
        .await
}

/// The greatest id up to `last` that is taken, or 0.
pub async fn last_up_to(conn: &mut PgConnection, last: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select coalesce(max(id), 0) as "last!" from products where id <= $1"#,
        last
    )
    .fetch_one(conn)
    .await
}

/// Draws from the sequence of ids until it has passed `last`: who may use it may not set it.
pub async fn reserve_ids(conn: &mut PgConnection, last: i64) -> sqlx::Result<()> {
    let mut reached = draw_ids(conn, 1).await?;
    while reached < last {
        reached = draw_ids(conn, (last - reached).min(NUMBERS_MAX)).await?;
    }
    Ok(())
}

async fn draw_ids(conn: &mut PgConnection, count: i64) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select max(nextval(pg_get_serial_sequence('products', 'id'))) as "reached!" from generate_series(1, $1::bigint)"#,
        count,
    )
    .fetch_one(conn)
    .await
}

/// Adds those prints that are missing, each with its whole edition in stock.
pub async fn add(conn: &mut PgConnection, prints: &[Print]) -> sqlx::Result<()> {
    for print in prints {
        let id = i64::from(print.number);
        sqlx::query!(
            "
            insert into products (id, category_slug, title, artist, year, technique, description, price_cents, edition_size)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (id) do nothing
            ",
            id,
            print.category.slug(),
            print.title,
            print.artist,
            i16::try_from(print.year).unwrap_or(i16::MAX),
            print.technique,
            print.description,
            i64::from(print.price_cents),
            limit(print.edition),
        )
        .execute(&mut *conn)
        .await?;
        sqlx::query!(
            "insert into stock (product_id, initial, available) values ($1, $2, $2) on conflict (product_id) do nothing",
            id,
            i64::from(print.edition.copies()),
        )
        .execute(&mut *conn)
        .await?;
    }
    Ok(())
}

/// The size of an edition as the database has it: nothing for an open one.
pub(crate) fn limit(edition: Edition) -> Option<i32> {
    match edition {
        Edition::Limited(copies) => i32::try_from(copies).ok(),
        Edition::Open(_) => None,
    }
}

/// Products with ids up to `last` that have no picture.
pub async fn without_photo(conn: &mut PgConnection, last: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        "select id from products where id <= $1 and photo_id is null order by id",
        last
    )
    .fetch_all(conn)
    .await
}

/// Whether the product has a picture.
pub async fn has_photo(conn: &mut PgConnection, id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from products where id = $1 and photo_id is not null) as "has!""#,
        id
    )
    .fetch_one(conn)
    .await
}

/// The pictures of the products with ids up to `last`.
pub async fn photos(conn: &mut PgConnection, last: i64) -> sqlx::Result<HashMap<i64, i64>> {
    let rows = sqlx::query!(
        r#"select id, photo_id as "photo_id!" from products where id <= $1 and photo_id is not null"#,
        last,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.photo_id)).collect())
}
