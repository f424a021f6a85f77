use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use shop_session::{Cart, CartLine, CartOwner, LINES_MAX, QUANTITY_MAX};
use shop_web::extract::{Consistency, CurrentUser, Deadline, Form, Json, Page, Query};
use shop_web::money::Cents;
use shop_web::page::Html;
use shop_web::problem::Problem;
use tokio::time::timeout_at;
use uuid::Uuid;

use super::account;
use super::cart::settle;
use super::orders::OrderView;
use super::view::{AddressFields, CartView};
use crate::checkout::{PlaceError, Placed};
use crate::domain::{
    Address, CardDetails, CardToken, IdempotencyKey, Invalid, OrderId, OrderState, RequestHash, UserId,
};
use crate::error::{Error, Result};
use crate::inventory::Product;
use crate::payments::Gateway;
use crate::queries::orders::{self, NewOrder, Order, OrderLine};
use crate::state::AppState;

#[derive(Deserialize)]
pub(super) struct NewOrderJson {
    card: Option<CardJson>,
    card_token: Option<String>,
    address: Option<AddressJson>,
    lines: Option<Vec<LineJson>>,
}

#[derive(Deserialize)]
struct CardJson {
    #[serde(default)]
    number: String,
    #[serde(default)]
    expiry: String,
    #[serde(default)]
    cvc: String,
}

#[derive(Deserialize)]
struct AddressJson {
    #[serde(default)]
    name: String,
    #[serde(default)]
    street: String,
    #[serde(default)]
    postcode: String,
    #[serde(default)]
    city: String,
    #[serde(default)]
    country: String,
}

#[derive(Deserialize)]
struct LineJson {
    product_id: i64,
    quantity: i64,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct CheckoutForm {
    idempotency_key: String,
    recipient: String,
    street: String,
    postcode: String,
    city: String,
    country: String,
    card_number: String,
    card_expiry: String,
    card_cvc: String,
}

#[derive(Template)]
#[template(path = "checkout.html")]
struct CheckoutPage<'a> {
    page: Page,
    cart: CartView,
    form: &'a CheckoutForm,
    /// Made with the page, so that a form that is sent twice is one order.
    key: String,
    message: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Begun {
    /// Under which the customer tried before without being told the outcome.
    key: Option<String>,
}

/// Keys of forms are of this kind.
fn parse_begun(key: &str) -> Option<IdempotencyKey> {
    let key: Uuid = key.parse().ok()?;
    IdempotencyKey::parse(&key.to_string()).ok()
}

/// What a customer decided.
struct Wish {
    key: IdempotencyKey,
    address: Address,
    card: CardToken,
    /// In the order of the products' ids, each once. Nothing: what is in the cart.
    lines: Option<Vec<(i64, u32)>>,
}

pub(super) async fn page(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    page: Page,
    Query(begun): Query<Begun>,
) -> Response {
    let key = begun.key.as_deref().and_then(parse_begun);
    match form_for(&app, UserId(user.id), &consistency, page, key.as_ref()).await {
        Ok(response) => response,
        Err(error) => problem_with(error, key.as_ref()).into_response(),
    }
}

/// A fault of ours leaves open what became of the order: who tries again does so under the same key.
fn problem_with(error: Error, key: Option<&IdempotencyKey>) -> Problem {
    let problem = error.into_problem();
    match key {
        Some(key) if problem.status().is_server_error() => problem.again_at(format!("/checkout?key={}", key.as_str())),
        _ => problem,
    }
}

async fn form_for(
    app: &AppState,
    user_id: UserId,
    consistency: &Consistency,
    page: Page,
    begun: Option<&IdempotencyKey>,
) -> Result<Response> {
    if let Some(key) = begun
        && let Some(order_id) = app.checkout.order_of(user_id, key).await?
    {
        return Ok(Redirect::to(&format!("/orders/{order_id}")).into_response());
    }
    settle(app, consistency, user_id).await;
    let cart = app.carts.get(&CartOwner::User(user_id.0)).await?;
    if cart.is_empty() {
        return Ok(Redirect::to("/cart").into_response());
    }
    let account = account::find(app, consistency, user_id).await?;
    let recipient = if account.recipient.is_empty() {
        account.name
    } else {
        account.recipient
    };
    let form = CheckoutForm {
        recipient,
        street: account.street,
        postcode: account.postcode,
        city: account.city,
        country: account.country,
        ..CheckoutForm::default()
    };
    let cart = CartView::of(&cart, &app.inventory, consistency).await?;
    Ok(Html(CheckoutPage {
        page,
        cart,
        form: &form,
        key: begun.map_or_else(new_key, |key| key.as_str().to_owned()),
        message: None,
    })
    .into_response())
}

pub(super) async fn submit(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    page: Page,
    deadline: Deadline,
    Form(form): Form<CheckoutForm>,
) -> Result<Response> {
    let user_id = UserId(user.id);
    let placed = match form.parse() {
        Ok(wish) => place_in_time(&app, &consistency, user_id, wish, deadline).await,
        Err(invalid) => Err(invalid.into()),
    };
    let to_order = |order_id: OrderId| Ok(Redirect::to(&format!("/orders/{order_id}")).into_response());
    let error = match placed {
        Ok(Outcome::Order(order)) if order.state == OrderState::Cancelled => cancelled(&order),
        Ok(Outcome::Order(order)) => return to_order(order.order_id),
        Ok(Outcome::UnderWay(order_id)) => return to_order(order_id),
        // The form was sent before and changed since: its order is shown, so that nobody buys twice by trying again.
        Err(Error::Place(PlaceError::KeyReused(order_id))) => return to_order(order_id),
        Err(error) => error,
    };
    // Nothing was ordered under this key if the form itself was refused; after a cancelled order a new key is needed.
    let is_refused = matches!(error, Error::Invalid(_));
    let key = if is_refused && !form.idempotency_key.is_empty() {
        form.idempotency_key.clone()
    } else {
        new_key()
    };
    let problem = problem_with(error, parse_begun(&form.idempotency_key).as_ref());
    if problem.status().is_server_error() {
        return Ok(problem.into_response());
    }
    let cart = app.carts.get(&CartOwner::User(user.id)).await?;
    if cart.is_empty() {
        return Ok(problem.into_response());
    }
    let cart = CartView::of(&cart, &app.inventory, &consistency).await?;
    Ok(problem.on_page(|message| CheckoutPage {
        page,
        cart,
        form: &form,
        key,
        message,
    }))
}

pub(super) async fn create(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    deadline: Deadline,
    headers: HeaderMap,
    Json(body): Json<NewOrderJson>,
) -> Result<Response> {
    let key = IdempotencyKey::of(&headers).ok().flatten().ok_or(Error::NoKey)?;
    let wish = body.parse(key)?;
    let user_id = UserId(user.id);
    let order = match place_in_time(&app, &consistency, user_id, wish, deadline).await? {
        Outcome::Order(order) => *order,
        Outcome::UnderWay(order_id) => {
            let body = serde_json::json!({"id": order_id.0, "state": OrderState::Pending.as_str()});
            return Ok(located(order_id, (StatusCode::ACCEPTED, Json(body)).into_response()));
        }
    };
    let status = match order.state {
        OrderState::Confirmed => StatusCode::CREATED,
        OrderState::Cancelled => return Err(cancelled(&order)),
        _ => StatusCode::ACCEPTED,
    };
    let cluster = app.cluster(user_id);
    let order_id = order.order_id;
    let lines = cluster.reading(consistency.freshness(cluster.name()), async |mut conn| {
        Ok(orders::lines(&mut conn, user_id, &[order_id]).await?)
    });
    let lines = lines.await?.into_iter().map(|(_, line)| line).collect();
    let view = OrderView::new(order, lines);
    Ok(located(order_id, (status, Json(view.into_json())).into_response()))
}

fn located(order_id: OrderId, mut response: Response) -> Response {
    if let Ok(location) = HeaderValue::from_str(&format!("/api/orders/{order_id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// So long before its deadline a request is answered here: whoever is answered by somebody else is not told under which
/// key to try again.
const ANSWER_MARGIN: Duration = Duration::from_millis(250);

/// What became of an order by the time its customer has to be answered.
enum Outcome {
    Order(Box<Order>),
    /// It exists, and its row can't be read just now.
    UnderWay(OrderId),
}

/// Finds or makes the order of a key, and waits for it until it has to be answered. Whoever brings a request a second
/// time, or had to wait for the session first, has less time than the others.
async fn place_in_time(
    app: &AppState,
    consistency: &Consistency,
    user_id: UserId,
    wish: Wish,
    deadline: Deadline,
) -> Result<Outcome> {
    let wait_until = app.checkout.answer_deadline().min(deadline.before(2 * ANSWER_MARGIN));
    let placing = place(app, consistency, user_id, wish, wait_until);
    timeout_at(deadline.before(ANSWER_MARGIN), placing)
        .await
        .unwrap_or(Err(Error::TooLate))
}

async fn place(
    app: &AppState,
    consistency: &Consistency,
    user_id: UserId,
    wish: Wish,
    deadline: tokio::time::Instant,
) -> Result<Outcome> {
    let request_hash = RequestHash::of(&wish.address, wish.card, wish.lines.as_deref());
    let mut placed: Placed = match app.checkout.find(user_id, &wish.key, &request_hash).await? {
        Some(placed) => placed,
        None => {
            match compose(app, consistency, user_id, &wish, request_hash.clone()).await {
                Ok(order) => app.checkout.place(order, wish.card, consistency).await?,
                // The same request may have been faster on another connection, and have emptied the cart by now.
                Err(refusal) => match app.checkout.find(user_id, &wish.key, &request_hash).await? {
                    Some(placed) => placed,
                    None => return Err(refusal),
                },
            }
        }
    };
    consistency.wrote(app.cluster(user_id).name(), placed.position);
    let order = app.checkout.wait(&mut placed, deadline).await?;
    consistency.wrote(app.cluster(user_id).name(), placed.position);
    Ok(match order {
        Some(order) => Outcome::Order(Box::new(order)),
        None => Outcome::UnderWay(placed.order_id),
    })
}

/// Puts the order together, with the prices of this moment.
async fn compose(
    app: &AppState,
    consistency: &Consistency,
    user_id: UserId,
    wish: &Wish,
    request_hash: RequestHash,
) -> Result<NewOrder> {
    let mut wanted = match &wish.lines {
        Some(lines) => lines.clone(),
        None => {
            settle(app, consistency, user_id).await;
            lines_of(&app.carts.get(&CartOwner::User(user_id.0)).await?)
        }
    };
    wanted.sort_unstable();
    if wanted.is_empty() {
        return Err(Error::CartEmpty);
    }
    let ids: Vec<i64> = wanted.iter().map(|(product_id, _)| *product_id).collect();
    let mut products = app.inventory.products(&ids, consistency).await?;
    // Inventory has the last word; this only spares an order that would be cancelled at once.
    let short: Vec<_> = wanted
        .iter()
        .filter_map(|(product_id, quantity)| {
            let product = products.get(product_id)?;
            let enough = product.available >= i64::from(*quantity);
            (!enough).then(|| serde_json::json!({"product_id": product_id, "available": product.available}))
        })
        .collect();
    if !short.is_empty() {
        return Err(Error::SoldOut { lines: short.into() });
    }
    let mut lines = Vec::with_capacity(wanted.len());
    for (product_id, quantity) in wanted {
        let product = products.remove(&product_id).ok_or(Error::UnknownProduct(product_id))?;
        lines.push(line_of(product, quantity));
    }
    let total_cents = lines
        .iter()
        .map(|line| Cents(line.price_cents.saturating_mul(i64::from(line.quantity))))
        .sum::<Cents>();
    Ok(NewOrder {
        user_id,
        key: wish.key.clone(),
        request_hash,
        address: wish.address.clone(),
        lines,
        total_cents: total_cents.0,
    })
}

fn line_of(product: Product, quantity: u32) -> OrderLine {
    OrderLine {
        product_id: product.id,
        quantity,
        price_cents: product.price_cents.0,
        title: product.title,
        artist: product.artist,
        photo: product.photo.and_then(|photo| serde_json::to_value(photo).ok()),
    }
}

fn lines_of(cart: &Cart) -> Vec<(i64, u32)> {
    cart.lines
        .iter()
        .map(|CartLine { product_id, quantity }| (*product_id, *quantity))
        .collect()
}

fn cancelled(order: &Order) -> Error {
    Error::Cancelled {
        order_id: order.order_id.0,
        reason: order.reason,
        lines: order.reason_lines.clone(),
    }
}

fn new_key() -> String {
    IdempotencyKey::random().as_str().to_owned()
}

impl CheckoutForm {
    fn address_fields(&self) -> AddressFields<'_> {
        AddressFields {
            recipient: &self.recipient,
            street: &self.street,
            postcode: &self.postcode,
            city: &self.city,
            country: &self.country,
        }
    }

    fn parse(&self) -> Result<Wish, Invalid> {
        let card = CardDetails::parse(&self.card_number, &self.card_expiry, &self.card_cvc)?;
        Ok(Wish {
            key: IdempotencyKey::parse(&self.idempotency_key)
                .map_err(|_| Invalid("The form was incomplete. Please send it again."))?,
            address: Address::parse(&self.recipient, &self.street, &self.postcode, &self.city, &self.country)?,
            card: Gateway::tokenize(&card),
            lines: None,
        })
    }
}

impl NewOrderJson {
    fn parse(self, key: IdempotencyKey) -> Result<Wish, Invalid> {
        let address = self.address.ok_or(Invalid("An order needs an address."))?;
        let address = Address::parse(
            &address.name,
            &address.street,
            &address.postcode,
            &address.city,
            &address.country,
        )?;
        let card = match (self.card, self.card_token) {
            (Some(card), None) => Gateway::tokenize(&CardDetails::parse(&card.number, &card.expiry, &card.cvc)?),
            (None, Some(token)) => CardToken::parse(&token)?,
            _ => return Err(Invalid("An order needs either a card or a card token.")),
        };
        Ok(Wish {
            key,
            address,
            card,
            lines: self.lines.map(parse_lines).transpose()?,
        })
    }
}

fn parse_lines(lines: Vec<LineJson>) -> Result<Vec<(i64, u32)>, Invalid> {
    if lines.is_empty() || lines.len() > LINES_MAX {
        return Err(Invalid("An order has 1 to 50 lines."));
    }
    let quantity = |asked| {
        u32::try_from(asked)
            .ok()
            .filter(|quantity| (1..=QUANTITY_MAX).contains(quantity))
    };
    let mut parsed = Vec::with_capacity(lines.len());
    for line in lines {
        let quantity = quantity(line.quantity).ok_or(Invalid("A quantity is a number from 1 to 99."))?;
        parsed.push((line.product_id, quantity));
    }
    parsed.sort_unstable();
    if parsed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Invalid("Each print may be in an order once."));
    }
    Ok(parsed)
}
