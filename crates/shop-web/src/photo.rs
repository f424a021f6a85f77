//! Photos as pages and the API show them.

use serde::{Deserialize, Serialize};

use crate::page::Page;

/// The proportions, width by height in hundredths, for which there are classes.
pub(crate) const RATIO_MIN: u32 = 40;
pub(crate) const RATIO_MAX: u32 = 250;

/// A photo with everything a page needs to show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Photo {
    /// Which photo.
    pub id: i64,
    /// Counts the shopkeeper's changes; part of every address, so that addresses never go stale.
    pub version: i32,
    /// Width of the largest variant, in pixels.
    pub width: u32,
    /// Height of the largest variant, in pixels.
    pub height: u32,
    /// A tiny blurred picture as a `data:` address.
    pub placeholder: Option<String>,
    /// `accepted`, `ready` or `failed`.
    pub status: String,
    /// What the workers have made of it.
    pub variants: Vec<Variant>,
}

/// One size and format of a photo.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// How it is encoded.
    pub format: Format,
}

/// How a variant is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For browsers that know it: smaller.
    Webp,
    /// For all others.
    #[serde(alias = "jpg")]
    Jpeg,
}

impl Format {
    /// The end of a file's name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Jpeg => "jpg",
        }
    }
}

impl Photo {
    /// Whether there is something to show.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status == "ready" && self.of_format(Format::Jpeg).next().is_some()
    }

    /// The address of the smallest JPEG at least so wide, or else the widest.
    #[must_use]
    pub fn src(&self, page: &Page, width: u32) -> String {
        let mut variants: Vec<&Variant> = self.of_format(Format::Jpeg).collect();
        variants.sort_unstable_by_key(|variant| variant.width);
        let chosen = variants
            .iter()
            .find(|variant| variant.width >= width)
            .or(variants.last());
        chosen.map(|variant| self.url(page.edge(), variant)).unwrap_or_default()
    }

    /// All variants in WebP, for `srcset`.
    #[must_use]
    pub fn srcset_webp(&self, page: &Page) -> String {
        self.srcset(page, Format::Webp)
    }

    /// All variants in JPEG, for `srcset`.
    #[must_use]
    pub fn srcset_jpeg(&self, page: &Page) -> String {
        self.srcset(page, Format::Jpeg)
    }

    fn srcset(&self, page: &Page, format: Format) -> String {
        let mut variants: Vec<&Variant> = self.of_format(format).collect();
        variants.sort_unstable_by_key(|variant| variant.width);
        let entries: Vec<String> = variants
            .iter()
            .map(|variant| format!("{} {}w", self.url(page.edge(), variant), variant.width))
            .collect();
        entries.join(", ")
    }

    /// Width by height in hundredths, between 40 and 250: the name of the class that gives the picture its room.
    #[must_use]
    pub fn ratio(&self) -> u32 {
        if self.width == 0 || self.height == 0 {
            return 75;
        }
        let ratio = (u64::from(self.width) * 100 + u64::from(self.height) / 2) / u64::from(self.height);
        u32::try_from(ratio).unwrap_or(RATIO_MAX).clamp(RATIO_MIN, RATIO_MAX)
    }

    fn of_format(&self, format: Format) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(move |variant| variant.format == format)
    }

    fn url(&self, edge: &str, variant: &Variant) -> String {
        format!(
            "{edge}/photos/{}/{}/w{}.{}",
            self.id,
            self.version,
            variant.width,
            variant.format.extension()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn photo() -> Photo {
        let variant = |width, format| Variant {
            width,
            height: width / 2,
            format,
        };
        Photo {
            id: 7,
            version: 2,
            width: 960,
            height: 480,
            placeholder: None,
            status: "ready".to_owned(),
            variants: vec![
                variant(960, Format::Jpeg),
                variant(320, Format::Jpeg),
                variant(320, Format::Webp),
                variant(960, Format::Webp),
            ],
        }
    }

    #[test]
    fn the_smallest_variant_that_is_wide_enough_is_chosen() {
        let page = Page::for_path("http://edge:8081", "/");
        assert_eq!(photo().src(&page, 321), "http://edge:8081/photos/7/2/w960.jpg");
        assert_eq!(photo().src(&page, 4000), "http://edge:8081/photos/7/2/w960.jpg");
        assert_eq!(photo().src(&page, 100), "http://edge:8081/photos/7/2/w320.jpg");
    }

    #[test]
    fn srcset_lists_one_format_from_small_to_large() {
        let page = Page::for_path("", "/");
        assert_eq!(
            photo().srcset_webp(&page),
            "/photos/7/2/w320.webp 320w, /photos/7/2/w960.webp 960w"
        );
    }

    #[test]
    fn the_ratio_is_bounded_whatever_the_picture() {
        assert_eq!(photo().ratio(), 200);
        assert_eq!(
            Photo {
                width: u32::MAX,
                height: 1,
                ..photo()
            }
            .ratio(),
            250
        );
        assert_eq!(Photo { width: 0, ..photo() }.ratio(), 75);
    }
}
