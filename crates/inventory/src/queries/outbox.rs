//! Messages on their way to the queue. A relay claims rows for a while and deletes them once the broker has confirmed;
//! a relay that dies leaves its claims to expire. So a message may go out twice, under the same id, and never not at all.

use shop_queue::messages::PhotoProcess;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

/// A message that waits.
pub struct Waiting {
    pub id: Uuid,
    pub message: PhotoProcess,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// Writes a message with the change that it speaks of, under an id of its own.
pub async fn add(conn: &mut PgConnection, message: &PhotoProcess, traceparent: Option<&str>) -> sqlx::Result<Uuid> {
    let id = Uuid::now_v7();
    sqlx::query!(
        "insert into photo_outbox (id, photo_id, version, body, traceparent) values ($1, $2, $3, $4, $5)",
        id,
        message.photo_id,
        message.version,
        Json(message) as _,
        traceparent,
    )
    .execute(conn)
    .await?;
    Ok(id)
}

/// Claims the oldest messages that nobody holds.
pub async fn claim(conn: &mut PgConnection, for_seconds: f64, limit: i64) -> sqlx::Result<Vec<Waiting>> {
    let rows = sqlx::query!(
        r#"
        update photo_outbox
        set claimed_until = now() + make_interval(secs => $1), attempts = attempts + 1
        where id in (
            select id from photo_outbox where claimed_until < now()
            order by created_at limit $2 for update skip locked
        )
        returning id, body as "body: Json<PhotoProcess>", traceparent
        "#,
        for_seconds,
        limit,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Waiting {
            id: row.id,
            message: row.body.0,
            traceparent: row.traceparent,
        })
        .collect())
}

/// Forgets messages that the broker has confirmed.
pub async fn remove(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!("delete from photo_outbox where id = any($1)", ids)
        .execute(conn)
        .await?;
    Ok(())
}

/// Gives up claims, so that nobody has to wait until they expire.
pub async fn unclaim(conn: &mut PgConnection, ids: &[Uuid]) -> sqlx::Result<()> {
    sqlx::query!(
        "update photo_outbox set claimed_until = '-infinity' where id = any($1)",
        ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// How many messages wait, and for how many seconds the oldest has.
pub async fn backlog(conn: &mut PgConnection) -> sqlx::Result<(i64, f64)> {
    let row = sqlx::query!(
        r#"
        select count(*) as "count!",
               coalesce(extract(epoch from now() - min(created_at)), 0)::float8 as "oldest_seconds!"
        from photo_outbox
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok((row.count, row.oldest_seconds))
}
