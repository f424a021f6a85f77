use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use shop_web::extract::{Consistency, Form, MaybeSession, Page, Query, SessionCookie};
use shop_web::page::Html;

use super::login::Next;
use super::sessions::open;
use super::users::sign_up;
use super::view::local_path;
use crate::error::Result;
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct RegisterForm {
    #[serde(default)]
    email: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "register.html")]
struct RegisterPage<'a> {
    page: Page,
    next: &'a str,
    email: &'a str,
    name: &'a str,
    message: Option<String>,
}

pub(super) async fn page(page: Page, Query(query): Query<Next>) -> Response {
    let next = local_path(query.next.as_deref());
    Html(RegisterPage {
        page,
        next,
        email: "",
        name: "",
        message: None,
    })
    .into_response()
}

pub(super) async fn submit(
    State(app): State<AppState>,
    page: Page,
    session: MaybeSession,
    cookie: SessionCookie,
    consistency: Consistency,
    Form(form): Form<RegisterForm>,
) -> Result<Response> {
    let next = local_path(form.next.as_deref());
    match sign_up(&app, &consistency, &form.email, &form.name, form.password).await {
        Ok(user) => {
            open(&app, &session, &cookie, user).await?;
            Ok(Redirect::to(next).into_response())
        }
        Err(error) => Ok(error.into_problem().on_page(|message| RegisterPage {
            page,
            next,
            email: &form.email,
            name: &form.name,
            message,
        })),
    }
}
