use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use shop_web::extract::{Form, MaybeSession, Page, Query, SessionCookie};
use shop_web::page::Html;

use super::sessions::{authenticate, close, open};
use super::view::local_path;
use crate::error::{Error, Result};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Next {
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct LoginForm {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage<'a> {
    page: Page,
    next: &'a str,
    email: &'a str,
    message: Option<String>,
}

pub(super) async fn page(page: Page, session: MaybeSession, Query(query): Query<Next>) -> Response {
    let next = local_path(query.next.as_deref());
    if session.user().is_some() {
        return Redirect::to(next).into_response();
    }
    Html(LoginPage {
        page,
        next,
        email: "",
        message: None,
    })
    .into_response()
}

pub(super) async fn submit(
    State(app): State<AppState>,
    page: Page,
    session: MaybeSession,
    cookie: SessionCookie,
    Form(form): Form<LoginForm>,
) -> Result<Response> {
    let next = local_path(form.next.as_deref());
    match authenticate(&app, &form.email, form.password).await {
        Ok(user) => {
            open(&app, &session, &cookie, user).await?;
            Ok(Redirect::to(next).into_response())
        }
        Err(error @ Error::Login(_)) => Ok(error.into_problem().on_page(|message| LoginPage {
            page,
            next,
            email: &form.email,
            message,
        })),
        Err(error) => Err(error),
    }
}

pub(super) async fn log_out(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
) -> Result<Redirect> {
    close(&app, &session, &cookie).await?;
    Ok(Redirect::to("/"))
}
