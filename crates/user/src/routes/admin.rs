use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures::future::try_join_all;
use shop_db::{Cluster, Freshness};
use shop_web::extract::{Page, Shopkeeper};
use shop_web::money::Cents;
use shop_web::page::Html;

use super::orders::{date, words};
use crate::domain::{OrderState, Reason};
use crate::error::Result;
use crate::queries::orders::{self as queries, Order};
use crate::state::AppState;

/// Orders shown, of all clusters together.
const SHOWN: u32 = 100;

struct RowView {
    order: Order,
}

#[derive(Template)]
#[template(path = "admin_orders.html")]
struct OrdersPage {
    page: Page,
    rows: Vec<RowView>,
}

pub(super) async fn orders(State(app): State<AppState>, _: Shopkeeper, page: Page) -> Result<Response> {
    let mut orders = try_join_all(app.shards.clusters().map(newest)).await?.concat();
    orders.sort_unstable_by_key(|order| std::cmp::Reverse((order.created_at, order.order_id)));
    orders.truncate(SHOWN as usize);
    let rows = orders.into_iter().map(|order| RowView { order }).collect();
    Ok(Html(OrdersPage { page, rows }).into_response())
}

async fn newest(cluster: &Cluster) -> Result<Vec<Order>> {
    let newest = cluster.reading(Freshness::Any, async |mut conn| {
        Ok(queries::newest(&mut conn, SHOWN).await?)
    });
    Ok(newest.await?)
}

impl RowView {
    fn date(&self) -> String {
        date(self.order.created_at)
    }

    fn words(&self) -> &'static str {
        words(self.order.state)
    }

    fn total(&self) -> Cents {
        Cents(self.order.total_cents)
    }

    fn is_confirmed(&self) -> bool {
        self.order.state == OrderState::Confirmed
    }

    fn reason(&self) -> &'static str {
        self.order.reason.map_or("", Reason::as_str)
    }
}
