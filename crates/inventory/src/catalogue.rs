//! Reading the catalogue, through the cache. Every function says with `after` what it may not be older than: nothing for
//! most visitors, the position of their last write for those who wrote.

use std::collections::HashMap;

use shop_cache::Loaded;
use shop_db::{Freshness, Position, ReadConn};
use shop_web::consistency::Consistency;
use sqlx::PgConnection;

use crate::cached::{CategoriesKey, List, ListKey, ListStockKey, ProductKey, StockKey};
use crate::domain::cursor::Cursor;
use crate::domain::product::{Category, Product, Stock};
use crate::error::{Error, Result};
use crate::queries;
use crate::state::{AppState, CATALOGUE, INVENTORY};

/// Reads from a host that has seen `after`, and says how fresh it was at least.
pub async fn read<T, Fut>(app: &AppState, after: Option<Position>, query: impl Fn(ReadConn) -> Fut) -> Result<Loaded<T>>
where
    Fut: Future<Output = sqlx::Result<Option<T>>>,
{
    let loaded = app.db.reading(Freshness::from(after), async |conn| {
        let position = Some(conn.position());
        let value = query(conn).await?;
        Ok(Loaded { value, position })
    });
    Ok(loaded.await?)
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
        read(app, after, async |mut conn| {
            queries::products::find(&mut conn, id).await
        })
    };
    let found = app.cache.get(&ProductKey(id), after, load).await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// What is left of a product.
pub async fn stock(app: &AppState, id: i64, after: Option<Position>) -> Result<Stock> {
    let load = || read(app, after, async |mut conn| queries::stock::find(&mut conn, id).await);
    let found = app.cache.get(&StockKey(id), after, load).await?;
    found.ok_or(Error::UnknownProduct(id))
}

/// A page of products.
pub async fn list(app: &AppState, key: &ListKey, after: Option<Position>) -> Result<List> {
    let place = Place::of(key)?;
    let load = || {
        read(app, after, async |mut conn| {
            load_list(&mut conn, key, place).await.map(Some)
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
        read(app, after, async |mut conn| {
            queries::stock::available(&mut conn, &ids).await.map(Some)
        })
    };
    let key = ListStockKey(ids.clone());
    let found = app.cache.get(&key, after, load).await?;
    Ok(found.unwrap_or_default())
}

/// The menu.
pub async fn categories(app: &AppState) -> Result<Vec<Category>> {
    let load = || {
        read(app, None, async |mut conn| {
            queries::categories::all(&mut conn).await.map(Some)
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

/// Where in a list its page begins.
#[derive(Copy, Clone)]
enum Place {
    /// After the product with this id.
    After(i64),
    /// In a search, after this rank and id.
    Ranked(Option<(f32, i64)>),
}

impl Place {
    /// A cursor belongs to the kind of list that gave it.
    fn of(key: &ListKey) -> Result<Self> {
        match (&key.words, key.cursor) {
            (Some(_), None) => Ok(Self::Ranked(None)),
            (Some(_), Some(Cursor::Ranked { rank, product_id })) => Ok(Self::Ranked(Some((rank, product_id)))),
            (None, None) => Ok(Self::After(0)),
            (None, Some(Cursor::After { product_id })) => Ok(Self::After(product_id)),
            _ => Err(Error::InvalidCursor),
        }
    }
}

async fn load_list(conn: &mut PgConnection, key: &ListKey, place: Place) -> sqlx::Result<List> {
    // One more than asked for says whether there is a next page.
    let limit = key.limit + 1;
    let shown = usize::try_from(key.limit).unwrap_or(0);
    let category = key.category.as_deref();
    let mut hits: Vec<(Product, Cursor)> = match place {
        Place::Ranked(after) => {
            let words = key.words.as_deref().unwrap_or_default();
            queries::products::search(conn, words, category, after, limit).await?
        }
        Place::After(after) => {
            let products = queries::products::page(conn, category, after, limit).await?;
            let with_cursor = |product: Product| {
                let cursor = Cursor::After { product_id: product.id };
                (product, cursor)
            };
            products.into_iter().map(with_cursor).collect()
        }
    };
    let more = hits.len() > shown;
    hits.truncate(shown);
    let next_cursor = hits.last().filter(|_| more).map(|(_, cursor)| cursor.to_string());
    let products = hits.into_iter().map(|(product, _)| product).collect();
    Ok(List { products, next_cursor })
}
