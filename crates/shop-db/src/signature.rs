//! Positions in a browser's hands: signed, so that nobody can send all their reads to the primary.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::Position;

/// Half of the code is kept: 128 bits, which nobody guesses within a cookie's minute.
const CODE_BYTES: usize = 16;

/// The key that a position is signed with; the same for all instances of a service.
#[derive(Clone)]
pub struct PositionKey(Hmac<Sha256>);

impl PositionKey {
    /// A key made of a secret of any length.
    pub fn new(secret: &str) -> Self {
        // HMAC takes keys of any length; that it could fail is only in the trait's signature.
        match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
            Ok(code) => Self(code),
            Err(_) => unreachable!("HMAC takes keys of any length"),
        }
    }

    /// The value of a cookie that says: up to `expires_unix`, reads of `cluster` must see `position`.
    pub fn sign(&self, cluster: &str, position: Position, expires_unix: u64) -> String {
        let code = self.code(cluster, position, expires_unix).finalize().into_bytes();
        format!(
            "{position}.{expires_unix}.{}",
            URL_SAFE_NO_PAD.encode(&code[..CODE_BYTES])
        )
    }

    /// The position in a cookie's value, if it is ours, for this cluster, and not expired.
    pub fn verify(&self, cluster: &str, value: &str, now_unix: u64) -> Option<Position> {
        let mut parts = value.splitn(3, '.');
        let position: Position = parts.next()?.parse().ok()?;
        let expires_unix: u64 = parts.next()?.parse().ok()?;
        let code = URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        if expires_unix < now_unix || code.len() != CODE_BYTES {
            return None;
        }
        self.code(cluster, position, expires_unix)
            .verify_truncated_left(&code)
            .ok()
            .map(|()| position)
    }

    fn code(&self, cluster: &str, position: Position, expires_unix: u64) -> Hmac<Sha256> {
        let mut code = self.0.clone();
        code.update(format!("{cluster}|{position}|{expires_unix}").as_bytes());
        code
    }
}

impl std::fmt::Debug for PositionKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PositionKey(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: Position = Position {
        timeline: 3,
        lsn: 0x16b_3748,
    };

    #[test]
    fn a_signed_position_comes_back_until_it_expires() {
        let key = PositionKey::new("key");
        let value = key.sign("inventory", POSITION, 1000);
        assert_eq!(key.verify("inventory", &value, 1000), Some(POSITION));
        assert_eq!(key.verify("inventory", &value, 1001), None);
    }

    #[test]
    fn nothing_in_a_signed_position_can_be_changed() {
        let key = PositionKey::new("key");
        let value = key.sign("inventory", POSITION, 1000);
        assert_eq!(key.verify("users.main", &value, 0), None, "another cluster");
        assert_eq!(
            PositionKey::new("other").verify("inventory", &value, 0),
            None,
            "another key"
        );
        assert_eq!(
            key.verify("inventory", &value.replacen('3', "4", 1), 0),
            None,
            "another timeline"
        );
        assert_eq!(
            key.verify("inventory", &value.replace(".1000.", ".9000."), 0),
            None,
            "a longer life"
        );
        let shortened = &value[..value.len() - 4];
        assert_eq!(key.verify("inventory", shortened, 0), None, "a shorter code");
        for nonsense in ["", ".", "..", "3-1", "3-1.5", "3-1.5.", "3-1.5.!!!"] {
            assert_eq!(key.verify("inventory", nonsense, 0), None, "{nonsense:?}");
        }
    }
}
