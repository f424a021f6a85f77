use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use shop_session::{CartOwner, Role, Session, SessionUser};
use shop_web::extract::{ActiveSession, Json, MaybeSession, SessionCookie};

use crate::accounts::{LoginError, log_in};
use crate::domain::{Email, Password};
use crate::error::Result;
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Login {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

#[derive(Serialize)]
struct Me {
    user: Option<MyName>,
    cart_count: u32,
}

#[derive(Serialize)]
struct MyName {
    id: i64,
    name: String,
    role: Role,
}

pub(super) async fn create(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
    Json(login): Json<Login>,
) -> Result<Response> {
    let user = authenticate(&app, &login.email, login.password).await?;
    let name = MyName {
        id: user.id,
        name: user.name.clone(),
        role: user.role,
    };
    open(&app, &session, &cookie, user).await?;
    Ok((StatusCode::CREATED, Json(name)).into_response())
}

/// Ends the session; who has none is logged out already.
pub(super) async fn destroy(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
) -> Result<StatusCode> {
    close(&app, &session, &cookie).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the head of every page shows of the visitor.
pub(super) async fn me(State(app): State<AppState>, session: MaybeSession) -> Result<Response> {
    let cart_count = match cart_owner(&session) {
        Some(owner) => app.carts.get(&owner).await?.count(),
        None => 0,
    };
    let user = session.user().map(|user| MyName {
        id: user.id,
        name: user.name.clone(),
        role: user.role,
    });
    Ok(Json(Me { user, cart_count }).into_response())
}

/// Whose cart the visitor has, if any.
pub(super) fn cart_owner(session: &MaybeSession) -> Option<CartOwner> {
    let ActiveSession { id, session } = session.0.as_ref()?;
    Some(
        session
            .user
            .as_ref()
            .map_or_else(|| CartOwner::Guest(id.clone()), |user| CartOwner::User(user.id)),
    )
}

/// Says who logs in with what was typed. What can't be an e-mail or a password is just as wrong as a wrong one.
pub(super) async fn authenticate(app: &AppState, email: &str, password: String) -> Result<SessionUser> {
    let (Ok(email), Some(password)) = (Email::parse(email), Password::parse_attempt(password)) else {
        return Err(LoginError::Refused.into());
    };
    Ok(log_in(&app.shards, &app.passwords, &app.failed_logins, &email, &password).await?)
}

/// Opens a session under a new id, so that an id that somebody else knew is worth nothing. A guest's cart comes along.
pub(super) async fn open(
    app: &AppState,
    before: &MaybeSession,
    cookie: &SessionCookie,
    user: SessionUser,
) -> Result<()> {
    let user_id = user.id;
    let id = app.web.sessions.create(Session::of(user)).await?;
    if let Some(ActiveSession { id: old, session }) = &before.0 {
        if session.user.is_none() {
            app.carts.merge(old, user_id).await?;
        }
        app.web.sessions.destroy(old).await?;
    }
    cookie.set(id);
    Ok(())
}

pub(super) async fn close(app: &AppState, session: &MaybeSession, cookie: &SessionCookie) -> Result<()> {
    if let Some(ActiveSession { id, .. }) = &session.0 {
        app.web.sessions.destroy(id).await?;
    }
    cookie.clear();
    Ok(())
}
