use super::Invalid;

/// A card as typed. It lives for one request: the gateway turns it into a token, and only that goes on.
pub struct CardDetails {
    number: String,
}

impl CardDetails {
    pub fn parse(number: &str, expiry: &str, cvc: &str) -> Result<Self, Invalid> {
        let number: String = number.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if !(12..=19).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Invalid("A card number has 12 to 19 digits."));
        }
        if !is_expiry(expiry.trim()) {
            return Err(Invalid("The expiry date is written MM/YY."));
        }
        let cvc = cvc.trim();
        if !(3..=4).contains(&cvc.len()) || !cvc.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Invalid("The security code has 3 or 4 digits."));
        }
        Ok(Self { number })
    }

    pub fn number(&self) -> &str {
        &self.number
    }
}

fn is_expiry(text: &str) -> bool {
    let Some((month, year)) = text.split_once('/') else {
        return false;
    };
    let (month, year) = (month.trim(), year.trim());
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    two_digits(month) && two_digits(year) && matches!(month.parse(), Ok(1..=12u8))
}

/// What stands for a card at the sandbox gateway. It says how the card behaves, and holds nothing of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CardToken {
    Pays,
    Declined,
    /// Captured, but the answer never comes.
    TimesOut,
    /// Captured after some seconds, and answered then.
    AnswersLate,
}

impl CardToken {
    const ALL: [Self; 4] = [Self::Pays, Self::Declined, Self::TimesOut, Self::AnswersLate];

    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|token| token.as_str() == text);
        known.ok_or(Invalid("This card token is unknown."))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pays => "tok_pays",
            Self::Declined => "tok_declined",
            Self::TimesOut => "tok_times_out",
            Self::AnswersLate => "tok_answers_late",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_checked_for_its_shape() {
        assert_eq!(
            CardDetails::parse("4242 4242 4242 4242", "12/30", "123")
                .ok()
                .unwrap()
                .number(),
            "4242424242424242"
        );
        for (number, expiry, cvc) in [
            ("4242", "12/30", "123"),
            ("4242x24242424242", "12/30", "123"),
            ("4242424242424242", "13/30", "123"),
            ("4242424242424242", "1230", "123"),
            ("4242424242424242", "12/30", "12"),
            ("4242424242424242", "12/30", "abc"),
        ] {
            assert!(
                CardDetails::parse(number, expiry, cvc).is_err(),
                "{number} {expiry} {cvc}"
            );
        }
    }

    #[test]
    fn every_token_is_read_back() {
        for token in CardToken::ALL {
            assert_eq!(CardToken::parse(token.as_str()), Ok(token));
        }
        assert!(CardToken::parse("tok_else").is_err());
    }
}
