//! Writing variants and placeholders.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;

use super::PipelineError;

/// By eye on prints with fine lines: no ringing at 1800 px, and half of what 90 weighs.
const WEBP_QUALITY: f32 = 82.0;
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
    webp::Encoder::from_rgb(picture.as_raw(), picture.width(), picture.height())
        .encode_simple(false, quality)
        .map(|encoded| encoded.to_vec())
        .map_err(|error| PipelineError::Encode(format!("{error:?}")))
}
