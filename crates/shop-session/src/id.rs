use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::TryRng as _;
use sha2::{Digest as _, Sha256};

/// The secret that a browser holds: 256 random bits, base64url in the cookie.
///
/// Redis knows it only by its SHA-256, so that whoever reads the store cannot take over a session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

/// The cookie did not hold a session id.
#[derive(Debug, thiserror::Error)]
#[error("not a session id")]
pub struct InvalidSessionId;

impl SessionId {
    /// A new id from the system's random source.
    pub(crate) fn random() -> Result<Self, rand::rngs::SysError> {
        let mut bytes = [0; 32];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The value of the cookie.
    #[must_use]
    pub fn to_cookie(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the store knows this session by.
    #[must_use]
    pub fn hash(&self) -> String {
        hex::encode(Sha256::digest(self.0))
    }
}

impl std::str::FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(cookie: &str) -> Result<Self, InvalidSessionId> {
        let bytes = URL_SAFE_NO_PAD.decode(cookie).map_err(|_| InvalidSessionId)?;
        Ok(Self(bytes.try_into().map_err(|_| InvalidSessionId)?))
    }
}

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_way_through_a_cookie() {
        let id = SessionId::random().expect("the system has randomness");
        assert_eq!(id, id.to_cookie().parse().expect("own cookie parses"));
    }

    #[test]
    fn what_is_not_32_bytes_of_base64url_is_no_id() {
        for cookie in ["", "abc", "=", "ä", &"A".repeat(44), &"A".repeat(10_000)] {
            assert!(cookie.parse::<SessionId>().is_err(), "{cookie}");
        }
    }

    #[test]
    fn neither_the_hash_nor_the_debug_form_gives_the_cookie_away() {
        let id = SessionId::random().expect("the system has randomness");
        assert!(!id.hash().contains(&id.to_cookie()));
        assert!(!format!("{id:?}").contains(&id.to_cookie()));
    }
}
