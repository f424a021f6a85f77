//! `/api/products`: the catalogue for programs.

use std::collections::HashMap;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use shop_web::consistency::Consistency;
use shop_web::extract::{Internal, Json, Path, Query};
use shop_web::photo::Photo;

use crate::catalogue;
use crate::domain::product::{Product, Stock};
use crate::domain::reservation::LINES_MAX;
use crate::error::Result;
use crate::queries;
use crate::routes::list_query::ListQuery;
use crate::state::{AppState, CATALOGUE, INVENTORY};

/// A product as lists have it.
#[derive(Debug, Serialize)]
pub struct Summary {
    id: i64,
    title: String,
    artist: String,
    year: i16,
    technique: String,
    category: String,
    price_cents: i64,
    edition_size: Option<i32>,
    available: i64,
    photo: Option<Photo>,
}

/// A product with everything that is said about it.
#[derive(Debug, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    summary: Summary,
    description: String,
}

/// A page of products.
#[derive(Debug, Serialize)]
pub struct ListAnswer {
    products: Vec<Summary>,
    next_cursor: Option<String>,
}

/// What an order needs to know of a product.
#[derive(Debug, Serialize)]
pub struct ForOrder {
    id: i64,
    title: String,
    artist: String,
    price_cents: i64,
    currency: &'static str,
    edition_size: Option<i32>,
    available: i64,
    photo: Option<Photo>,
}

/// Some products for an order.
#[derive(Debug, Serialize)]
pub struct ForOrderAnswer {
    products: Vec<ForOrder>,
}

/// `?ids=1,2,3`
#[derive(Debug, Deserialize)]
pub struct IdsQuery {
    ids: String,
}

/// `GET /api/products`
pub async fn list(
    State(app): State<AppState>,
    consistency: Consistency,
    Query(query): Query<ListQuery>,
) -> Result<Json<ListAnswer>> {
    let key = query.parse()?;
    let list = catalogue::list(&app, &key, consistency.after(CATALOGUE)).await?;
    let available = catalogue::available(&app, &list.products, consistency.after(INVENTORY)).await?;
    Ok(Json(ListAnswer {
        products: list
            .products
            .into_iter()
            .map(|product| Summary::new(product, &available))
            .collect(),
        next_cursor: list.next_cursor,
    }))
}

/// `GET /api/products/{id}`
pub async fn show(State(app): State<AppState>, consistency: Consistency, Path(id): Path<i64>) -> Result<Json<Detail>> {
    let mut product = catalogue::product(&app, id, consistency.after(CATALOGUE)).await?;
    let stock = catalogue::stock(&app, id, consistency.after(INVENTORY)).await?;
    let description = std::mem::take(&mut product.description);
    let available = HashMap::from([(id, stock.available)]);
    Ok(Json(Detail {
        summary: Summary::new(product, &available),
        description,
    }))
}

/// `GET /api/products/{id}/stock`
pub async fn stock(State(app): State<AppState>, consistency: Consistency, Path(id): Path<i64>) -> Result<Json<Stock>> {
    Ok(Json(catalogue::stock(&app, id, consistency.after(INVENTORY)).await?))
}

/// `GET /internal/products?ids=`: past the cache, because carts and orders show and copy these prices.
pub async fn for_order(
    State(app): State<AppState>,
    _: Internal,
    consistency: Consistency,
    Query(query): Query<IdsQuery>,
) -> Result<Json<ForOrderAnswer>> {
    let ids: Vec<i64> = query
        .ids
        .split(',')
        .filter_map(|id| id.trim().parse().ok())
        .take(LINES_MAX)
        .collect();
    let read = catalogue::read(&app, catalogue::newest(&consistency), async |mut conn| {
        let products = queries::products::find_all(&mut conn, &ids).await?;
        let available = queries::stock::available(&mut conn, &ids).await?;
        Ok(Some((products, available)))
    });
    let (products, available) = read.await?.value.unwrap_or_default();
    Ok(Json(ForOrderAnswer {
        products: products
            .into_iter()
            .map(|product| ForOrder {
                available: available.get(&product.id).copied().unwrap_or(0),
                id: product.id,
                title: product.title,
                artist: product.artist,
                price_cents: product.price_cents,
                currency: "EUR",
                edition_size: product.edition_size,
                photo: product.photo,
            })
            .collect(),
    }))
}

impl Summary {
    fn new(product: Product, available: &HashMap<i64, i64>) -> Self {
        Self {
            available: available.get(&product.id).copied().unwrap_or(0),
            id: product.id,
            title: product.title,
            artist: product.artist,
            year: product.year,
            technique: product.technique,
            category: product.category,
            price_cents: product.price_cents,
            edition_size: product.edition_size,
            photo: product.photo,
        }
    }
}
