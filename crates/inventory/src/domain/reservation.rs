//! What an order asks of the stock, and what it may be told.

use serde::{Deserialize, Serialize};

/// Most lines that one order may reserve; a cart holds no more.
pub const LINES_MAX: usize = 50;
/// Most copies of one product in one order.
pub const QUANTITY_MAX: i32 = 99;

/// So many copies of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub product_id: i64,
    pub quantity: i32,
}

/// An order's lines: at least one, each product once, sorted by product.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Line>")]
pub struct Lines(Vec<Line>);

/// Why lines were refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLines {
    #[error("an order needs between 1 and {LINES_MAX} lines")]
    Count,
    #[error("a product's id is a positive number")]
    Product,
    #[error("a quantity is between 1 and {QUANTITY_MAX}")]
    Quantity,
    #[error("a product may be named only once")]
    Repeated,
}

impl TryFrom<Vec<Line>> for Lines {
    type Error = InvalidLines;

    fn try_from(mut lines: Vec<Line>) -> Result<Self, InvalidLines> {
        if lines.is_empty() || lines.len() > LINES_MAX {
            return Err(InvalidLines::Count);
        }
        if lines.iter().any(|line| line.product_id < 1) {
            return Err(InvalidLines::Product);
        }
        if lines.iter().any(|line| !(1..=QUANTITY_MAX).contains(&line.quantity)) {
            return Err(InvalidLines::Quantity);
        }
        lines.sort_by_key(|line| line.product_id);
        if lines.windows(2).any(|pair| pair[0].product_id == pair[1].product_id) {
            return Err(InvalidLines::Repeated);
        }
        Ok(Self(lines))
    }
}

impl std::ops::Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.0
    }
}

/// Where a reservation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Reserved,
    Sold,
    Released,
}

/// A product of which there is less than was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Shortage {
    pub product_id: i64,
    pub available: i64,
}

/// Answer to a reserve.
#[derive(Debug, PartialEq, Eq)]
pub enum Reserve {
    /// All lines are held; of the `emptied` products nothing is left for others.
    Reserved {
        emptied: Vec<i64>,
    },
    SoldOut(Vec<Shortage>),
    /// The order was released before: it can't reserve any more.
    Released,
    /// The order holds other lines than it asks for now.
    Different,
}

/// Answer to a sell.
#[derive(Debug, PartialEq, Eq)]
pub enum Sell {
    Sold,
    NotReserved,
}

/// Answer to a release.
#[derive(Debug, PartialEq, Eq)]
pub enum Release {
    /// Nothing is held any more; the `refilled` products were sold out and are not now.
    Released {
        refilled: Vec<i64>,
    },
    AlreadySold,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pairs: &[(i64, i32)]) -> Result<Lines, InvalidLines> {
        Lines::try_from(
            pairs
                .iter()
                .map(|&(product_id, quantity)| Line { product_id, quantity })
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn lines_are_sorted_by_product_whatever_their_order() {
        let sorted = lines(&[(9, 1), (2, 3)]).expect("two good lines");
        assert_eq!(sorted[0].product_id, 2);
        assert_eq!(sorted[1].product_id, 9);
    }

    #[test]
    fn lines_that_make_no_order_are_refused() {
        assert_eq!(lines(&[]), Err(InvalidLines::Count));
        assert_eq!(lines(&[(0, 1)]), Err(InvalidLines::Product));
        assert_eq!(lines(&[(1, 0)]), Err(InvalidLines::Quantity));
        assert_eq!(lines(&[(1, 100)]), Err(InvalidLines::Quantity));
        assert_eq!(lines(&[(1, 1), (1, 2)]), Err(InvalidLines::Repeated));
        let many: Vec<(i64, i32)> = (1..=51).map(|id| (id, 1)).collect();
        assert_eq!(lines(&many), Err(InvalidLines::Count));
    }
}
