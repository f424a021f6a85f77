use std::time::Duration;

use shop_db::{DbError, Freshness, Position, SLOTS, Shards};
use shop_session::SessionUser;
use tokio::time::{Instant, sleep};

use super::{FailedLogins, LoginError, PasswordError, Passwords, log_in};
use crate::domain::{AccountName, Email, Password, UserId};
use crate::queries::{accounts, emails};

/// How long an e-mail is kept for a registration that has not finished. One that takes longer loses it only if somebody else
/// wants it.
const CLAIM_LIFE: Duration = Duration::from_secs(3);
/// How long somebody waits who wants an e-mail that another registration has claimed.
const CLAIM_WAIT: Duration = Duration::from_secs(5);
const CLAIM_PAUSE: Duration = Duration::from_millis(100);
/// How long the same registration may be sent again.
const REPEAT_WITHIN: Duration = Duration::from_secs(600);

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

/// Registers in three steps: claim the e-mail, insert the account, confirm the claim. Each can be done again, and is where
/// its host is lost. Where a process ends between them the claim expires, and whoever comes next finds out whether an
/// account came of it.
pub async fn register(
    shards: &Shards,
    email: &Email,
    name: &AccountName,
    password_hash: &str,
) -> Result<Registration, RegisterError> {
    let user_id = new_user_id(shards).await?;
    // Whoever has claimed the e-mail may be this very registration, sent twice.
    let deadline = Instant::now() + CLAIM_WAIT;
    loop {
        match claim_for(shards, email, user_id, CLAIM_LIFE).await {
            Err(RegisterError::EmailClaimed) if Instant::now() < deadline => sleep(CLAIM_PAUSE).await,
            claimed => break claimed?,
        }
    }
    finish(shards, user_id, email, name, password_hash).await
}

/// Who registered with this e-mail and this password a moment ago. Somebody who got no answer sends the same again, or a
/// balancer does; and whoever knows both may log in anyway. Wrong passwords count as they do there.
pub async fn repeated(
    shards: &Shards,
    passwords: &Passwords,
    failed: &FailedLogins,
    email: &Email,
    password: &Password,
) -> Result<Option<SessionUser>, LoginError> {
    if !is_new(shards, email).await? {
        return Ok(None);
    }
    match log_in(shards, passwords, failed, email, password).await {
        Ok(user) => Ok(Some(user)),
        Err(LoginError::Refused | LoginError::TooManyFailures) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn is_new(shards: &Shards, email: &Email) -> Result<bool, DbError> {
    let claim = shards
        .for_slot(email.slot())
        .reading(Freshness::Primary, async |mut conn| {
            Ok(emails::find(&mut conn, email).await?)
        });
    let Some(claim) = claim.await? else {
        return Ok(false);
    };
    let is_new = shards
        .for_slot(claim.user_id.slot())
        .reading(Freshness::Primary, async |mut conn| {
            Ok(accounts::is_younger_than(&mut conn, claim.user_id, REPEAT_WITHIN).await?)
        });
    is_new.await
}

/// Claims the e-mail for a new user id in a random slot.
pub async fn claim_email(shards: &Shards, email: &Email, life: Duration) -> Result<UserId, RegisterError> {
    let user_id = new_user_id(shards).await?;
    claim_for(shards, email, user_id, life).await?;
    Ok(user_id)
}

async fn claim_for(shards: &Shards, email: &Email, user_id: UserId, life: Duration) -> Result<(), RegisterError> {
    let claimed = shards
        .for_slot(email.slot())
        .writing_idempotent(async |mut conn| {
            if emails::claim(&mut conn, email, user_id, life).await? {
                return Ok(None);
            }
            Ok(Some(emails::find(&mut conn, email).await?))
        });
    let Some(claim) = claimed.await? else {
        return Ok(());
    };
    let Some(claim) = claim else {
        return Err(RegisterError::EmailClaimed);
    };
    if claim.confirmed {
        return Err(RegisterError::EmailTaken);
    }
    if claim.user_id == user_id {
        return Ok(());
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
    if has_account {
        confirm(shards, email, claim.user_id).await?;
        return Err(RegisterError::EmailTaken);
    }
    // One that was taken over, but whose host was lost with the answer, is found to be ours when it is claimed again.
    let taken = shards
        .for_slot(email.slot())
        .writing_idempotent(async |mut conn| {
            Ok(emails::take_over(&mut conn, email, claim.user_id, user_id, life).await?)
        });
    if taken.await? {
        Ok(())
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
    let home = shards.for_slot(user_id.slot());
    let position = home.writing_idempotent(async |mut conn| {
        accounts::insert(&mut conn, user_id, email, name, password_hash).await?;
        conn.position().await
    });
    let position = position.await?;
    if !confirm(shards, email, user_id).await? {
        let removed = home.writing_idempotent(async |mut conn| Ok(accounts::delete(&mut conn, user_id).await?));
        removed.await?;
        return Err(RegisterError::EmailTaken);
    }
    metrics::counter!("shop_registrations_total").increment(1);
    tracing::info!(user.id = %user_id, "Registered an account");
    Ok(Registration { user_id, position })
}

async fn confirm(shards: &Shards, email: &Email, user_id: UserId) -> Result<bool, DbError> {
    shards
        .for_slot(email.slot())
        .writing_idempotent(async |mut conn| Ok(emails::confirm(&mut conn, email, user_id).await?))
        .await
}

async fn new_user_id(shards: &Shards) -> Result<UserId, RegisterError> {
    let slot = rand::random_range(0..SLOTS);
    // A number that is taken and not used is no loss.
    let number = shards
        .for_slot(slot)
        .writing_idempotent(async |mut conn| Ok(accounts::next_number(&mut conn).await?));
    let number = number.await?;
    let id = number
        .checked_mul(i64::from(SLOTS))
        .and_then(|id| id.checked_add(i64::from(slot)));
    id.map(UserId).ok_or(RegisterError::OutOfNumbers)
}
