use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shop_session::{Role, SessionUser};
use shop_web::extract::{Consistency, CurrentUser, Json, MaybeSession, Path, SessionCookie};

use super::account;
use super::sessions::open;
use crate::accounts::{RegisterError, register, repeated};
use crate::domain::{AccountName, Email, Password, UserId};
use crate::error::{Error, Result};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct NewUser {
    #[serde(default)]
    email: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

#[derive(Serialize)]
struct CreatedUser {
    id: i64,
    name: String,
}

#[derive(Serialize)]
struct User {
    id: i64,
    name: String,
    email: String,
    role: Role,
    photo_id: Option<i64>,
}

pub(super) async fn create(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
    consistency: Consistency,
    Json(new): Json<NewUser>,
) -> Result<Response> {
    let user = sign_up(&app, &consistency, &new.email, &new.name, new.password).await?;
    let created = CreatedUser {
        id: user.id,
        name: user.name.clone(),
    };
    open(&app, &session, &cookie, user).await?;
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// Oneself only; of others nobody learns even that they exist.
pub(super) async fn show(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    Path(id): Path<i64>,
) -> Result<Response> {
    if id != user.id {
        return Err(Error::NotFound);
    }
    let account = account::find(&app, &consistency, UserId(id)).await?;
    let user = User {
        id,
        name: account.name,
        email: account.email,
        role: account.role,
        photo_id: account.photo_id,
    };
    Ok(Json(user).into_response())
}

/// Makes an account of what was typed.
pub(super) async fn sign_up(
    app: &AppState,
    consistency: &Consistency,
    email: &str,
    name: &str,
    password: String,
) -> Result<SessionUser> {
    let email = Email::parse(email)?;
    let name = AccountName::parse(name)?;
    let password = Password::parse_new(password)?;
    let hash = app.passwords.hash(&password).await?;
    let registration = match register(&app.shards, &email, &name, &hash).await {
        Err(RegisterError::EmailTaken) => {
            let again = repeated(&app.shards, &app.passwords, &app.failed_logins, &email, &password);
            let (user, position) = again.await?.ok_or(RegisterError::EmailTaken)?;
            consistency.wrote(app.cluster(UserId(user.id)).name(), position);
            return Ok(user);
        }
        registration => registration?,
    };
    consistency.wrote(app.cluster(registration.user_id).name(), registration.position);
    Ok(SessionUser {
        id: registration.user_id.0,
        name: name.as_str().to_owned(),
        email: email.as_str().to_owned(),
        role: Role::Customer,
    })
}
