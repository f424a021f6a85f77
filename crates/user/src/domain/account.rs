use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use shop_db::slot_of;

use super::{Invalid, single_line};

/// A user's id; it carries the slot, and so the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub i64);

impl UserId {
    pub fn slot(self) -> u16 {
        slot_of(self.0)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An e-mail address as we compare it: trimmed and in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(String);

impl Email {
    const BYTES_MAX: usize = 254;

    /// Only the shape is checked: whether the address exists, nobody can tell but its owner.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        const MESSAGE: Invalid = Invalid("This does not look like an e-mail address.");
        let email = text.trim().to_lowercase();
        let (local, host) = email.rsplit_once('@').ok_or(MESSAGE)?;
        let shaped = !local.is_empty()
            && !local.contains('@')
            && host.contains('.')
            && host.split('.').all(|label| !label.is_empty())
            && email.len() <= Self::BYTES_MAX
            && !email.chars().any(|c| c.is_whitespace() || c.is_control());
        if shaped { Ok(Self(email)) } else { Err(MESSAGE) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The slot that holds this address in the table `emails`.
    pub fn slot(&self) -> u16 {
        shop_db::slot_of_key(self.0.as_bytes())
    }
}

/// How a person wants to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountName(String);

impl AccountName {
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        single_line(text, 100, "Please give a name of at most 100 characters.").map(Self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A password as typed. The upper bound keeps a hash's cost bounded.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    const CHARS_MIN: usize = 8;
    const BYTES_MAX: usize = 256;

    /// A password that somebody wants to have.
    pub fn parse_new(text: String) -> Result<Self, Invalid> {
        if text.chars().count() < Self::CHARS_MIN {
            return Err(Invalid("A password needs at least 8 characters."));
        }
        Self::parse_attempt(text).ok_or(Invalid("A password may have at most 256 bytes."))
    }

    /// A password that somebody tries. What is too long to be anybody's is none.
    pub fn parse_attempt(text: String) -> Option<Self> {
        (text.len() <= Self::BYTES_MAX).then(|| Self(text.into()))
    }

    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_is_compared_without_case_and_blanks() {
        let email = Email::parse("  Ada@Example.ORG ").unwrap();
        assert_eq!(email.as_str(), "ada@example.org");
    }

    #[test]
    fn what_is_no_email_is_refused() {
        let long = format!("{}@example.org", "a".repeat(250));
        for text in [
            "",
            "ada",
            "@example.org",
            "ada@",
            "ada@example",
            "a b@example.org",
            "a@b@example.org",
            "ada@.org",
            &long,
        ] {
            assert!(Email::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn passwords_have_a_least_and_a_greatest_length() {
        assert!(Password::parse_new("1234567".into()).is_err());
        assert!(Password::parse_new("12345678".into()).is_ok());
        assert!(Password::parse_new("a".repeat(257)).is_err());
        assert!(Password::parse_attempt("short".into()).is_some());
    }

    #[test]
    fn a_password_does_not_show_in_debug_output() {
        let password = Password::parse_new("open sesame".into()).unwrap();
        assert!(!format!("{password:?}").contains("sesame"));
    }
}
