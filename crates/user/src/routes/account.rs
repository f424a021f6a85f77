use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use shop_session::{Session, SessionUser};
use shop_web::extract::{ActiveSession, Consistency, CurrentUser, Form, MaybeSession, Page, Query};
use shop_web::page::Html;
use sqlx::Connection as _;

use super::view::AddressFields;
use crate::domain::{AccountName, Address, Invalid, UserId};
use crate::error::{Error, Result};
use crate::queries::accounts::{self, Account};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Saved {
    #[serde(default)]
    saved: Option<String>,
}

#[derive(Deserialize, Default)]
pub(super) struct AccountForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    recipient: String,
    #[serde(default)]
    street: String,
    #[serde(default)]
    postcode: String,
    #[serde(default)]
    city: String,
    #[serde(default)]
    country: String,
    /// Left out: the photo stays; empty: it goes.
    photo_id: Option<String>,
}

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    page: Page,
    account: AccountView,
    saved: bool,
    message: Option<&'static str>,
}

pub(super) async fn page(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    page: Page,
    Query(query): Query<Saved>,
) -> Result<Response> {
    let account = AccountView(find(&app, &consistency, UserId(user.id)).await?);
    Ok(Html(AccountPage {
        page,
        account,
        saved: query.saved.is_some(),
        message: None,
    })
    .into_response())
}

pub(super) async fn submit(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    session: MaybeSession,
    consistency: Consistency,
    page: Page,
    Form(form): Form<AccountForm>,
) -> Result<Response> {
    let user_id = UserId(user.id);
    let change = match form.parse() {
        Ok(change) => change,
        Err(Invalid(message)) => {
            let mut account = find(&app, &consistency, user_id).await?;
            form.show_in(&mut account);
            let again = AccountPage {
                page,
                account: AccountView(account),
                saved: false,
                message: Some(message),
            };
            return Ok((http::StatusCode::UNPROCESSABLE_ENTITY, Html(again)).into_response());
        }
    };
    let cluster = app.cluster(user_id);
    let written = cluster.writing_idempotent(async |mut conn| {
        let mut transaction = conn.begin().await?;
        accounts::update(&mut transaction, user_id, &change.name, change.address.as_ref()).await?;
        if let Some(photo_id) = change.photo_id {
            accounts::set_photo(&mut transaction, user_id, photo_id).await?;
        }
        transaction.commit().await?;
        conn.position().await
    });
    consistency.wrote(cluster.name(), written.await?);
    if change.name.as_str() != user.name
        && let Some(ActiveSession { id, session }) = &session.0
    {
        // Under the same id: nobody's rights change, and an answer that gets lost logs nobody out.
        let renamed = Session {
            user: Some(SessionUser {
                name: change.name.as_str().to_owned(),
                ..user
            }),
            ..session.clone()
        };
        app.web.sessions.replace(id, &renamed).await?;
    }
    Ok(Redirect::to("/account?saved=1").into_response())
}

/// The account as this request's visitor left it.
pub(super) async fn find(app: &AppState, consistency: &Consistency, user_id: UserId) -> Result<Account> {
    let cluster = app.cluster(user_id);
    let found = cluster.reading(consistency.freshness(cluster.name()), async |mut conn| {
        Ok(accounts::find(&mut conn, user_id).await?)
    });
    found.await?.ok_or(Error::NotFound)
}

struct Change {
    name: AccountName,
    address: Option<Address>,
    photo_id: Option<Option<i64>>,
}

/// The account with what was typed, also if it was refused.
struct AccountView(Account);

impl std::ops::Deref for AccountView {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.0
    }
}

impl AccountView {
    fn address_fields(&self) -> AddressFields<'_> {
        AddressFields {
            recipient: &self.recipient,
            street: &self.street,
            postcode: &self.postcode,
            city: &self.city,
            country: &self.country,
        }
    }
}

impl AccountForm {
    fn parse(&self) -> Result<Change, Invalid> {
        let parts = [&self.recipient, &self.street, &self.postcode, &self.city, &self.country];
        let address = if parts.iter().all(|part| part.trim().is_empty()) {
            None
        } else {
            Some(Address::parse(
                &self.recipient,
                &self.street,
                &self.postcode,
                &self.city,
                &self.country,
            )?)
        };
        let photo_id = match self.photo_id.as_deref().map(str::trim) {
            None => None,
            Some("") => Some(None),
            Some(text) => {
                let id = text.parse().ok().filter(|id| *id > 0);
                Some(Some(id.ok_or(Invalid("This is not a photo's number."))?))
            }
        };
        Ok(Change {
            name: AccountName::parse(&self.name)?,
            address,
            photo_id,
        })
    }

    /// What was typed stays in the form, also if it was refused.
    fn show_in(&self, account: &mut Account) {
        account.name.clone_from(&self.name);
        account.recipient.clone_from(&self.recipient);
        account.street.clone_from(&self.street);
        account.postcode.clone_from(&self.postcode);
        account.city.clone_from(&self.city);
        account.country.clone_from(&self.country);
    }
}
