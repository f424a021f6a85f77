//! What we ask of inventory, over its private API. Every call is idempotent.

use std::collections::HashMap;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use shop_web::extract::Consistency;
use shop_web::internal::{Answer, InternalClient, InternalError};
use shop_web::money::Cents;
use shop_web::photo::Photo;

use crate::domain::OrderId;

/// A product as carts and orders need it.
#[derive(Debug, Clone, Deserialize)]
pub struct Product {
    pub id: i64,
    pub title: String,
    pub artist: String,
    pub price_cents: Cents,
    pub edition_size: Option<i64>,
    pub available: i64,
    pub photo: Option<Photo>,
}

/// What came of reserving.
#[derive(Debug, Clone, PartialEq)]
pub enum Reserve {
    Reserved,
    /// Which products, and what is left of them, as inventory says it.
    SoldOut {
        lines: Option<serde_json::Value>,
    },
    /// The order was released before; it will never reserve.
    Released,
}

/// What came of selling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sell {
    Sold,
    NotReserved,
}

/// What came of releasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    Released,
    AlreadySold,
}

#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("no usable answer")]
    Call(#[from] InternalError),
    #[error("it refused with {status} ({slug})")]
    Refused { status: StatusCode, slug: String },
}

/// A handle to inventory.
#[derive(Clone)]
pub struct Inventory {
    client: InternalClient,
    /// The request for which orders are worked on; none for recovery.
    request: Option<Consistency>,
}

#[derive(Serialize)]
struct Line {
    product_id: i64,
    quantity: u32,
}

impl Inventory {
    pub fn new(client: InternalClient) -> Self {
        Self { client, request: None }
    }

    /// A handle for one request: its client will see what is reserved and sold for it.
    pub fn for_request(&self, consistency: &Consistency) -> Self {
        Self {
            client: self.client.clone(),
            request: Some(consistency.clone()),
        }
    }

    fn consistency(&self) -> Consistency {
        self.request.clone().unwrap_or_else(Consistency::detached)
    }

    /// The products with these ids; unknown ones are left out.
    pub async fn products(
        &self,
        ids: &[i64],
        consistency: &Consistency,
    ) -> Result<HashMap<i64, Product>, InventoryError> {
        #[derive(Deserialize)]
        struct Products {
            products: Vec<Product>,
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let answer = self
            .client
            .get(&format!("/internal/products?ids={}", ids.join(",")), consistency)
            .await?;
        if answer.status != StatusCode::OK {
            return Err(refused(&answer));
        }
        let Products { products } = answer.json()?;
        Ok(products.into_iter().map(|product| (product.id, product)).collect())
    }

    /// Sets all lines of an order aside, or none.
    pub async fn reserve(&self, order_id: OrderId, lines: &[(i64, u32)]) -> Result<Reserve, InventoryError> {
        #[derive(Serialize)]
        struct Body {
            lines: Vec<Line>,
        }
        let lines = lines
            .iter()
            .map(|&(product_id, quantity)| Line { product_id, quantity })
            .collect();
        let path = format!("/internal/reservations/{order_id}");
        let answer = self.client.put(&path, &Body { lines }, &self.consistency()).await?;
        match (answer.status, answer.problem_slug().as_deref()) {
            (StatusCode::OK, _) => Ok(Reserve::Reserved),
            (StatusCode::CONFLICT, Some("sold-out")) => Ok(Reserve::SoldOut {
                lines: member(&answer, "lines"),
            }),
            (StatusCode::CONFLICT, Some("released")) => Ok(Reserve::Released),
            _ => Err(refused(&answer)),
        }
    }

    /// Turns an order's reservation into a sale.
    pub async fn sell(&self, order_id: OrderId) -> Result<Sell, InventoryError> {
        let answer = self.end(order_id, "sell").await?;
        match (answer.status, answer.problem_slug().as_deref()) {
            (StatusCode::OK, _) => Ok(Sell::Sold),
            (StatusCode::CONFLICT, Some("not-reserved")) => Ok(Sell::NotReserved),
            _ => Err(refused(&answer)),
        }
    }

    /// Gives an order's reservation back, and sees to it that there will be none.
    pub async fn release(&self, order_id: OrderId) -> Result<Release, InventoryError> {
        let answer = self.end(order_id, "release").await?;
        match (answer.status, answer.problem_slug().as_deref()) {
            (StatusCode::OK, _) => Ok(Release::Released),
            (StatusCode::CONFLICT, Some("already-sold")) => Ok(Release::AlreadySold),
            _ => Err(refused(&answer)),
        }
    }

    async fn end(&self, order_id: OrderId, how: &str) -> Result<Answer, InternalError> {
        #[derive(Serialize)]
        struct Nothing {}
        let path = format!("/internal/reservations/{order_id}/{how}");
        self.client.post(&path, &Nothing {}, &self.consistency()).await
    }
}

fn refused(answer: &Answer) -> InventoryError {
    InventoryError::Refused {
        status: answer.status,
        slug: answer.problem_slug().unwrap_or_default(),
    }
}

fn member(answer: &Answer, name: &str) -> Option<serde_json::Value> {
    let mut body: serde_json::Value = answer.json().ok()?;
    body.get_mut(name).map(serde_json::Value::take)
}
