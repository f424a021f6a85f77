//! A photo's way from upload to wall.

use serde::{Deserialize, Serialize};

/// What a photo is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A print. Only the shopkeeper uploads these.
    Product,
    /// A person. Everybody may upload one of themselves.
    Profile,
}

impl Purpose {
    /// The word that the table uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Product => "product",
            Self::Profile => "profile",
        }
    }
}

impl std::str::FromStr for Purpose {
    type Err = UnknownPurpose;

    fn from_str(text: &str) -> Result<Self, UnknownPurpose> {
        match text {
            "product" => Ok(Self::Product),
            "profile" => Ok(Self::Profile),
            _ => Err(UnknownPurpose),
        }
    }
}

/// A purpose that photos don't have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the purpose is `product` or `profile`")]
pub struct UnknownPurpose;

/// A picture made from an original: one width in one format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeVariant {
    pub name: String,
    pub width: i32,
    pub height: i32,
    pub format: String,
    pub bytes: i64,
}

/// What a worker made of a version of a photo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub width: i32,
    pub height: i32,
    pub placeholder: String,
    pub variants: Vec<MadeVariant>,
}

/// Why a report of a worker can't be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMade {
    #[error("a photo has between 1 and {VARIANTS_MAX} variants")]
    Count,
    #[error("the variant's name is not one that workers make")]
    Name,
    #[error("width, height and bytes are positive")]
    Size,
    #[error("the placeholder is a data: URI of at most {PLACEHOLDER_BYTES_MAX} bytes")]
    Placeholder,
}

/// Most variants of one version: some widths in two formats.
pub const VARIANTS_MAX: usize = 20;
/// A placeholder travels inside every page that shows the photo.
pub const PLACEHOLDER_BYTES_MAX: usize = 1024;

impl Made {
    /// Checks what the table would refuse, so that a bad report is a 422 and not a 500.
    pub fn check(&self) -> Result<(), InvalidMade> {
        if self.variants.is_empty() || self.variants.len() > VARIANTS_MAX {
            return Err(InvalidMade::Count);
        }
        if !self.placeholder.starts_with("data:image/") || self.placeholder.len() > PLACEHOLDER_BYTES_MAX {
            return Err(InvalidMade::Placeholder);
        }
        if self.width < 1 || self.height < 1 {
            return Err(InvalidMade::Size);
        }
        for variant in &self.variants {
            let format = match VariantName::parse(&variant.name) {
                Some(name) => name.format(),
                None => return Err(InvalidMade::Name),
            };
            if variant.format != format {
                return Err(InvalidMade::Name);
            }
            if variant.width < 1 || variant.height < 1 || variant.bytes < 1 {
                return Err(InvalidMade::Size);
            }
        }
        Ok(())
    }
}

/// `w320.webp` and the like: what stands at the end of a picture's URL and of its key in the object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantName(String);

impl VariantName {
    /// None unless the text is a width and one of the two extensions.
    pub fn parse(text: &str) -> Option<Self> {
        let (width, extension) = text.strip_prefix('w')?.split_once('.')?;
        let sane_width = (2..=5).contains(&width.len()) && width.bytes().all(|b| b.is_ascii_digit());
        (sane_width && matches!(extension, "webp" | "jpg")).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The format's name as variants carry it.
    pub fn format(&self) -> &'static str {
        if self.0.ends_with(".webp") { "webp" } else { "jpeg" }
    }

    pub fn content_type(&self) -> &'static str {
        if self.0.ends_with(".webp") {
            "image/webp"
        } else {
            "image/jpeg"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_workers_make_are_names() {
        for good in ["w320.webp", "w1800.jpg", "w97.webp"] {
            assert_eq!(VariantName::parse(good).map(|name| name.0), Some(good.to_owned()));
        }
        for bad in [
            "",
            "w.webp",
            "w320.png",
            "w320",
            "320.webp",
            "w3 0.jpg",
            "w123456.jpg",
            "../w320.jpg",
            "w+20.jpg",
        ] {
            assert_eq!(VariantName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_report_that_the_table_would_refuse_is_refused_first() {
        let good = Made {
            width: 10,
            height: 10,
            placeholder: "data:image/webp;base64,AA==".to_owned(),
            variants: vec![MadeVariant {
                name: "w320.webp".to_owned(),
                width: 320,
                height: 240,
                format: "webp".to_owned(),
                bytes: 100,
            }],
        };
        assert_eq!(good.check(), Ok(()));
        let mut no_variants = good.clone();
        no_variants.variants.clear();
        assert_eq!(no_variants.check(), Err(InvalidMade::Count));
        let mut script = good.clone();
        script.placeholder = "javascript:alert(1)".to_owned();
        assert_eq!(script.check(), Err(InvalidMade::Placeholder));
        let mut wrong_format = good.clone();
        wrong_format.variants[0].format = "jpeg".to_owned();
        assert_eq!(wrong_format.check(), Err(InvalidMade::Name));
        let mut flat = good;
        flat.height = 0;
        assert_eq!(flat.check(), Err(InvalidMade::Size));
    }
}
