//! What is cached, under which key and for how long. Stock has keys of its own that live a second, so that a flash sale
//! does not push a product's words and picture out.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use shop_cache::{Key, Policy};

use crate::domain::cursor::Cursor;
use crate::domain::product::{Category, Product, Stock};

/// Words and pictures change when the shopkeeper says so, and then the key is dropped.
const PRODUCT_TTL: Duration = Duration::from_secs(60);
/// Nothing drops the key of a list, since nobody knows which lists a product is in.
const LIST_TTL: Duration = Duration::from_secs(5);
const CATEGORIES_TTL: Duration = Duration::from_secs(30);
/// Shorter than a customer needs to decide, and long enough that a crowd reads a row once a second.
const STOCK_POLICY: Policy = Policy {
    ttl: Duration::from_secs(1),
    jitter: 0.1,
    absent_ttl: Duration::from_secs(5),
    local_ttl: Duration::from_millis(300),
};

/// A product by its id.
pub struct ProductKey(pub i64);

impl Key for ProductKey {
    type Value = Product;
    const NAMESPACE: &'static str = "product-1";

    fn id(&self) -> String {
        self.0.to_string()
    }

    fn policy(&self) -> Policy {
        Policy::new(PRODUCT_TTL)
    }
}

/// A product's stock.
pub struct StockKey(pub i64);

impl Key for StockKey {
    type Value = Stock;
    const NAMESPACE: &'static str = "stock-1";

    fn id(&self) -> String {
        self.0.to_string()
    }

    fn policy(&self) -> Policy {
        STOCK_POLICY
    }
}

/// What is available of each product of a list.
pub struct ListStockKey(pub Vec<i64>);

impl Key for ListStockKey {
    type Value = HashMap<i64, i64>;
    const NAMESPACE: &'static str = "list-stock-1";

    fn id(&self) -> String {
        let ids: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        ids.join(",")
    }

    fn policy(&self) -> Policy {
        STOCK_POLICY
    }
}

/// The menu.
pub struct CategoriesKey;

impl Key for CategoriesKey {
    type Value = Vec<Category>;
    const NAMESPACE: &'static str = "categories-1";

    fn id(&self) -> String {
        String::new()
    }

    fn policy(&self) -> Policy {
        Policy::new(CATEGORIES_TTL)
    }
}

/// A page of products as it was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct ListKey {
    pub category: Option<String>,
    pub words: Option<String>,
    pub cursor: Option<Cursor>,
    pub limit: i64,
}

/// Products in order, and where the next page starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct List {
    pub products: Vec<Product>,
    pub next_cursor: Option<String>,
}

impl Key for ListKey {
    type Value = List;
    const NAMESPACE: &'static str = "list-1";

    /// Words are what a customer typed: they come last, where they can't be mistaken for another part.
    fn id(&self) -> String {
        format!(
            "{}/{}/{}/{}",
            self.category.as_deref().unwrap_or("*"),
            self.cursor
                .map_or_else(|| "start".to_owned(), |cursor| cursor.to_string()),
            self.limit,
            self.words.as_deref().unwrap_or(""),
        )
    }

    fn policy(&self) -> Policy {
        Policy::new(LIST_TTL)
    }
}
