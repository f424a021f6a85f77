use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use serde::{Deserialize, Serialize};
use shop_web::extract::{Consistency, CurrentUser, Json, Page, Path, Query};
use shop_web::money::Cents;
use shop_web::page::Html;
use shop_web::photo::Photo;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use crate::domain::{Invalid, OrderId, OrderState, Reason, UserId};
use crate::error::{Error, Result};
use crate::queries::orders::{self as queries, Order, OrderLine};
use crate::state::AppState;

const LIMIT_DEFAULT: u32 = 20;
const LIMIT_MAX: u32 = 100;

#[derive(Deserialize)]
pub(super) struct ListQuery {
    cursor: Option<String>,
    limit: Option<String>,
}

#[derive(Serialize)]
pub(super) struct OrderJson {
    id: i64,
    state: &'static str,
    total_cents: i64,
    lines: Vec<LineJson>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct LineJson {
    product_id: i64,
    title: String,
    artist: String,
    quantity: u32,
    price_cents: i64,
}

#[derive(Serialize)]
struct ListJson {
    orders: Vec<OrderJson>,
    next_cursor: Option<String>,
}

/// An order as pages show it.
pub(super) struct OrderView {
    pub(super) order: Order,
    pub(super) lines: Vec<LineView>,
}

pub(super) struct LineView {
    pub(super) product_id: i64,
    pub(super) quantity: u32,
    pub(super) title: String,
    pub(super) artist: String,
    pub(super) price: Cents,
    pub(super) sum: Cents,
    pub(super) photo: Option<Photo>,
}

#[derive(Template)]
#[template(path = "orders.html")]
struct OrdersPage {
    page: Page,
    orders: Vec<OrderView>,
    next_cursor: Option<String>,
}

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage {
    page: Page,
    view: OrderView,
}

pub(super) async fn page(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let (orders, next_cursor) = find_many(&app, &consistency, UserId(user.id), &query).await?;
    Ok(Html(OrdersPage {
        page,
        orders,
        next_cursor,
    })
    .into_response())
}

pub(super) async fn order_page(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    page: Page,
    Path(id): Path<i64>,
) -> Result<Response> {
    let view = find(&app, &consistency, UserId(user.id), OrderId(id)).await?;
    let is_moving = !view.order.state.is_at_rest();
    let mut response = Html(OrderPage { page, view }).into_response();
    if is_moving {
        // Works without a script: the page asks again by itself until the order rests.
        response
            .headers_mut()
            .insert(header::REFRESH, HeaderValue::from_static("2"));
    }
    Ok(response)
}

pub(super) async fn list(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let (orders, next_cursor) = find_many(&app, &consistency, UserId(user.id), &query).await?;
    let orders = orders.into_iter().map(OrderView::into_json).collect();
    Ok(Json(ListJson { orders, next_cursor }).into_response())
}

pub(super) async fn show(
    State(app): State<AppState>,
    CurrentUser { user, .. }: CurrentUser,
    consistency: Consistency,
    Path(id): Path<i64>,
) -> Result<Response> {
    let view = find(&app, &consistency, UserId(user.id), OrderId(id)).await?;
    Ok(Json(view.into_json()).into_response())
}

async fn find(app: &AppState, consistency: &Consistency, user_id: UserId, order_id: OrderId) -> Result<OrderView> {
    let cluster = app.cluster(user_id);
    let found = cluster.reading(consistency.freshness(cluster.name()), async |mut conn| {
        let order = queries::find(&mut conn, user_id, order_id).await?;
        let lines = queries::lines(&mut conn, user_id, &[order_id]).await?;
        Ok((order, lines))
    });
    let (order, lines) = found.await?;
    let order = order.ok_or(Error::NotFound)?;
    Ok(OrderView::new(order, lines.into_iter().map(|(_, line)| line).collect()))
}

async fn find_many(
    app: &AppState,
    consistency: &Consistency,
    user_id: UserId,
    query: &ListQuery,
) -> Result<(Vec<OrderView>, Option<String>)> {
    let (before, limit) = query.parse()?;
    let cluster = app.cluster(user_id);
    let found = cluster.reading(consistency.freshness(cluster.name()), async |mut conn| {
        // One more than asked for says whether there is a next page.
        let orders = queries::list(&mut conn, user_id, before, limit + 1).await?;
        let ids: Vec<OrderId> = orders.iter().map(|order| order.order_id).collect();
        let lines = queries::lines(&mut conn, user_id, &ids).await?;
        Ok((orders, lines))
    });
    let (mut orders, all_lines) = found.await?;
    let has_more = orders.len() > limit as usize;
    orders.truncate(limit as usize);
    let next_cursor = orders
        .last()
        .filter(|_| has_more)
        .map(|order| order.order_id.to_string());
    let mut lines: HashMap<OrderId, Vec<OrderLine>> = HashMap::new();
    for (order_id, line) in all_lines {
        lines.entry(order_id).or_default().push(line);
    }
    let views = orders.into_iter().map(|order| {
        let lines = lines.remove(&order.order_id).unwrap_or_default();
        OrderView::new(order, lines)
    });
    Ok((views.collect(), next_cursor))
}

impl ListQuery {
    fn parse(&self) -> Result<(Option<OrderId>, u32), Invalid> {
        let before = match &self.cursor {
            None => None,
            Some(text) => Some(OrderId(
                text.parse().map_err(|_| Invalid("This cursor was not made by us."))?,
            )),
        };
        let limit = match &self.limit {
            None => LIMIT_DEFAULT,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or(LIMIT_INVALID)?,
        };
        Ok((before, limit))
    }
}

const LIMIT_INVALID: Invalid = Invalid("The limit is a number from 1 to 100.");

impl OrderView {
    pub(super) fn new(order: Order, lines: Vec<OrderLine>) -> Self {
        let lines = lines.into_iter().map(|line| LineView {
            product_id: line.product_id,
            quantity: line.quantity,
            price: Cents(line.price_cents),
            sum: Cents(line.price_cents.saturating_mul(i64::from(line.quantity))),
            title: line.title,
            artist: line.artist,
            photo: line.photo.and_then(|photo| serde_json::from_value(photo).ok()),
        });
        Self {
            lines: lines.collect(),
            order,
        }
    }

    pub(super) fn total(&self) -> Cents {
        Cents(self.order.total_cents)
    }

    pub(super) fn date(&self) -> String {
        date(self.order.created_at)
    }

    /// What a person calls the order's state.
    pub(super) fn words(&self) -> &'static str {
        words(self.order.state)
    }

    pub(super) fn is_confirmed(&self) -> bool {
        self.order.state == OrderState::Confirmed
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.order.state == OrderState::Cancelled
    }

    pub(super) fn why(&self) -> Option<&'static str> {
        self.order.reason.map(Reason::sentence)
    }

    pub(super) fn into_json(self) -> OrderJson {
        OrderJson {
            id: self.order.order_id.0,
            state: self.order.state.as_str(),
            total_cents: self.order.total_cents,
            created_at: self.order.created_at.format(&Rfc3339).unwrap_or_default(),
            reason: self.order.reason.map(Reason::as_str),
            lines: self
                .lines
                .into_iter()
                .map(|line| LineJson {
                    product_id: line.product_id,
                    price_cents: line.price.0,
                    quantity: line.quantity,
                    title: line.title,
                    artist: line.artist,
                })
                .collect(),
        }
    }
}

pub(super) fn words(state: OrderState) -> &'static str {
    match state {
        OrderState::Pending | OrderState::Reserved | OrderState::Paid => "Being placed",
        OrderState::Confirmed => "Confirmed",
        OrderState::Cancelling => "Being cancelled",
        OrderState::Cancelled => "Cancelled",
    }
}

pub(super) fn date(at: OffsetDateTime) -> String {
    at.format(format_description!(
        "[day padding:none] [month repr:long] [year], [hour]:[minute] UTC"
    ))
    .unwrap_or_default()
}
