//! The pages that customers walk through. They are the same for every visitor; who is logged in, and what is in the
//! cart, comes from a script.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use shop_web::consistency::Consistency;
use shop_web::extract::{Path, Query};
use shop_web::label::WallLabel;
use shop_web::page::{Html, Page};

use crate::cached::ListKey;
use crate::catalogue;
use crate::domain::product::{Category, Product};
use crate::domain::reservation::QUANTITY_MAX;
use crate::error::{Error, Result};
use crate::routes::list_query::{LIMIT_DEFAULT, ListQuery, is_slug, next_page};
use crate::state::{AppState, CATALOGUE, INVENTORY};

/// Prints of the same room that hang at the foot of a product's page.
const NEIGHBOURS: usize = 4;

/// A print on the wall of a list.
pub struct Hung {
    pub product: Product,
    pub label: WallLabel,
}

#[derive(Template)]
#[template(path = "home.html")]
struct HomePage {
    page: Page,
    categories: Vec<Category>,
    prints: Vec<Hung>,
    more: Option<String>,
    is_first: bool,
}

#[derive(Template)]
#[template(path = "category.html")]
struct CategoryPage {
    page: Page,
    categories: Vec<Category>,
    category: Category,
    prints: Vec<Hung>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    page: Page,
    words: String,
    prints: Vec<Hung>,
    more: Option<String>,
}

#[derive(Template)]
#[template(path = "product.html")]
struct ProductPage {
    page: Page,
    product: Product,
    label: WallLabel,
    room: Option<Category>,
    /// Copies that a customer may ask for.
    quantity_max: i64,
    /// What hangs beside it.
    prints: Vec<Hung>,
}

/// `GET /`
pub async fn home(
    State(app): State<AppState>,
    consistency: Consistency,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let key = ListQuery {
        category: None,
        q: None,
        ..query
    }
    .parse()?;
    let (prints, next) = hang(&app, &consistency, &key).await?;
    Ok(Html(HomePage {
        page,
        categories: catalogue::categories(&app).await?,
        prints,
        more: next.map(|cursor| next_page("/", &key, &cursor)),
        is_first: key.cursor.is_none(),
    })
    .into_response())
}

/// `GET /categories/{slug}`
pub async fn category(
    State(app): State<AppState>,
    consistency: Consistency,
    page: Page,
    Path(slug): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    if !is_slug(&slug) {
        return Err(Error::UnknownCategory(slug));
    }
    let categories = catalogue::categories(&app).await?;
    let Some(category) = categories.iter().find(|category| category.slug == slug) else {
        return Err(Error::UnknownCategory(slug));
    };
    let category = category.clone();
    let key = ListQuery {
        category: Some(slug),
        q: None,
        ..query
    }
    .parse()?;
    let (prints, next) = hang(&app, &consistency, &key).await?;
    // The path says which category.
    let beside_path = ListKey { category: None, ..key };
    let path = format!("/categories/{}", category.slug);
    Ok(Html(CategoryPage {
        page,
        more: next.map(|cursor| next_page(&path, &beside_path, &cursor)),
        categories,
        category,
        prints,
    })
    .into_response())
}

/// `GET /search`
pub async fn search(
    State(app): State<AppState>,
    consistency: Consistency,
    page: Page,
    Query(query): Query<ListQuery>,
) -> Result<Response> {
    let key = query.parse()?;
    let words = key.words.clone().unwrap_or_default();
    let (prints, next) = if words.is_empty() {
        (Vec::new(), None)
    } else {
        hang(&app, &consistency, &key).await?
    };
    Ok(Html(SearchPage {
        page,
        words,
        prints,
        more: next.map(|cursor| next_page("/search", &key, &cursor)),
    })
    .into_response())
}

/// `GET /products/{id}`
pub async fn product(
    State(app): State<AppState>,
    consistency: Consistency,
    page: Page,
    Path(id): Path<i64>,
) -> Result<Response> {
    let product = catalogue::product(&app, id, consistency.after(CATALOGUE)).await?;
    let stock = catalogue::stock(&app, id, consistency.after(INVENTORY)).await?;
    let categories = catalogue::categories(&app).await?;
    let beside = ListKey {
        category: Some(product.category.clone()),
        words: None,
        cursor: None,
        limit: LIMIT_DEFAULT,
    };
    let (room_prints, _) = hang(&app, &consistency, &beside).await?;
    Ok(Html(ProductPage {
        page,
        label: label(&product, stock.available),
        room: categories
            .into_iter()
            .find(|category| category.slug == product.category),
        quantity_max: stock.available.min(QUANTITY_MAX.into()),
        prints: neighbours(room_prints, product.id),
        product,
    })
    .into_response())
}

/// The prints that hang after this one in its room, and from the beginning again.
fn neighbours(mut room: Vec<Hung>, id: i64) -> Vec<Hung> {
    room.retain(|hung| hung.product.id != id);
    let next = room.iter().position(|hung| hung.product.id > id).unwrap_or(0);
    room.rotate_left(next);
    room.truncate(NEIGHBOURS);
    room
}

async fn hang(app: &AppState, consistency: &Consistency, key: &ListKey) -> Result<(Vec<Hung>, Option<String>)> {
    let list = catalogue::list(app, key, consistency.after(CATALOGUE)).await?;
    let available: HashMap<i64, i64> = catalogue::available(app, &list.products, consistency.after(INVENTORY)).await?;
    let prints = list
        .products
        .into_iter()
        .map(|product| Hung {
            label: label(&product, available.get(&product.id).copied().unwrap_or(0)),
            product,
        })
        .collect();
    Ok((prints, list.next_cursor))
}

fn label(product: &Product, available: i64) -> WallLabel {
    WallLabel {
        title: product.title.clone(),
        artist: product.artist.clone(),
        year: product.year.into(),
        technique: product.technique.clone(),
        edition_size: product.edition_size.map(i64::from),
        available,
        price: product.price(),
    }
}
