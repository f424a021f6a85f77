//! Writing variants and placeholders.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use webp::WebPConfig;

use super::PipelineError;

/// By eye on prints: below this, WebP takes the grain of paper and the breath of flat colour for noise, and drops it.
const WEBP_QUALITY: f32 = 90.0;
/// How much WebP may shift bits from flat areas to busy ones, out of 100. Flat areas are where a print is paper.
const WEBP_NOISE_SHAPING: i32 = 20;
/// How much WebP smooths the edges of its blocks, and fine lines with them, out of 100.
const WEBP_DEBLOCKING: i32 = 15;
const JPEG_QUALITY: u8 = 84;
/// A placeholder is stretched over a hundred times its size; its faults can't be seen.
const PLACEHOLDER_QUALITY: f32 = 40.0;

/// A format that variants come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    WebP,
    Jpeg,
}

impl Format {
    /// As the catalogue calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebP => "webp",
            Self::Jpeg => "jpeg",
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::WebP => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }
}

/// A picture as a file.
#[derive(Debug)]
pub struct Encoded {
    /// The end of its key in the object store and of its URL.
    pub name: String,
    pub width: u32,
    pub height: u32,
    pub format: Format,
    pub bytes: Vec<u8>,
}

pub(super) fn webp(picture: &RgbImage) -> Result<Encoded, PipelineError> {
    Ok(Encoded {
        name: format!("w{}.webp", picture.width()),
        width: picture.width(),
        height: picture.height(),
        format: Format::WebP,
        bytes: lossy_webp(picture, WEBP_QUALITY)?,
    })
}

pub(super) fn jpeg(picture: &RgbImage) -> Result<Encoded, PipelineError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode_image(picture)
        .map_err(|error| PipelineError::Encode(error.to_string()))?;
    Ok(Encoded {
        name: format!("w{}.jpg", picture.width()),
        width: picture.width(),
        height: picture.height(),
        format: Format::Jpeg,
        bytes,
    })
}

/// A thumbnail that travels inside the page.
pub(super) fn data_uri(thumbnail: &RgbImage) -> Result<String, PipelineError> {
    let bytes = lossy_webp(thumbnail, PLACEHOLDER_QUALITY)?;
    Ok(format!("data:image/webp;base64,{}", STANDARD.encode(bytes)))
}

fn lossy_webp(picture: &RgbImage, quality: f32) -> Result<Vec<u8>, PipelineError> {
    let mut config =
        WebPConfig::new().map_err(|()| PipelineError::Encode("WebP has no default configuration".to_owned()))?;
    config.quality = quality;
    config.sns_strength = WEBP_NOISE_SHAPING;
    config.filter_strength = WEBP_DEBLOCKING;
    webp::Encoder::from_rgb(picture.as_raw(), picture.width(), picture.height())
        .encode_advanced(&config)
        .map(|encoded| encoded.to_vec())
        .map_err(|error| PipelineError::Encode(format!("{error:?}")))
}
