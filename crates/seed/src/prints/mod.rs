//! The shop's art: 120 prints, each drawn from its number alone.
//!
//! A print is drawn in sheet units, on a long side of 1800, by a series (one file each) from a stream of random numbers
//! that the print's number starts. A sheet that measures as dull is thrown away, and the next stream is tried.

pub mod colour;
pub mod geometry;
pub mod lettering;
pub mod measures;
pub mod noise;
pub mod proof;
pub mod rng;
pub mod series;
pub mod sheet;

use image::{ExtendedColorType, codecs::jpeg::JpegEncoder};
use tiny_skia::Pixmap;

use measures::{Measures, Taste};
use rng::Rng;
use series::SERIES;
use sheet::{LONG_SIDE, Sheet};

/// How many prints there are.
pub const PRINT_COUNT: u32 = (SERIES.len() * PRINTS_PER_SERIES) as u32;

/// How many prints each series has.
pub const PRINTS_PER_SERIES: usize = 10;

/// How many sheets are drawn at most until one is accepted.
const ATTEMPTS_MAX: u64 = 6;

/// One artist's body of work: ten prints in one manner.
pub struct Series {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Who made it.
    pub artist: &'static str,
    /// How it was printed.
    pub technique: &'static str,
    /// The category that it hangs in.
    pub category: Category,
    /// The years in which the first and the last print were made.
    pub years: (u32, u32),
    /// The price of a print of an edition of one hundred, in cents.
    pub price_cents: u32,
    /// What the series accepts.
    pub taste: Taste,
    /// The prints.
    pub works: [Work; PRINTS_PER_SERIES],
    /// Draws the print with this place in the series, with so many pixels a sheet unit.
    pub draw: fn(usize, &mut Rng, f32) -> Sheet,
}

/// What a print is called and what one sees on it.
pub struct Work {
    /// Its title.
    pub title: &'static str,
    /// A sentence or two about it.
    pub text: &'static str,
}

/// A short form for tables of works.
pub const fn work(title: &'static str, text: &'static str) -> Work {
    Work { title, text }
}

/// Where a print hangs in the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Drawings of lines.
    Line,
    /// Land, sea and sky.
    Landscape,
    /// Pure form.
    Abstract,
    /// Houses, streets and maps.
    Place,
    /// Stone, plant and animal.
    Nature,
    /// Weave and repeat.
    Pattern,
}

impl Category {
    /// All of them, in the order of the shop's menu.
    pub const ALL: [Self; 6] = [
        Self::Line,
        Self::Landscape,
        Self::Abstract,
        Self::Place,
        Self::Nature,
        Self::Pattern,
    ];

    /// Its part of the address.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Landscape => "landscape",
            Self::Abstract => "abstract",
            Self::Place => "places",
            Self::Nature => "nature",
            Self::Pattern => "pattern",
        }
    }

    /// What hangs there.
    pub fn description(self) -> &'static str {
        match self {
            Self::Line => "Currents, screens, and whatever else a line can do by itself.",
            Self::Landscape => "Seas at the end of the day.",
            Self::Abstract => "Fields of colour, and traces of light on black.",
            Self::Place => "Towns that were never built, and maps of islands that nobody has found.",
            Self::Nature => "Stone, paper flowers, and animals cut in lino.",
            Self::Pattern => "Ribbons that never end, and cloth down to the thread.",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Line => "Line",
            Self::Landscape => "Land and sea",
            Self::Abstract => "Abstract",
            Self::Place => "Places",
            Self::Nature => "Nature",
            Self::Pattern => "Pattern",
        }
    }
}

/// How many copies of an open edition lie ready.
pub const OPEN_COPIES: i64 = 500_000;

/// How many copies of a print there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// So many and never more.
    Limited(u32),
    /// As many as are wanted; so many lie ready.
    Open(u32),
}

impl Edition {
    /// How many copies there are to sell.
    pub fn copies(self) -> u32 {
        match self {
            Self::Limited(copies) | Self::Open(copies) => copies,
        }
    }
}

/// A print as the shop sells it, all but the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Print {
    /// From 1 to [`PRINT_COUNT`]: also its product id.
    pub number: u32,
    /// Its title.
    pub title: &'static str,
    /// Who made it.
    pub artist: &'static str,
    /// When.
    pub year: u32,
    /// How.
    pub technique: &'static str,
    /// What one sees, in plain words.
    pub description: &'static str,
    /// Where it hangs.
    pub category: Category,
    /// What it costs.
    pub price_cents: u32,
    /// How many there are.
    pub edition: Edition,
}

/// The series of a print and its place in it. Series take turns, so that any stretch of the catalogue
/// is a mixed wall.
fn place_of(number: u32) -> (&'static Series, usize) {
    let index = number.saturating_sub(1) as usize % PRINT_COUNT as usize;
    (SERIES[index % SERIES.len()], index / SERIES.len())
}

/// The number of the print at `place` in the series at `series`.
pub fn number_of(series: usize, place: usize) -> u32 {
    (place * SERIES.len() + series) as u32 + 1
}

/// The facts about the print with this number, from 1 to [`PRINT_COUNT`].
pub fn print(number: u32) -> Print {
    let (series, place) = place_of(number);
    let mut rng = Rng::new(u64::from(number) ^ 0x0ED1_7104);
    let (first, last) = series.years;
    let year = first + (last - first) * place as u32 / (PRINTS_PER_SERIES as u32 - 1);
    // In each series two prints are open editions, and the rest run from a handful to a few hundred.
    let edition = if place % 5 == 3 {
        Edition::Open(OPEN_COPIES as u32)
    } else {
        Edition::Limited(rng.pick(&[10, 12, 20, 25, 30, 50, 50, 75, 100, 100, 150, 200, 300]))
    };
    // Fewer copies cost more; an open edition costs less than any.
    let factor = match edition {
        Edition::Open(_) => 0.45,
        Edition::Limited(copies) => (100.0 / copies as f32).powf(0.42),
    };
    let price = series.price_cents as f32 * factor * rng.range(0.92, 1.1);
    let work = &series.works[place];
    Print {
        number,
        title: work.title,
        artist: series.artist,
        year,
        technique: series.technique,
        description: work.text,
        category: series.category,
        price_cents: ((price / 500.0).round() as u32).max(4) * 500,
        edition,
    }
}

/// All prints in order.
pub fn catalogue() -> impl Iterator<Item = Print> {
    (1..=PRINT_COUNT).map(print)
}

/// Draws a print with `long_side_px` pixels on its long side. A sheet that comes out dull is thrown away
/// and drawn again; the last one stands.
pub fn draw(number: u32, long_side_px: u32) -> Pixmap {
    let (series, place) = place_of(number);
    let scale = long_side_px as f32 / LONG_SIDE;
    let mut attempt = 0;
    loop {
        let mut rng = Rng::new((u64::from(number) << 16) ^ attempt ^ 0x05EE_D000_0000_0000);
        let sheet = (series.draw)(place, &mut rng, scale);
        attempt += 1;
        let measures = Measures::of(sheet.pixmap(), sheet.paper);
        if attempt >= ATTEMPTS_MAX || series.taste.accepts(&measures) {
            return sheet.into_pixmap();
        }
    }
}

/// A picture as a JPEG of high quality.
pub fn to_jpeg(pixmap: &Pixmap) -> Result<Vec<u8>, image::ImageError> {
    let rgb: Vec<u8> = pixmap
        .pixels()
        .iter()
        .flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()])
        .collect();
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, 92).encode(
        &rgb,
        pixmap.width(),
        pixmap.height(),
        ExtendedColorType::Rgb8,
    )?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_print_has_words_of_its_own() {
        let prints: Vec<Print> = catalogue().collect();
        assert_eq!(prints.len(), 120);
        let titles: HashSet<_> = prints.iter().map(|print| print.title).collect();
        let texts: HashSet<_> = prints.iter().map(|print| print.description).collect();
        assert_eq!((titles.len(), texts.len()), (120, 120));
    }

    #[test]
    fn any_stretch_of_the_catalogue_is_a_mixed_wall() {
        let prints: Vec<Print> = catalogue().collect();
        for wall in prints.windows(SERIES.len()) {
            let artists: HashSet<_> = wall.iter().map(|print| print.artist).collect();
            assert_eq!(artists.len(), SERIES.len(), "from print {}", wall[0].number);
        }
    }

    #[test]
    fn scarce_prints_cost_more_than_open_editions_of_the_same_artist() {
        let prints: Vec<Print> = catalogue().collect();
        for open in prints.iter().filter(|print| matches!(print.edition, Edition::Open(_))) {
            for other in prints.iter().filter(|print| print.artist == open.artist) {
                if let Edition::Limited(copies) = other.edition {
                    assert!((10..=300).contains(&copies));
                    assert!(
                        other.price_cents > open.price_cents,
                        "{} and {}",
                        other.title,
                        open.title
                    );
                }
            }
        }
    }

    #[test]
    fn a_print_is_the_same_each_time_it_is_drawn() {
        for number in 1..=SERIES.len() as u32 {
            assert_eq!(draw(number, 120).data(), draw(number, 120).data(), "print {number}");
        }
    }

    #[test]
    fn a_proof_shows_the_picture_of_the_edition() {
        // The same print at two sizes has the same proportions and nearly the same lightness.
        for number in 1..=SERIES.len() as u32 {
            let (small, large) = (draw(number, 150), draw(number, 450));
            let shape = |picture: &Pixmap| picture.width() as f32 / picture.height() as f32;
            assert!((shape(&small) - shape(&large)).abs() < 0.02, "print {number}");
            let light = |picture: &Pixmap| {
                let sum: f64 = picture.pixels().iter().map(|pixel| f64::from(pixel.green())).sum();
                sum / f64::from(picture.width() * picture.height())
            };
            assert!((light(&small) - light(&large)).abs() < 12.0, "print {number}");
        }
    }
}
