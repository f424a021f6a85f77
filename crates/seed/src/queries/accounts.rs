//! Accounts, as far as the seed touches them past the public API.

use std::collections::HashSet;

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

/// Those of the addresses that have been claimed.
pub async fn known_emails(conn: &mut PgConnection, emails: &[String]) -> sqlx::Result<HashSet<String>> {
    let known = sqlx::query_scalar!("select email from emails where email = any($1)", emails)
        .fetch_all(conn)
        .await?;
    Ok(known.into_iter().collect())
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
