//! Where a page of a list ends, as an opaque text that a client hands back for the next one.

use std::fmt;
use std::str::FromStr;

/// The last product of a page. Lists are sorted by product id; search results by rank first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cursor {
    /// `p-120`
    After { product_id: i64 },
    /// `r-3f4ccccd-120`: the rank's bits, so that it compares exactly.
    Ranked { rank: f32, product_id: i64 },
}

/// A text that no page of ours ever carried.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("this is not a cursor of ours")]
pub struct InvalidCursor;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After { product_id } => write!(f, "p-{product_id}"),
            Self::Ranked { rank, product_id } => {
                write!(f, "r-{:08x}-{product_id}", rank.to_bits())
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let id = |digits: &str| digits.parse().ok().filter(|id| *id > 0).ok_or(InvalidCursor);
        let mut parts = text.split('-');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("p"), Some(digits), None, None) => Ok(Self::After {
                product_id: id(digits)?,
            }),
            (Some("r"), Some(bits), Some(digits), None) => {
                let bits = u32::from_str_radix(bits, 16).map_err(|_| InvalidCursor)?;
                let rank = f32::from_bits(bits);
                if !rank.is_finite() {
                    return Err(InvalidCursor);
                }
                Ok(Self::Ranked {
                    rank,
                    product_id: id(digits)?,
                })
            }
            _ => Err(InvalidCursor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_went_out() {
        for cursor in [
            Cursor::After { product_id: 120 },
            Cursor::Ranked {
                rank: 0.075_990_885,
                product_id: i64::MAX,
            },
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn texts_that_are_no_cursors_are_refused() {
        for text in [
            "",
            "p",
            "p-",
            "p-0",
            "p--1",
            "p-1-2",
            "r-1",
            "r-zz-1",
            "r-7fc00000-1",
            "r-3f4ccccd-1-1",
            "x-1",
            "p-99999999999999999999",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
