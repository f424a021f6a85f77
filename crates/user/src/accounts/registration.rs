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
    #[error("another registration took the e-mail over")]
    Overtaken,
    #[error("number {0} was given twice")]
    NumberTaken(UserId),
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
    let deadline = Instant::now() + CLAIM_WAIT;
    loop {
        let registered = async {
            claim_for(shards, email, user_id, CLAIM_LIFE).await?;
            finish(shards, user_id, email, name, password_hash).await
        };
        match registered.await {
            // Whoever has claimed the e-mail may be this very registration, sent twice.
            Err(RegisterError::EmailClaimed | RegisterError::Overtaken) if Instant::now() < deadline => {
                sleep(CLAIM_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

/// Who registered with this e-mail and this password a moment ago. Somebody who got no answer sends the same again, or a
/// balancer does; and whoever knows both may log in anyway. Wrong passwords count as they do there.
pub async fn repeated(
    shards: &Shards,
    passwords: &Passwords,
    failed: &FailedLogins,
    email: &Email,
    password: &Password,
) -> Result<Option<(SessionUser, Position)>, LoginError> {
    if !is_new(shards, email).await? {
        return Ok(None);
    }
    let user = match log_in(shards, passwords, failed, email, password).await {
        Ok(user) => user,
        Err(LoginError::Refused | LoginError::TooManyFailures) => return Ok(None),
        Err(error) => return Err(error),
    };
    // The first one may not have been answered because no second host had it yet.
    let user_id = UserId(user.id);
    let Some(position) = replicated(shards, user_id, email).await? else {
        return Ok(None);
    };
    let is_theirs = confirm(shards, email, user_id).await?;
    Ok(is_theirs.then_some((user, position)))
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
    let claimed = shards.for_slot(email.slot()).writing_idempotent(async |mut conn| {
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
    if replicated(shards, claim.user_id, email).await?.is_some() {
        confirm(shards, email, claim.user_id).await?;
        return Err(RegisterError::EmailTaken);
    }
    let taken = shards.for_slot(email.slot()).writing_idempotent(async |mut conn| {
        if emails::take_over(&mut conn, email, claim.user_id, user_id, life).await? {
            return Ok(true);
        }
        // Its host may have been lost with the answer.
        let owner = emails::find(&mut conn, email).await?;
        Ok(owner.is_some_and(|owner| owner.user_id == user_id))
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
        let is_written = accounts::insert(&mut conn, user_id, email, name, password_hash).await?;
        Ok(is_written.then_some(conn.position().await?))
    });
    let position = position.await?.ok_or(RegisterError::NumberTaken(user_id))?;
    if !confirm(shards, email, user_id).await? {
        let removed = home.writing_idempotent(async |mut conn| Ok(accounts::delete(&mut conn, user_id).await?));
        removed.await?;
        return Err(RegisterError::Overtaken);
    }
    metrics::counter!("shop_registrations_total").increment(1);
    tracing::info!(user.id = %user_id, "Registered an account");
    Ok(Registration { user_id, position })
}

/// Where the database stands now that more than one host has this account; nothing, if there is none. An e-mail is confirmed
/// for no other: who it belongs to must not outlive the account.
pub(super) async fn replicated(shards: &Shards, user_id: UserId, email: &Email) -> Result<Option<Position>, DbError> {
    let home = shards.for_slot(user_id.slot());
    let touched = home.writing_idempotent(async |mut conn| {
        let is_there = accounts::touch(&mut conn, user_id, email).await?;
        Ok(is_there.then_some(conn.position().await?))
    });
    touched.await
}

pub(super) async fn confirm(shards: &Shards, email: &Email, user_id: UserId) -> Result<bool, DbError> {
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
