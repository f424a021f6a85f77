//! Who has an e-mail address: claimed with an expiry, then confirmed. Every change is compare-and-set.

use std::time::Duration;

use sqlx::PgConnection;

use crate::domain::{Email, UserId};

/// An address and whose it is, or is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    pub user_id: UserId,
    pub confirmed: bool,
    pub expired: bool,
}

pub async fn find(conn: &mut PgConnection, email: &Email) -> sqlx::Result<Option<Claim>> {
    let row = sqlx::query!(
        r#"select user_id, confirmed_at is not null as "confirmed!", claimed_until < now() as "expired!"
           from emails where email = $1"#,
        email.as_str()
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| Claim {
        user_id: UserId(row.user_id),
        confirmed: row.confirmed,
        expired: row.expired,
    }))
}

/// Claims an address that nobody has. False: somebody has it.
pub async fn claim(conn: &mut PgConnection, email: &Email, user_id: UserId, life: Duration) -> sqlx::Result<bool> {
    let claimed = sqlx::query!(
        "insert into emails (email, user_id, claimed_until) values ($1, $2, now() + make_interval(secs => $3))
         on conflict (email) do nothing",
        email.as_str(),
        user_id.0,
        life.as_secs_f64()
    );
    Ok(claimed.execute(conn).await?.rows_affected() == 1)
}

/// Takes over the expired claim of `from`, which the caller has found to have no account.
pub async fn take_over(
    conn: &mut PgConnection,
    email: &Email,
    from: UserId,
    to: UserId,
    life: Duration,
) -> sqlx::Result<bool> {
    let taken = sqlx::query!(
        "update emails set user_id = $3, claimed_until = now() + make_interval(secs => $4)
         where email = $1 and user_id = $2 and confirmed_at is null and claimed_until < now()",
        email.as_str(),
        from.0,
        to.0,
        life.as_secs_f64()
    );
    Ok(taken.execute(conn).await?.rows_affected() == 1)
}

/// Makes a claim final. True also if it was; false: it was taken over.
pub async fn confirm(conn: &mut PgConnection, email: &Email, user_id: UserId) -> sqlx::Result<bool> {
    let confirmed = sqlx::query!(
        "update emails set confirmed_at = coalesce(confirmed_at, now()) where email = $1 and user_id = $2",
        email.as_str(),
        user_id.0
    );
    Ok(confirmed.execute(conn).await?.rows_affected() == 1)
}
