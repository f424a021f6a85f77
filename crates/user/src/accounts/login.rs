use shop_db::{DbError, Shards};
use shop_session::SessionUser;

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
    let accepted = passwords.verify(password, hash).await?;
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
    let claim = emails::find(&mut *shards.for_slot(email.slot()).write().await?, email).await?;
    let Some(claim) = claim else { return Ok(None) };
    let credentials = accounts::credentials(
        &mut *shards.for_slot(claim.user_id.slot()).write().await?,
        claim.user_id,
    )
    .await?;
    if credentials.is_none() || claim.confirmed {
        return Ok(credentials.filter(|_| claim.confirmed));
    }
    // The registration stopped between its last two steps: its owner is here, so it can be finished.
    let confirmed = emails::confirm(&mut *shards.for_slot(email.slot()).write().await?, email, claim.user_id).await?;
    Ok(credentials.filter(|_| confirmed))
}
