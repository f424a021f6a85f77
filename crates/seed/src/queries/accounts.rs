//! Accounts, as far as the seed touches them past the public API.

use sqlx::PgConnection;

/// Makes a customer the shopkeeper. False if they were already.
pub async fn promote(conn: &mut PgConnection, user_id: i64) -> sqlx::Result<bool> {
    let result = sqlx::query!(
        "update accounts set role = 'shopkeeper' where user_id = $1 and role <> 'shopkeeper'",
        user_id,
    )
    .execute(conn)
    .await?;
    Ok(result.rows_affected() > 0)
}

/// The hash of a user's password.
pub async fn password_hash(conn: &mut PgConnection, user_id: i64) -> sqlx::Result<Option<String>> {
    sqlx::query_scalar!("select password_hash from accounts where user_id = $1", user_id)
        .fetch_optional(conn)
        .await
}

/// Whether the address has been claimed.
pub async fn email_exists(conn: &mut PgConnection, email: &str) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from emails where email = $1) as "exists!""#,
        email
    )
    .fetch_one(conn)
    .await
}

/// The next numbers of this cluster, of which user ids are made.
pub async fn next_numbers(conn: &mut PgConnection, count: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar!(
        r#"select nextval('user_ids') as "number!" from generate_series(1, $1::bigint)"#,
        count
    )
    .fetch_all(conn)
    .await
}
