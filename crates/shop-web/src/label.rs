//! What the wall says about a print.

use crate::money::Cents;

/// A wall label, as in a museum; `_label.html` shows it.
#[derive(Debug, Clone)]
pub struct WallLabel {
    /// In italics.
    pub title: String,
    /// Who made it.
    pub artist: String,
    /// When.
    pub year: i32,
    /// How.
    pub technique: String,
    /// How many copies there ever are; none for an open edition.
    pub edition_size: Option<i64>,
    /// How many can be bought now.
    pub available: i64,
    /// For one copy.
    pub price: Cents,
}

impl WallLabel {
    /// How many are left, in words.
    #[must_use]
    pub fn edition(&self) -> String {
        edition(self.edition_size, self.available)
    }

    /// Whether nobody can buy it now.
    #[must_use]
    pub fn is_sold_out(&self) -> bool {
        self.available <= 0
    }
}

fn edition(edition_size: Option<i64>, available: i64) -> String {
    match edition_size {
        _ if available <= 0 => "Sold out".to_owned(),
        None => "Open edition".to_owned(),
        Some(size) if available >= size => format!("Edition of {size}"),
        Some(1) => "The only one".to_owned(),
        Some(size) => format!("{available} of {size} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::edition;

    #[test]
    fn an_edition_is_told_in_words() {
        assert_eq!(edition(Some(50), 12), "12 of 50 left");
        assert_eq!(edition(Some(50), 50), "Edition of 50");
        assert_eq!(edition(Some(50), 0), "Sold out");
        assert_eq!(edition(None, 400_000), "Open edition");
        assert_eq!(edition(None, 0), "Sold out");
    }
}
