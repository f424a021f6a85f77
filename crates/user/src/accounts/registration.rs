use std::time::Duration;

use shop_db::{DbError, Freshness, Position, SLOTS, Shards};

use super::PasswordError;
use crate::domain::{AccountName, Email, UserId};
use crate::queries::{accounts, emails};

/// How long an e-mail is kept for a registration that has not finished.
const CLAIM_LIFE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("the e-mail has an account")]
    EmailTaken,
    #[error("a registration with this e-mail is under way")]
    EmailClaimed,
    #[error("the cluster's user numbers are used up")]
    OutOfNumbers,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the accounts' database can't be reached")]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for RegisterError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// A new account, and where its cluster's database stood after it was written.
#[derive(Debug, Clone, Copy)]
pub struct Registration {
    pub user_id: UserId,
    pub position: Position,
}

/// Registers in three steps: claim the e-mail, insert the account, confirm the claim. Where a process ends between them the
/// claim expires, and whoever comes next finds out whether an account came of it.
pub async fn register(
    shards: &Shards,
    email: &Email,
    name: &AccountName,
    password_hash: &str,
) -> Result<Registration, RegisterError> {
    let user_id = claim_email(shards, email, CLAIM_LIFE).await?;
    finish(shards, user_id, email, name, password_hash).await
}

/// Claims the e-mail for a new user id in a random slot.
pub async fn claim_email(shards: &Shards, email: &Email, life: Duration) -> Result<UserId, RegisterError> {
    let user_id = new_user_id(shards).await?;
    let mut conn = shards.for_slot(email.slot()).write().await?;
    if emails::claim(&mut conn, email, user_id, life).await? {
        return Ok(user_id);
    }
    let Some(claim) = emails::find(&mut conn, email).await? else {
        return Err(RegisterError::EmailClaimed);
    };
    drop(conn);
    if claim.confirmed {
        return Err(RegisterError::EmailTaken);
    }
    if !claim.expired {
        return Err(RegisterError::EmailClaimed);
    }
    // The account may have been written just before its process ended: then only the confirmation is missing.
    let home = shards.for_slot(claim.user_id.slot());
    let has_account = home.reading(Freshness::Primary, async |mut conn| {
        Ok(accounts::exists(&mut conn, claim.user_id).await?)
    });
    let has_account = has_account.await?;
    let mut conn = shards.for_slot(email.slot()).write().await?;
    if has_account {
        emails::confirm(&mut conn, email, claim.user_id).await?;
        return Err(RegisterError::EmailTaken);
    }
    if emails::take_over(&mut conn, email, claim.user_id, user_id, life).await? {
        Ok(user_id)
    } else {
        Err(RegisterError::EmailClaimed)
    }
}

/// Inserts the account and confirms the claim. If the claim was taken over meanwhile, the account is taken back.
pub async fn finish(
    shards: &Shards,
    user_id: UserId,
    email: &Email,
    name: &AccountName,
    password_hash: &str,
) -> Result<Registration, RegisterError> {
    let mut conn = shards.for_slot(user_id.slot()).write().await?;
    accounts::insert(&mut conn, user_id, email, name, password_hash).await?;
    let position = conn.position().await?;
    drop(conn);
    let confirmed = emails::confirm(&mut *shards.for_slot(email.slot()).write().await?, email, user_id).await?;
    if !confirmed {
        accounts::delete(&mut *shards.for_slot(user_id.slot()).write().await?, user_id).await?;
        return Err(RegisterError::EmailTaken);
    }
    metrics::counter!("shop_registrations_total").increment(1);
    tracing::info!(user.id = %user_id, "Registered an account");
    Ok(Registration { user_id, position })
}

async fn new_user_id(shards: &Shards) -> Result<UserId, RegisterError> {
    let slot = rand::random_range(0..SLOTS);
    let number = accounts::next_number(&mut *shards.for_slot(slot).write().await?).await?;
    let id = number
        .checked_mul(i64::from(SLOTS))
        .and_then(|id| id.checked_add(i64::from(slot)));
    id.map(UserId).ok_or(RegisterError::OutOfNumbers)
}
