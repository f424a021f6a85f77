//! Products: their words and prices. Stock and pictures are read apart, since they change at a pace of their own.

use sqlx::PgConnection;

use super::photos;
use crate::domain::cursor::Cursor;
use crate::domain::product::{Counts, Product};

/// A search ranks this many hits at most, so that a word that is everywhere costs no more than a rare one.
const RANKED_HITS_MAX: i64 = 1000;

/// A product as its row has it, the photo as a number.
struct Row {
    id: i64,
    category: String,
    title: String,
    artist: String,
    year: i16,
    technique: String,
    description: String,
    price_cents: i64,
    edition_size: Option<i32>,
    photo_id: Option<i64>,
}

/// One product.
pub async fn find(conn: &mut PgConnection, id: i64) -> sqlx::Result<Option<Product>> {
    let row = sqlx::query_as!(
        Row,
        "
        select id, category_slug as category, title, artist, year, technique, description, price_cents, edition_size,
               photo_id
        from products where id = $1
        ",
        id,
    )
    .fetch_optional(&mut *conn)
    .await?;
    Ok(hang(conn, row.into_iter().collect()).await?.pop())
}

/// Some products by id, sorted by id; unknown ones are left out.
pub async fn find_all(conn: &mut PgConnection, ids: &[i64]) -> sqlx::Result<Vec<Product>> {
    let rows = sqlx::query_as!(
        Row,
        "
        select id, category_slug as category, title, artist, year, technique, description, price_cents, edition_size,
               photo_id
        from products where id = any($1) order by id
        ",
        ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    hang(conn, rows).await
}

/// A page of everything, or of a category, sorted by id, after a product.
pub async fn page(
    conn: &mut PgConnection,
    category: Option<&str>,
    after: i64,
    limit: i64,
) -> sqlx::Result<Vec<Product>> {
    // Two statements, because one that may or may not ask for a category has one plan for both, and it fits neither.
    let rows = if let Some(slug) = category {
        sqlx::query_as!(
            Row,
            "
            select id, category_slug as category, title, artist, year, technique, description, price_cents,
                   edition_size, photo_id
            from products where category_slug = $1 and id > $2 order by id limit $3
            ",
            slug,
            after,
            limit,
        )
        .fetch_all(&mut *conn)
        .await?
    } else {
        sqlx::query_as!(
            Row,
            "
            select id, category_slug as category, title, artist, year, technique, description, price_cents,
                   edition_size, photo_id
            from products where id > $1 order by id limit $2
            ",
            after,
            limit,
        )
        .fetch_all(&mut *conn)
        .await?
    };
    hang(conn, rows).await
}

/// A page of what the words find, best first, each with the cursor that continues after it.
pub async fn search(
    conn: &mut PgConnection,
    words: &str,
    category: Option<&str>,
    after: Option<(f32, i64)>,
    limit: i64,
) -> sqlx::Result<Vec<(Product, Cursor)>> {
    let (rank, product_id) = after.unwrap_or((f32::INFINITY, 0));
    let hits = sqlx::query!(
        r#"
        with wanted as (
            select websearch_to_tsquery('english', $1) || websearch_to_tsquery('simple', $1) as words
        ), hits as materialized (
            select id, search from products, wanted
            where search @@ words and ($2::text is null or category_slug = $2)
            limit $6
        ), ranked as (
            select id, ts_rank(search, words) as rank from hits, wanted
        )
        select id, rank as "rank!" from ranked
        where rank < $3 or (rank = $3 and id > $4)
        order by rank desc, id limit $5
        "#,
        words,
        category,
        rank,
        product_id,
        limit,
        RANKED_HITS_MAX,
    )
    .fetch_all(&mut *conn)
    .await?;
    let ids: Vec<i64> = hits.iter().map(|hit| hit.id).collect();
    let mut products = find_all(conn, &ids).await?;
    Ok(hits
        .into_iter()
        .filter_map(|hit| {
            let found = products.iter().position(|product| product.id == hit.id)?;
            let cursor = Cursor::Ranked {
                rank: hit.rank,
                product_id: hit.id,
            };
            Some((products.swap_remove(found), cursor))
        })
        .collect())
}

/// A page of products with all their counters, for the shopkeeper.
pub async fn page_with_counts(conn: &mut PgConnection, after: i64, limit: i64) -> sqlx::Result<Vec<(Product, Counts)>> {
    let products = page(conn, None, after, limit).await?;
    let ids: Vec<i64> = products.iter().map(|product| product.id).collect();
    let counts = sqlx::query_as!(
        Counts,
        "select product_id, initial, available, reserved, sold from stock where product_id = any($1)",
        &ids,
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(products
        .into_iter()
        .filter_map(|product| {
            let counts = counts.iter().find(|row| row.product_id == product.id)?;
            Some((product, *counts))
        })
        .collect())
}

/// Changes title and price. False if there is no such product.
pub async fn edit(conn: &mut PgConnection, id: i64, title: &str, price_cents: i64) -> sqlx::Result<bool> {
    let edited = sqlx::query!(
        "update products set title = $2, price_cents = $3, updated_at = now() where id = $1",
        id,
        title,
        price_cents,
    )
    .execute(conn)
    .await?;
    Ok(edited.rows_affected() == 1)
}

/// Whether there is such a product.
pub async fn exists(conn: &mut PgConnection, id: i64) -> sqlx::Result<bool> {
    sqlx::query_scalar!(r#"select exists (select from products where id = $1) as "exists!""#, id)
        .fetch_one(conn)
        .await
}

/// Puts the pictures to the products.
async fn hang(conn: &mut PgConnection, rows: Vec<Row>) -> sqlx::Result<Vec<Product>> {
    let photo_ids: Vec<i64> = rows.iter().filter_map(|row| row.photo_id).collect();
    let photos = photos::shown(conn, &photo_ids).await?;
    Ok(rows
        .into_iter()
        .map(|row| Product {
            id: row.id,
            category: row.category,
            title: row.title,
            artist: row.artist,
            year: row.year,
            technique: row.technique,
            description: row.description,
            price_cents: row.price_cents,
            edition_size: row.edition_size,
            photo: row.photo_id.and_then(|id| photos.get(&id).cloned()),
        })
        .collect())
}
