//! Amounts of money.

use serde::{Deserialize, Serialize};

/// An amount in euro cents, VAT included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cents(pub i64);

impl std::fmt::Display for Cents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = (self.0.unsigned_abs() / 100).to_string();
        let mut euros = String::with_capacity(digits.len() + digits.len() / 3);
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                euros.push(',');
            }
            euros.push(digit);
        }
        let sign = if self.0 < 0 { "-" } else { "" };
        // The space must not break.
        write!(f, "{sign}€\u{a0}{euros}.{:02}", self.0.unsigned_abs() % 100)
    }
}

impl std::iter::Sum for Cents {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.fold(0, |total, amount| total.saturating_add(amount.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::Cents;

    #[test]
    fn amounts_read_as_on_a_price_tag() {
        let shown = |cents| Cents(cents).to_string().replace('\u{a0}', " ");
        assert_eq!(shown(12_000), "€ 120.00");
        assert_eq!(shown(5), "€ 0.05");
        assert_eq!(shown(-123_456_789), "-€ 1,234,567.89");
        assert_eq!(shown(i64::MIN), "-€ 92,233,720,368,547,758.08");
    }
}
