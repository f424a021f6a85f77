use sha2::{Digest, Sha256};

use super::{Address, CardToken};

/// What was asked for under a key: the same key with another hash is a mistake of the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHash([u8; 32]);

impl RequestHash {
    /// Over what the customer decided, as parsed: neither spelling of the request nor the cart's state at the moment
    /// counts. `lines` are those that the request itself names. Every part carries its length, so that parts can't run together.
    pub fn of(address: &Address, card: CardToken, lines: Option<&[(i64, u32)]>) -> Self {
        let mut hash = Sha256::new();
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for text in [
            address.recipient(),
            address.street(),
            address.postcode(),
            address.city(),
            address.country(),
            card.as_str(),
        ] {
            part(text.as_bytes());
        }
        for (product_id, quantity) in lines.unwrap_or_default() {
            part(&product_id.to_be_bytes());
            part(&quantity.to_be_bytes());
        }
        Self(hash.finalize().into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(street: &str, postcode: &str) -> Address {
        Address::parse("Ada", street, postcode, "Vienna", "Austria").unwrap()
    }

    #[test]
    fn the_hash_tells_requests_apart() {
        let hash = RequestHash::of(&address("Main 1", "1010"), CardToken::Pays, None);
        assert_eq!(
            hash,
            RequestHash::of(&address(" Main 1", "1010"), CardToken::Pays, None)
        );
        assert_ne!(
            hash,
            RequestHash::of(&address("Main 1", "1010"), CardToken::Declined, None)
        );
        assert_ne!(hash, RequestHash::of(&address("Main 11", "010"), CardToken::Pays, None));
        assert_ne!(
            hash,
            RequestHash::of(&address("Main 1", "1010"), CardToken::Pays, Some(&[(1, 1)]))
        );
    }
}
