//! Reading the catalogue, through the cache. Every function says with `after` what it may not be older than: nothing for
//! most visitors, the position of their last write for those who wrote.

use std::collections::HashMap;

use shop_cache::Loaded;
use shop_db::{Freshness, Position};

use crate::cached::{CategoriesKey, List, ListKey, ListStockKey, ProductKey, StockKey};
use crate::domain::cursor::Cursor;
use crate::domain::product::{Category, Product, Stock};
use crate::error::{Error, Result};
use crate::queries;
use crate::state::AppState;

/// A product that is there.
pub async fn product(app: &AppState, id: i64, after: Option<Position>) -> Result<Product> {
    let found = app
        .cache
        .get(&ProductKey(id), after, || async {
            let mut conn = app.db.read(Freshness::from(after)).await?;
            let position = conn.position();
            let value = queries::products::find(&mut conn, id).await?;
            Ok::<_, Error>(Loaded {
                value,
                position: Some(position),
            })
        })
        .await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// What is left of a product.
pub async fn stock(app: &AppState, id: i64, after: Option<Position>) -> Result<Stock> {
    let found = app
        .cache
        .get(&StockKey(id), after, || async {
            let mut conn = app.db.read(Freshness::from(after)).await?;
            let position = conn.position();
            let value = queries::stock::find(&mut conn, id).await?;
            Ok::<_, Error>(Loaded {
                value,
                position: Some(position),
            })
        })
        .await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// A page of products.
pub async fn list(app: &AppState, key: &ListKey, after: Option<Position>) -> Result<List> {
    let found = app
        .cache
        .get(key, after, || async {
            let mut conn = app.db.read(Freshness::from(after)).await?;
            let position = conn.position();
            let list = load_list(&mut conn, key).await?;
            Ok::<_, Error>(Loaded {
                value: Some(list),
                position: Some(position),
            })
        })
        .await?;
    Ok(found.unwrap_or(List {
        products: Vec::new(),
        next_cursor: None,
    }))
}

/// What is left of each product of a list.
pub async fn available(
    app: &AppState,
    products: &[Product],
    after: Option<Position>,
) -> Result<HashMap<i64, i64>> {
    let mut ids: Vec<i64> = products.iter().map(|product| product.id).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    ids.sort_unstable();
    let key = ListStockKey(ids);
    let found = app
        .cache
        .get(&key, after, || async {
            let mut conn = app.db.read(Freshness::from(after)).await?;
            let position = conn.position();
            let value = queries::stock::available(&mut conn, &key.0).await?;
            Ok::<_, Error>(Loaded {
                value: Some(value),
                position: Some(position),
            })
        })
        .await?;
    Ok(found.unwrap_or_default())
}

/// The menu.
pub async fn categories(app: &AppState) -> Result<Vec<Category>> {
    let found = app
        .cache
        .get(&CategoriesKey, None, || async {
            let mut conn = app.db.read(Freshness::Any).await?;
            let position = conn.position();
            let value = queries::categories::all(&mut conn).await?;
            Ok::<_, Error>(Loaded {
                value: Some(value),
                position: Some(position),
            })
        })
        .await?;
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

async fn load_list(conn: &mut sqlx::PgConnection, key: &ListKey) -> Result<List> {
    // One more than asked for says whether there is a next page.
    let limit = key.limit + 1;
    let shown = usize::try_from(key.limit).unwrap_or(0);
    if let Some(words) = &key.words {
        let after = match key.cursor {
            Some(Cursor::Ranked { rank, product_id }) => Some((rank, product_id)),
            Some(Cursor::After { .. }) => return Err(Error::InvalidCursor),
            None => None,
        };
        let mut hits =
            queries::products::search(conn, words, key.category.as_deref(), after, limit).await?;
        let more = hits.len() > shown;
        hits.truncate(shown);
        let next_cursor = hits
            .last()
            .filter(|_| more)
            .map(|(_, cursor)| cursor.to_string());
        let products = hits.into_iter().map(|(product, _)| product).collect();
        return Ok(List {
            products,
            next_cursor,
        });
    }
    let after = match key.cursor {
        Some(Cursor::After { product_id }) => product_id,
        Some(Cursor::Ranked { .. }) => return Err(Error::InvalidCursor),
        None => 0,
    };
    let mut products = queries::products::page(conn, key.category.as_deref(), after, limit).await?;
    let more = products.len() > shown;
    products.truncate(shown);
    let next_cursor = products.last().filter(|_| more).map(|product| {
        Cursor::After {
            product_id: product.id,
        }
        .to_string()
    });
    Ok(List {
        products,
        next_cursor,
    })
}
