use shop_db::{DbError, Freshness, Shards};
use shop_session::SessionUser;

use super::registration::{confirm, replicated};
use super::{FailedLogins, PasswordError, Passwords};
use crate::domain::{Email, Password};
use crate::queries::accounts::Credentials;
use crate::queries::{accounts, emails};

#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Whether the e-mail or the password is wrong, nobody is told.
    #[error("e-mail and password do not belong together")]
    Refused,
    #[error("too many failed logins for this e-mail")]
    TooManyFailures,
    #[error(transparent)]
    Password(#[from] PasswordError),
    #[error("the accounts' database can't be reached")]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for LoginError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

/// Says who logs in. An unknown e-mail takes as long as a wrong password.
pub async fn log_in(
    shards: &Shards,
    passwords: &Passwords,
    failed: &FailedLogins,
    email: &Email,
    password: &Password,
) -> Result<SessionUser, LoginError> {
    if failed.exceeded(email).await {
        return Err(LoginError::TooManyFailures);
    }
    let credentials = find(shards, email).await?;
    let hash = credentials
        .as_ref()
        .map(|credentials| credentials.password_hash.clone());
    let turn = passwords.turn().await?;
    // Many may have been let in together and waited for their turns, and those before this one may have failed.
    if failed.exceeded(email).await {
        return Err(LoginError::TooManyFailures);
    }
    let accepted = passwords.verify(turn, password, hash).await?;
    match credentials {
        Some(credentials) if accepted => Ok(SessionUser {
            id: credentials.user_id.0,
            name: credentials.name,
            email: email.as_str().to_owned(),
            role: credentials.role,
        }),
        _ => {
            failed.count(email).await;
            metrics::counter!("shop_logins_refused_total").increment(1);
            Err(LoginError::Refused)
        }
    }
}

/// Reads at the primary: somebody who registered a moment ago on another device must be found.
async fn find(shards: &Shards, email: &Email) -> Result<Option<Credentials>, LoginError> {
    let claim = shards
        .for_slot(email.slot())
        .reading(Freshness::Primary, async |mut conn| {
            Ok(emails::find(&mut conn, email).await?)
        });
    let Some(claim) = claim.await? else { return Ok(None) };
    let user_id = claim.user_id;
    let credentials = shards
        .for_slot(user_id.slot())
        .reading(Freshness::Primary, async |mut conn| {
            Ok(accounts::credentials(&mut conn, user_id).await?)
        });
    let credentials = credentials.await?;
    if credentials.is_none() || claim.confirmed {
        return Ok(credentials.filter(|_| claim.confirmed));
    }
    // The registration stopped between its last two steps: its owner is here, so it can be finished.
    let is_theirs = replicated(shards, user_id, email).await?.is_some() && confirm(shards, email, user_id).await?;
    Ok(credentials.filter(|_| is_theirs))
}
