use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Redirect, Response};
use http::request::Parts;
use http::{Method, StatusCode, header};
use shop_session::{Role, Session, SessionId, SessionUser};

use super::{SessionCookie, no_frame};
use crate::WebState;
use crate::context::{RequestContext, header_text};
use crate::problem::Problem;
use crate::session_cookie;

/// A session that is not over, with the id that opens it.
#[derive(Debug, Clone)]
pub struct ActiveSession {
    /// What the browser holds.
    pub id: SessionId,
    /// What the store holds.
    pub session: Session,
}

/// The session of the client, if it has one.
#[derive(Debug, Clone)]
pub struct MaybeSession(pub Option<ActiveSession>);

impl MaybeSession {
    /// Who is logged in, if anybody.
    #[must_use]
    pub fn user(&self) -> Option<&SessionUser> {
        self.0.as_ref()?.session.user.as_ref()
    }
}

/// The person who is logged in; pages send everybody else to log in first.
#[derive(Debug, Clone)]
pub struct CurrentUser {
    /// Who it is.
    pub user: SessionUser,
    /// The session by which we know.
    pub session_id: SessionId,
}

/// The shopkeeper; nobody else gets in.
#[derive(Debug, Clone)]
pub struct Shopkeeper(pub SessionUser);

/// Why a person is not let in.
#[derive(Debug, Clone)]
pub enum LoginRequired {
    /// A page: the browser is sent to log in, and comes back here.
    Redirect(String),
    /// Anything else.
    Problem(Box<Problem>),
}

impl IntoResponse for LoginRequired {
    fn into_response(self) -> Response {
        match self {
            Self::Redirect(to) => Redirect::to(&to).into_response(),
            Self::Problem(problem) => problem.into_response(),
        }
    }
}

impl From<Problem> for LoginRequired {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl<S: Sync> FromRequestParts<S> for MaybeSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if let Some(known) = parts.extensions.get::<Self>() {
            return Ok(known.clone());
        }
        let found = match session_cookie::of(&parts.headers) {
            None => None,
            Some(id) => {
                let web = parts.extensions.get::<WebState>().ok_or_else(no_frame)?;
                let loaded = web.sessions.load_and_prolong(&id).await?;
                if loaded.as_ref().is_some_and(|loaded| loaded.prolonged)
                    && let Some(cookie) = parts.extensions.get::<SessionCookie>()
                {
                    cookie.set(id.clone());
                }
                loaded.map(|loaded| ActiveSession {
                    id,
                    session: loaded.session,
                })
            }
        };
        let session = Self(found);
        parts.extensions.insert(session.clone());
        Ok(session)
    }
}

impl<S: Sync> FromRequestParts<S> for CurrentUser {
    type Rejection = LoginRequired;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LoginRequired> {
        let session = MaybeSession::from_request_parts(parts, state).await?;
        if let Some(ActiveSession {
            id,
            session: Session { user: Some(user), .. },
        }) = session.0
        {
            return Ok(Self { user, session_id: id });
        }
        match parts.extensions.get::<RequestContext>() {
            Some(context) if context.prefers_html => Err(LoginRequired::Redirect(login_path(parts))),
            _ => Err(Problem::of_status(StatusCode::UNAUTHORIZED).into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Shopkeeper {
    type Rejection = LoginRequired;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, LoginRequired> {
        let CurrentUser { user, .. } = CurrentUser::from_request_parts(parts, state).await?;
        match user.role {
            Role::Shopkeeper => Ok(Self(user)),
            Role::Customer => Err(Problem::of_status(StatusCode::FORBIDDEN).into()),
        }
    }
}

/// Where to log in and come back from: to this page, or, if this was a form, to the page that it was on.
fn login_path(parts: &Parts) -> String {
    let next = if parts.method == Method::GET {
        parts.uri.path_and_query().map(|path| path.as_str().to_owned())
    } else {
        let referer = header_text(&parts.headers, header::REFERER.as_str()).and_then(|text| url::Url::parse(text).ok());
        referer.map(|referer| referer.path().to_owned())
    };
    let next: String = url::form_urlencoded::byte_serialize(next.as_deref().unwrap_or("/").as_bytes()).collect();
    format!("/login?next={next}")
}
