//! Reading the catalogue, through the cache. Every function says with `after` what it may not be older than: nothing for
//! most visitors, the position of their last write for those who wrote.

use std::collections::HashMap;
use std::pin::Pin;

use shop_cache::Loaded;
use shop_db::{Freshness, Position};
use shop_web::consistency::Consistency;
use sqlx::PgConnection;

use crate::cached::{CategoriesKey, List, ListKey, ListStockKey, ProductKey, StockKey};
use crate::domain::cursor::Cursor;
use crate::domain::product::{Category, Product, Stock};
use crate::error::{Error, Result};
use crate::queries;
use crate::state::{AppState, CATALOGUE, INVENTORY};

/// A replica that dies under a read is no reason to tell a visitor so: another one is asked, once.
const READ_TRIES_MAX: u32 = 2;

/// What a query does, with the connection that it borrows.
type Reading<'c, T> = Pin<Box<dyn Future<Output = Result<Option<T>>> + Send + 'c>>;

/// Reads from a host that has seen `after`, and says how fresh it was at least.
pub async fn read<T>(
    app: &AppState,
    after: Option<Position>,
    query: impl for<'c> Fn(&'c mut PgConnection) -> Reading<'c, T>,
) -> Result<Loaded<T>> {
    let mut tries = 1;
    loop {
        let mut conn = app.db.read(Freshness::from(after)).await?;
        let position = Some(conn.position());
        match query(&mut conn).await {
            Ok(value) => return Ok(Loaded { value, position }),
            Err(error) if tries < READ_TRIES_MAX && error.is_unavailable() => tries += 1,
            Err(error) => return Err(error),
        }
    }
}

/// What a read must have seen that shows words and stock together.
pub fn newest(consistency: &Consistency) -> Option<Position> {
    match (consistency.after(CATALOGUE), consistency.after(INVENTORY)) {
        (Some(words), Some(stock)) => Some(words.newest(stock)),
        (words, stock) => words.or(stock),
    }
}

/// A product that is there.
pub async fn product(app: &AppState, id: i64, after: Option<Position>) -> Result<Product> {
    let load = || {
        read(app, after, move |conn| {
            Box::pin(async move { Ok(queries::products::find(conn, id).await?) })
        })
    };
    let found = app.cache.get(&ProductKey(id), after, load).await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// What is left of a product.
pub async fn stock(app: &AppState, id: i64, after: Option<Position>) -> Result<Stock> {
    let load = || {
        read(app, after, move |conn| {
            Box::pin(async move { Ok(queries::stock::find(conn, id).await?) })
        })
    };
    let found = app.cache.get(&StockKey(id), after, load).await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// A page of products.
pub async fn list(app: &AppState, key: &ListKey, after: Option<Position>) -> Result<List> {
    let load = || {
        let key = key.clone();
        read(app, after, move |conn| {
            let key = key.clone();
            Box::pin(async move { Ok(Some(load_list(conn, &key).await?)) })
        })
    };
    let found = app.cache.get(key, after, load).await?;
    Ok(found.unwrap_or(List {
        products: Vec::new(),
        next_cursor: None,
    }))
}

/// What is left of each product of a list.
pub async fn available(app: &AppState, products: &[Product], after: Option<Position>) -> Result<HashMap<i64, i64>> {
    let mut ids: Vec<i64> = products.iter().map(|product| product.id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    ids.sort_unstable();
    let load = || {
        let ids = ids.clone();
        read(app, after, move |conn| {
            let ids = ids.clone();
            Box::pin(async move { Ok(Some(queries::stock::available(conn, &ids).await?)) })
        })
    };
    let key = ListStockKey(ids.clone());
    let found = app.cache.get(&key, after, load).await?;
    Ok(found.unwrap_or_default())
}

/// The menu.
pub async fn categories(app: &AppState) -> Result<Vec<Category>> {
    let load = || {
        read(app, None, |conn| {
            Box::pin(async move { Ok(Some(queries::categories::all(conn).await?)) })
        })
    };
    let found = app.cache.get(&CategoriesKey, None, load).await?;
    Ok(found.unwrap_or_default())
}

/// A write changed a product's words or picture.
pub async fn product_changed(app: &AppState, ids: &[i64], position: Position) {
    for id in ids {
        app.cache.invalidate(&ProductKey(*id), position).await;
    }
}

/// A product sold out, or is back.
pub async fn stock_turned(app: &AppState, ids: &[i64], position: Position) {
    for id in ids {
        app.cache.invalidate(&StockKey(*id), position).await;
    }
}

async fn load_list(conn: &mut PgConnection, key: &ListKey) -> Result<List> {
    // One more than asked for says whether there is a next page.
    let limit = key.limit + 1;
    let shown = usize::try_from(key.limit).unwrap_or(0);
    if let Some(words) = &key.words {
        let after = match key.cursor {
            Some(Cursor::Ranked { rank, product_id }) => Some((rank, product_id)),
            Some(Cursor::After { .. }) => return Err(Error::InvalidCursor),
            None => None,
        };
        let mut hits = queries::products::search(conn, words, key.category.as_deref(), after, limit).await?;
        let more = hits.len() > shown;
        hits.truncate(shown);
        let next_cursor = hits.last().filter(|_| more).map(|(_, cursor)| cursor.to_string());
        let products = hits.into_iter().map(|(product, _)| product).collect();
        return Ok(List { products, next_cursor });
    }
    let after = match key.cursor {
        Some(Cursor::After { product_id }) => product_id,
        Some(Cursor::Ranked { .. }) => return Err(Error::InvalidCursor),
        None => 0,
    };
    let mut products = queries::products::page(conn, key.category.as_deref(), after, limit).await?;
    let more = products.len() > shown;
    products.truncate(shown);
    let next_cursor = products
        .last()
        .filter(|_| more)
        .map(|product| Cursor::After { product_id: product.id }.to_string());
    Ok(List { products, next_cursor })
}
