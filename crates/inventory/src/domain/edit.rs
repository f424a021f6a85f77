//! What the shopkeeper may change, as it comes out of a form.

use shop_queue::messages::{Crop, PhotoEdits};

/// Highest price of a print, in cents.
pub const PRICE_CENTS_MAX: i64 = 100_000_000;
/// Longest title, in characters.
pub const TITLE_CHARACTERS_MAX: usize = 200;
/// Most copies that come in, or are taken out, at once.
pub const COPIES_MAX: i64 = 1_000_000;
/// The least part of a picture's side that a crop leaves.
const CROP_SIDE_MIN: f32 = 0.05;

/// Why an edit was refused; the words are shown to the shopkeeper.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEdit {
    #[error("the title has between 1 and {TITLE_CHARACTERS_MAX} characters")]
    Title,
    #[error("the price is an amount like 120 or 120.50, at most 1,000,000")]
    Price,
    #[error("the number of copies is between -{COPIES_MAX} and {COPIES_MAX}, and not 0")]
    Copies,
    #[error("sharpen and blur are between 0 and 1")]
    Strength,
    #[error("the crop lies inside the picture and leaves at least a twentieth of each side")]
    Crop,
}

/// A title without blanks around it.
pub fn title(text: &str) -> Result<&str, InvalidEdit> {
    let title = text.trim();
    if (1..=TITLE_CHARACTERS_MAX).contains(&title.chars().count()) && !title.contains(char::is_control) {
        Ok(title)
    } else {
        Err(InvalidEdit::Title)
    }
}

/// `120`, `120.5`, `120.50` or `120,50` as cents. Read digit by digit: money is never a float.
pub fn price_cents(text: &str) -> Result<i64, InvalidEdit> {
    let text = text.trim();
    let (euros, cents) = text.split_once(['.', ',']).unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if euros.is_empty() || euros.len() > 7 || cents.len() > 2 || !digits(euros) || !digits(cents) {
        return Err(InvalidEdit::Price);
    }
    let euros: i64 = euros.parse().map_err(|_| InvalidEdit::Price)?;
    let cents: i64 = format!("{cents:0<2}").parse().map_err(|_| InvalidEdit::Price)?;
    let total = euros * 100 + cents;
    if (1..=PRICE_CENTS_MAX).contains(&total) {
        Ok(total)
    } else {
        Err(InvalidEdit::Price)
    }
}

/// Copies that come in; negative: are taken out.
pub fn copies(number: i64) -> Result<i64, InvalidEdit> {
    if number != 0 && (-COPIES_MAX..=COPIES_MAX).contains(&number) {
        Ok(number)
    } else {
        Err(InvalidEdit::Copies)
    }
}

/// Edits of a photo that a worker can apply.
pub fn photo(edits: PhotoEdits) -> Result<PhotoEdits, InvalidEdit> {
    let unit = 0.0..=1.0;
    if !unit.contains(&edits.sharpen) || !unit.contains(&edits.blur) {
        return Err(InvalidEdit::Strength);
    }
    if let Some(Crop { x, y, width, height }) = edits.crop {
        let sides = CROP_SIDE_MIN..=1.0;
        let inside = x >= 0.0 && y >= 0.0 && x + width <= 1.0001 && y + height <= 1.0001;
        // Not-a-number fails every comparison, so it ends here as well.
        if !inside || !sides.contains(&width) || !sides.contains(&height) {
            return Err(InvalidEdit::Crop);
        }
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_read_as_people_write_them() {
        assert_eq!(price_cents("120"), Ok(12_000));
        assert_eq!(price_cents(" 120.5 "), Ok(12_050));
        assert_eq!(price_cents("120,05"), Ok(12_005));
        assert_eq!(price_cents("0.01"), Ok(1));
        for bad in [
            "",
            "0",
            "-1",
            "1.234",
            "1e3",
            "1.2.3",
            "abc",
            "99999999",
            "1000000.01",
            ".50",
        ] {
            assert_eq!(price_cents(bad), Err(InvalidEdit::Price), "{bad}");
        }
    }

    #[test]
    fn titles_are_trimmed_and_bounded() {
        assert_eq!(title("  Harbour "), Ok("Harbour"));
        assert_eq!(title("   "), Err(InvalidEdit::Title));
        assert_eq!(title(&"x".repeat(201)), Err(InvalidEdit::Title));
        assert_eq!(title("a\nb"), Err(InvalidEdit::Title));
    }

    #[test]
    fn a_crop_stays_inside_the_picture() {
        let crop = |x, y, width, height| PhotoEdits {
            crop: Some(Crop { x, y, width, height }),
            sharpen: 0.0,
            blur: 0.0,
        };
        assert!(photo(crop(0.1, 0.1, 0.9, 0.9)).is_ok());
        for bad in [
            crop(0.5, 0.0, 0.6, 1.0),
            crop(-0.1, 0.0, 0.5, 0.5),
            crop(0.0, 0.0, 0.01, 1.0),
            crop(f32::NAN, 0.0, 0.5, 0.5),
            crop(0.0, 0.0, f32::NAN, 0.5),
        ] {
            assert_eq!(photo(bad).err(), Some(InvalidEdit::Crop));
        }
    }

    #[test]
    fn strengths_stay_between_nothing_and_all() {
        let strong = PhotoEdits {
            crop: None,
            sharpen: 1.5,
            blur: 0.0,
        };
        assert_eq!(photo(strong).err(), Some(InvalidEdit::Strength));
        let nan = PhotoEdits {
            crop: None,
            sharpen: 0.0,
            blur: f32::NAN,
        };
        assert_eq!(photo(nan).err(), Some(InvalidEdit::Strength));
    }
}
