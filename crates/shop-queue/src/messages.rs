//! All messages, so that both ends share one definition.

use serde::{Deserialize, Serialize};

use crate::Message;

/// Make the variants of a photo's version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhotoProcess {
    /// The photo.
    pub photo_id: i64,
    /// Its version: a later one makes this message void.
    pub version: i32,
    /// Where the original is in the object store.
    pub original_key: String,
    /// What the shopkeeper wants done to it.
    #[serde(default)]
    pub edits: PhotoEdits,
}

impl Message for PhotoProcess {
    const KEY: &'static str = "photo.process";
    const VERSION: u32 = 1;
}

/// Changes to a picture. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhotoEdits {
    /// The part to keep; all of it if there is none.
    #[serde(default)]
    pub crop: Option<Crop>,
    /// How much to sharpen, from 0 to 1.
    #[serde(default)]
    pub sharpen: f32,
    /// How much to blur, from 0 to 1.
    #[serde(default)]
    pub blur: f32,
}

/// A rectangle in a picture, each number as a part of the picture's width or height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Crop {
    /// The left edge.
    pub x: f32,
    /// The upper edge.
    pub y: f32,
    /// The width.
    pub width: f32,
    /// The height.
    pub height: f32,
}

/// An order was confirmed. News for whoever wants it: nobody has to listen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderConfirmed {
    /// The order.
    pub order_id: i64,
    /// Whose it is.
    pub user_id: i64,
    /// What was paid.
    pub total_cents: i64,
    /// What was bought.
    pub lines: Vec<OrderConfirmedLine>,
}

/// A line of a confirmed order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderConfirmedLine {
    /// The product.
    pub product_id: i64,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub price_cents: i64,
}

impl Message for OrderConfirmed {
    const KEY: &'static str = "order.confirmed";
    const VERSION: u32 = 1;
    const MUST_BE_ROUTED: bool = false;
}
