//! A small shop to test with.

use sqlx::PgPool;

/// Hangs a print with so many copies and returns its id.
pub async fn print(pool: &PgPool, title: &str, copies: i64) -> i64 {
    sqlx::query("insert into categories (slug, name) values ('prints', 'Prints') on conflict do nothing")
        .execute(pool)
        .await
        .expect("a category");
    let (id,): (i64,) = sqlx::query_as(
        "
        insert into products (category_slug, title, artist, year, technique, description, price_cents, edition_size)
        values ('prints', $1, 'Ines Vale', 2024, 'Linocut', 'Waves at dusk.', 12000, $2) returning id
        ",
    )
    .bind(title)
    .bind(i32::try_from(copies.max(1)).expect("a small edition"))
    .fetch_one(pool)
    .await
    .expect("a product");
    sqlx::query("insert into stock (product_id, initial, available) values ($1, $2, $2)")
        .bind(id)
        .bind(copies)
        .execute(pool)
        .await
        .expect("its stock");
    id
}

/// A product's counters: available, reserved, sold.
pub async fn counts(pool: &PgPool, product_id: i64) -> (i64, i64, i64) {
    sqlx::query_as("select available, reserved, sold from stock where product_id = $1")
        .bind(product_id)
        .fetch_one(pool)
        .await
        .expect("a product's stock")
}
