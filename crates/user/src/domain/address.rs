use super::{Invalid, single_line};

/// Where an order goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    recipient: String,
    street: String,
    postcode: String,
    city: String,
    country: String,
}

impl Address {
    pub fn parse(recipient: &str, street: &str, postcode: &str, city: &str, country: &str) -> Result<Self, Invalid> {
        Ok(Self {
            recipient: single_line(
                recipient,
                100,
                "Please say who receives the parcel (at most 100 characters).",
            )?,
            street: single_line(street, 200, "Please give a street and number (at most 200 characters).")?,
            postcode: single_line(postcode, 20, "Please give a postcode (at most 20 characters).")?,
            city: single_line(city, 100, "Please give a city (at most 100 characters).")?,
            country: single_line(country, 100, "Please give a country (at most 100 characters).")?,
        })
    }

    pub fn recipient(&self) -> &str {
        &self.recipient
    }

    pub fn street(&self) -> &str {
        &self.street
    }

    pub fn postcode(&self) -> &str {
        &self.postcode
    }

    pub fn city(&self) -> &str {
        &self.city
    }

    pub fn country(&self) -> &str {
        &self.country
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_all_its_parts() {
        assert!(Address::parse("Ada", "Main 1", "1010", "Vienna", "Austria").is_ok());
        assert!(Address::parse("Ada", " ", "1010", "Vienna", "Austria").is_err());
        assert!(
            Address::parse("Ada", "Main 1", "1010", "Vienna\n", "Austria").is_ok(),
            "blanks at the end are cut off"
        );
        assert!(Address::parse("Ada\u{7}B", "Main 1", "1010", "Vienna", "Austria").is_err());
        assert!(Address::parse("Ada", "Main 1", &"1".repeat(21), "Vienna", "Austria").is_err());
    }
}
