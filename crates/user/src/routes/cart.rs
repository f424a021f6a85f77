use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use shop_session::{Cart, CartOwner, QUANTITY_MAX, Session};
use shop_web::extract::{Consistency, Form, Json, MaybeSession, Page, Path, SessionCookie};
use shop_web::money::Cents;
use shop_web::page::Html;
use tokio::time::timeout;

use super::sessions::cart_owner;
use super::view::CartView;
use crate::checkout::settle_cart;
use crate::domain::{Invalid, UserId};
use crate::error::{Error, Result};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct Quantity {
    quantity: Option<i64>,
}

/// The form on a product's page and those on the cart's. The quantity is set, not added, so that a repeat is harmless.
#[derive(Deserialize)]
pub(super) struct ItemForm {
    #[serde(default)]
    product_id: String,
    #[serde(default)]
    quantity: String,
    /// The name of the button that takes a print out, whatever the quantity says.
    remove: Option<String>,
}

#[derive(Serialize)]
struct CartJson {
    lines: Vec<LineJson>,
    total_cents: Cents,
}

#[derive(Serialize)]
struct LineJson {
    product_id: i64,
    title: Option<String>,
    price_cents: Option<Cents>,
    quantity: u32,
    available: i64,
}

#[derive(Template)]
#[template(path = "cart.html")]
struct CartPage {
    page: Page,
    cart: CartView,
    quantity_max: u32,
}

pub(super) async fn page(
    State(app): State<AppState>,
    session: MaybeSession,
    consistency: Consistency,
    page: Page,
) -> Result<Response> {
    let cart = CartView::of(&current(&app, &session).await?, &app.inventory, &consistency).await?;
    Ok(Html(CartPage {
        page,
        cart,
        quantity_max: QUANTITY_MAX,
    })
    .into_response())
}

pub(super) async fn submit(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
    consistency: Consistency,
    Form(form): Form<ItemForm>,
) -> Result<Redirect> {
    let product_id = product_id(&form.product_id)?;
    let quantity = match form.remove {
        Some(_) => 0,
        None => quantity(form.quantity.trim().parse().ok())?,
    };
    put(&app, &session, &cookie, &consistency, product_id, quantity).await?;
    Ok(Redirect::to("/cart"))
}

pub(super) async fn show(
    State(app): State<AppState>,
    session: MaybeSession,
    consistency: Consistency,
) -> Result<Response> {
    let cart = current(&app, &session).await?;
    json(&app, &consistency, &cart).await
}

pub(super) async fn set(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
    consistency: Consistency,
    Path(product_id): Path<i64>,
    Json(body): Json<Quantity>,
) -> Result<Response> {
    let quantity = quantity(body.quantity)?;
    let cart = put(&app, &session, &cookie, &consistency, product_id, quantity).await?;
    json(&app, &consistency, &cart).await
}

pub(super) async fn remove(
    State(app): State<AppState>,
    session: MaybeSession,
    cookie: SessionCookie,
    consistency: Consistency,
    Path(product_id): Path<i64>,
) -> Result<Response> {
    let cart = put(&app, &session, &cookie, &consistency, product_id, 0).await?;
    json(&app, &consistency, &cart).await
}

/// The visitor's cart; who has none has an empty one.
pub(super) async fn current(app: &AppState, session: &MaybeSession) -> Result<Cart> {
    match cart_owner(session) {
        Some(owner) => Ok(app.carts.get(&owner).await?),
        None => Ok(Cart::default()),
    }
}

/// Sets a quantity. A guest gets a session with the first print.
async fn put(
    app: &AppState,
    session: &MaybeSession,
    cookie: &SessionCookie,
    consistency: &Consistency,
    product_id: i64,
    quantity: u32,
) -> Result<Cart> {
    if quantity > 0
        && !app
            .inventory
            .products(&[product_id], consistency)
            .await?
            .contains_key(&product_id)
    {
        return Err(Error::NotFound);
    }
    let owner = match cart_owner(session) {
        Some(owner) => {
            if let CartOwner::User(id) = owner {
                settle(app, consistency, UserId(id)).await;
            }
            owner
        }
        None if quantity == 0 => return Ok(Cart::default()),
        None => {
            let id = app.web.sessions.create(Session::guest()).await?;
            cookie.set(id.clone());
            CartOwner::Guest(id)
        }
    };
    Ok(app.carts.set(&owner, product_id, quantity).await?)
}

/// What a customer bought a moment ago leaves the cart before it is changed, or bought. Only customers who wrote to the
/// database lately can have bought, and a database that is away keeps nobody from their cart.
pub(super) async fn settle(app: &AppState, consistency: &Consistency, user_id: UserId) {
    let cluster = app.cluster(user_id);
    let Some(position) = consistency.after(cluster.name()) else {
        return;
    };
    let wait = app.checkout.timings().settle_wait;
    match timeout(wait, settle_cart(&app.carts, cluster, user_id, position)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "A cart is used before it is settled"),
        Err(_) => tracing::warn!("A cart is used before it is settled: that took too long"),
    }
}

async fn json(app: &AppState, consistency: &Consistency, cart: &Cart) -> Result<Response> {
    let view = CartView::of(cart, &app.inventory, consistency).await?;
    let lines = view.lines.into_iter().map(|line| LineJson {
        product_id: line.product_id,
        quantity: line.quantity,
        price_cents: line.print.as_ref().map(|print| print.price),
        available: line.print.as_ref().map_or(0, |print| print.available),
        title: line.print.map(|print| print.title),
    });
    Ok(Json(CartJson {
        lines: lines.collect(),
        total_cents: view.total,
    })
    .into_response())
}

fn quantity(asked: Option<i64>) -> Result<u32, Invalid> {
    let quantity = asked
        .and_then(|asked| u32::try_from(asked).ok())
        .filter(|quantity| *quantity <= QUANTITY_MAX);
    quantity.ok_or(Invalid("A quantity is a number from 0 to 99."))
}

fn product_id(text: &str) -> Result<i64> {
    text.trim().parse().map_err(|_| Error::NotFound)
}
