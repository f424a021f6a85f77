//! Parsed values. What has one of these types has been checked, and nothing here does I/O.

mod account;
mod address;
mod card;
mod key;
mod order;

pub use account::{AccountName, Email, Password, UserId};
pub use address::Address;
pub use card::{CardDetails, CardToken};
pub use key::RequestHash;
pub use order::{OrderId, OrderState, Reason};
pub use shop_web::idempotency::IdempotencyKey;

/// Why a value was refused, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub &'static str);

/// Trims, and refuses what is empty, longer than `chars_max`, or holds control characters.
fn single_line(text: &str, chars_max: usize, message: &'static str) -> Result<String, Invalid> {
    let text = text.trim();
    if text.is_empty() || text.chars().count() > chars_max || text.chars().any(char::is_control) {
        return Err(Invalid(message));
    }
    Ok(text.to_owned())
}
