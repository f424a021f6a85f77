use std::collections::HashMap;

use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::link::{Durability, Link};
use crate::{Result, SessionError, SessionId};

/// Lines in a cart, at most.
pub const LINES_MAX: usize = 50;
/// Copies of one product in a cart, at most.
pub const QUANTITY_MAX: u32 = 99;
/// A cart that nobody touches is forgotten after this long: half a year for people, a month for guests.
const USER_TTL_SECONDS: i64 = 180 * 24 * 60 * 60;
const GUEST_TTL_SECONDS: i64 = crate::TTL_SECONDS;
/// Cart jobs are repeated for less than this, so the note that one was done may go then.
const ORDER_NOTE_TTL_SECONDS: i64 = 30 * 24 * 60 * 60;

/// A cart is a hash: the product's id to "turn:quantity", and under `turn` the number of the next one, which keeps the
/// order in which lines were added. All writes are scripts, so that two tabs cannot tear a cart.
const SET: &str = include_str!("scripts/set.lua");
const MERGE: &str = include_str!("scripts/merge.lua");
const SUBTRACT: &str = include_str!("scripts/subtract.lua");

/// Whose cart.
#[derive(Debug, Clone)]
pub enum CartOwner {
    /// A person's, the same on every device.
    User(i64),
    /// A guest's, tied to the session.
    Guest(SessionId),
}

/// Some copies of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// Which product.
    pub product_id: i64,
    /// How many copies, 1 to [`QUANTITY_MAX`].
    pub quantity: u32,
}

/// Lines in the order in which they were added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cart {
    /// At most [`LINES_MAX`].
    pub lines: Vec<CartLine>,
}

impl Cart {
    /// How many copies in all: the number on the badge.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.lines.iter().map(|line| line.quantity).sum()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn from_hash(hash: &HashMap<String, String>) -> Self {
        let mut lines: Vec<(u64, CartLine)> = hash
            .iter()
            .filter_map(|(product_id, value)| {
                let (turn, quantity) = value.split_once(':')?;
                let line = CartLine {
                    product_id: product_id.parse().ok()?,
                    quantity: quantity.parse().ok()?,
                };
                Some((turn.parse().ok()?, line))
            })
            .collect();
        lines.sort_unstable_by_key(|(turn, line)| (*turn, line.product_id));
        Self {
            lines: lines.into_iter().map(|(_, line)| line).collect(),
        }
    }
}

/// All carts.
#[derive(Clone)]
pub struct Carts {
    link: Link,
}

impl Carts {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// What is in a cart; nobody's cart is empty.
    ///
    /// # Errors
    /// The store is away.
    pub async fn get(&self, owner: &CartOwner) -> Result<Cart> {
        let mut commands = redis::pipe();
        commands.cmd("HGETALL").arg(self.key(owner));
        let (hash,): (HashMap<String, String>,) = self.link.run(&commands, Durability::Primary).await?;
        Ok(Cart::from_hash(&hash))
    }

    /// Sets how many copies of a product are in a cart; 0 takes it out. Returns the cart after that.
    ///
    /// # Errors
    /// The quantity is too large, the cart is full, or the store is away.
    pub async fn set(&self, owner: &CartOwner, product_id: i64, quantity: u32) -> Result<Cart> {
        if quantity > QUANTITY_MAX {
            return Err(SessionError::InvalidQuantity);
        }
        let mut commands = script(SET, &[&self.key(owner)]);
        commands
            .arg(product_id)
            .arg(quantity)
            .arg(LINES_MAX)
            .arg(ttl_seconds(owner))
            .cmd("HGETALL")
            .arg(self.key(owner));
        let (done, hash): (i64, HashMap<String, String>) = self.link.run(&commands, Durability::Replicated).await?;
        if done == 0 {
            Err(SessionError::CartFull)
        } else {
            Ok(Cart::from_hash(&hash))
        }
    }

    /// Moves a guest's lines into a person's cart, at login. Where both have a product the larger quantity stays, so
    /// that a repeat changes nothing; what doesn't fit is left out.
    ///
    /// # Errors
    /// The store is away.
    pub async fn merge(&self, guest: &SessionId, user_id: i64) -> Result<Cart> {
        let user = CartOwner::User(user_id);
        let mut commands = script(MERGE, &[&self.key(&CartOwner::Guest(guest.clone())), &self.key(&user)]);
        commands
            .arg(LINES_MAX)
            .arg(USER_TTL_SECONDS)
            .ignore()
            .cmd("HGETALL")
            .arg(self.key(&user));
        let (hash,): (HashMap<String, String>,) = self.link.run(&commands, Durability::Replicated).await?;
        Ok(Cart::from_hash(&hash))
    }

    /// Takes an order's lines out of a cart, once per order however often it is asked for. What was added meanwhile
    /// stays. Returns whether this was the time that did it.
    ///
    /// # Errors
    /// The store is away.
    pub async fn subtract(&self, owner: &CartOwner, order_id: i64, lines: &[CartLine]) -> Result<bool> {
        let note = format!("{}cart-order:{order_id}", self.link.key_prefix());
        let mut commands = script(SUBTRACT, &[&self.key(owner), &note]);
        commands.arg(ORDER_NOTE_TTL_SECONDS);
        for line in lines {
            commands.arg(line.product_id).arg(line.quantity);
        }
        let (done,): (i64,) = self.link.run(&commands, Durability::Replicated).await?;
        Ok(done == 1)
    }

    fn key(&self, owner: &CartOwner) -> String {
        let prefix = self.link.key_prefix();
        match owner {
            CartOwner::User(id) => format!("{prefix}cart:user:{id}"),
            CartOwner::Guest(session) => format!("{prefix}cart:guest:{}", session.hash()),
        }
    }
}

fn ttl_seconds(owner: &CartOwner) -> i64 {
    match owner {
        CartOwner::User(_) => USER_TTL_SECONDS,
        CartOwner::Guest(_) => GUEST_TTL_SECONDS,
    }
}

/// The scripts are short enough to be sent each time, which spares the case of a primary that doesn't know them yet.
fn script(text: &str, keys: &[&str]) -> Pipeline {
    let mut commands = redis::pipe();
    commands.cmd("EVAL").arg(text).arg(keys.len()).arg(keys);
    commands
}
