//! Products as customers see them.

use serde::{Deserialize, Serialize};
use shop_web::money::Cents;
use shop_web::photo::Photo;

/// A print for sale. Its stock is apart, because it changes with every sale and this does not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    pub id: i64,
    pub category: String,
    pub title: String,
    pub artist: String,
    pub year: i16,
    pub technique: String,
    pub description: String,
    pub price_cents: i64,
    /// None is an open edition.
    pub edition_size: Option<i32>,
    pub photo: Option<Photo>,
}

/// A room of the gallery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    pub slug: String,
    pub name: String,
    pub description: String,
}

impl Product {
    /// The price of one copy.
    pub fn price(&self) -> Cents {
        Cents(self.price_cents)
    }

    /// What those hear who can't see the picture.
    pub fn alt(&self) -> String {
        format!("{}, {} by {}", self.title, self.technique, self.artist)
    }
}

impl Category {
    /// The path of its page.
    pub fn path(&self) -> String {
        format!("/categories/{}", self.slug)
    }
}

/// What can be bought of a product now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    pub product_id: i64,
    pub available: i64,
    pub edition_size: Option<i32>,
}

/// All counters of a product's stock; `initial = available + reserved + sold` always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    pub product_id: i64,
    pub initial: i64,
    pub available: i64,
    pub reserved: i64,
    pub sold: i64,
}
