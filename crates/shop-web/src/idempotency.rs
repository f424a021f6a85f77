//! The header `Idempotency-Key`, and its twin in forms: what a client calls one attempt to do something, so that asking
//! again does it no second time.

use http::HeaderMap;
use uuid::Uuid;

const HEADER: &str = "idempotency-key";
const BYTES_MAX: usize = 64;

/// A key of the client's own choice. It means something only together with the user whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Why a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to {BYTES_MAX} visible ASCII characters, and there is one")]
pub struct InvalidKey;

impl IdempotencyKey {
    /// A new one, for a form.
    pub fn random() -> Self {
        Self(Uuid::new_v4().to_string())
    }

    /// What a client sent.
    pub fn parse(text: &str) -> Result<Self, InvalidKey> {
        if (1..=BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidKey)
        }
    }

    /// The one in a request's header, if it has any.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>, InvalidKey> {
        let mut keys = headers.get_all(HEADER).iter();
        match (keys.next(), keys.next()) {
            (None, _) => Ok(None),
            (Some(key), None) => Self::parse(key.to_str().map_err(|_| InvalidKey)?).map(Some),
            (Some(_), Some(_)) => Err(InvalidKey),
        }
    }

    /// As it was sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii() {
        for text in ["", "with blank", "kéy", "tab\t", &"k".repeat(65)] {
            assert!(IdempotencyKey::parse(text).is_err(), "{text}");
        }
        assert!(IdempotencyKey::parse(&"k".repeat(64)).is_ok());
        assert!(IdempotencyKey::parse(IdempotencyKey::random().as_str()).is_ok());
    }

    #[test]
    fn a_request_has_one_key_or_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(IdempotencyKey::of(&headers), Ok(None));
        headers.append(HEADER, "a".parse().unwrap());
        assert_eq!(IdempotencyKey::of(&headers).unwrap().unwrap().as_str(), "a");
        headers.append(HEADER, "a".parse().unwrap());
        assert_eq!(IdempotencyKey::of(&headers), Err(InvalidKey));
    }
}
