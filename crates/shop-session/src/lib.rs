//! Sessions and carts, kept in Redis behind Sentinel.
//!
//! A session is an opaque 256-bit id in a cookie; Redis knows it only by its hash. Logins and cart writes
//! are acknowledged by a replica before they are answered (`WAIT`, on the very connection that wrote), so that the loss
//! of the primary loses neither. Redis itself calls this best effort: see [`Sessions`].
//!
//! Every operation either sets a value or carries an id, so that repeating it after an unknown outcome is harmless;
//! that is why all of them are tried again, on whoever is primary by then, until a deadline.

mod cart;
mod config;
mod id;
mod link;
mod session;

pub use cart::{Cart, CartLine, CartOwner, Carts, LINES_MAX, QUANTITY_MAX};
pub use config::SessionArgs;
pub use id::{InvalidSessionId, SessionId};
pub use session::{Loaded, Role, Session, SessionUser, Sessions, TTL_SECONDS};

/// Why sessions or carts could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No primary answered before the deadline.
    #[error("the session store did not answer within its deadline")]
    Unavailable(#[source] Option<redis::RedisError>),
    /// Redis refused the command itself; trying again would not help.
    #[error("the session store refused a command")]
    Refused(#[source] redis::RedisError),
    /// What Redis holds under this key is not what this program wrote.
    #[error("a stored session cannot be read")]
    Corrupt(#[source] serde_json::Error),
    /// A cart holds at most [`LINES_MAX`] lines.
    #[error("the cart is full")]
    CartFull,
    /// A quantity is at most [`QUANTITY_MAX`].
    #[error("the quantity is not between 0 and {QUANTITY_MAX}")]
    InvalidQuantity,
}

/// Result of an operation on sessions or carts.
pub type Result<T> = std::result::Result<T, SessionError>;
