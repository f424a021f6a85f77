//! What an uploaded file is, found out from its first bytes and never from its name.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageFormat, ImageReader, Limits};

/// Largest file that is taken.
pub const BYTES_MAX: usize = 20 * 1024 * 1024;
/// Largest picture that is taken: what it would unpack to, whatever the file weighs.
pub const PIXELS_MAX: u64 = 40_000_000;
/// Longest side: WebP, in which every picture is shown, has no longer one.
pub const SIDE_MAX: u32 = 16_383;
/// How many times longer one side may be than the other; beyond it a picture is a strip that no wall has room for.
pub const PROPORTION_MAX: u32 = 20;
/// What a picture may unpack to. A worker has room for it twice, since turning makes a copy; 16 bits a channel take
/// twice as much.
const UNPACKED_BYTES_MAX: u64 = 176 * 1024 * 1024;
/// What a header may unpack to: a colour profile is compressed, and can be a bomb of its own.
const HEADER_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Shortest side that makes a picture.
pub const SIDE_MIN: u32 = 16;

/// A file that is a picture the shop can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    pub content_type: &'static str,
    pub width: u32,
    pub height: u32,
}

/// Why a file is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotAPicture {
    #[error("the file is neither a JPEG, a PNG nor a WebP picture")]
    Format,
    #[error("the picture's header is damaged")]
    Header,
    #[error("the picture is {width} by {height} pixels; at most 40 megapixels of 8 bits are taken")]
    TooManyPixels { width: u32, height: u32 },
    #[error("the picture is {width} by {height} pixels; a side has between {SIDE_MIN} and {SIDE_MAX}")]
    Side { width: u32, height: u32 },
    #[error("the picture is a strip; one side may be up to {PROPORTION_MAX} times as long as the other")]
    Strip,
}

/// Reads the header, and only the header: a decompression bomb is measured, not unpacked. Takes its time where the header
/// is large.
pub fn inspect(bytes: &[u8]) -> Result<Original, NotAPicture> {
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|_| NotAPicture::Format)?;
    let content_type = match reader.format() {
        Some(ImageFormat::Jpeg) => "image/jpeg",
        Some(ImageFormat::Png) => "image/png",
        Some(ImageFormat::WebP) => "image/webp",
        _ => return Err(NotAPicture::Format),
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(HEADER_BYTES_MAX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|_| NotAPicture::Header)?;
    let (mut width, mut height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > PIXELS_MAX || decoder.total_bytes() > UNPACKED_BYTES_MAX {
        return Err(NotAPicture::TooManyPixels { width, height });
    }
    if !(SIDE_MIN..=SIDE_MAX).contains(&width) || !(SIDE_MIN..=SIDE_MAX).contains(&height) {
        return Err(NotAPicture::Side { width, height });
    }
    if width.max(height) / width.min(height) >= PROPORTION_MAX {
        return Err(NotAPicture::Strip);
    }
    if turns_sideways(decoder.orientation().unwrap_or(Orientation::NoTransforms)) {
        std::mem::swap(&mut width, &mut height);
    }
    Ok(Original {
        content_type,
        width,
        height,
    })
}

/// A camera held upright stores the picture lying down and says so in its metadata.
fn turns_sideways(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, RgbImage};

    use super::*;

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(RgbImage::new(width, height))
            .write_to(&mut bytes, format)
            .expect("an in-memory picture encodes");
        bytes.into_inner()
    }

    #[test]
    fn the_content_says_what_a_file_is() {
        for (format, content_type) in [
            (ImageFormat::Jpeg, "image/jpeg"),
            (ImageFormat::Png, "image/png"),
            (ImageFormat::WebP, "image/webp"),
        ] {
            assert_eq!(
                inspect(&encoded(40, 30, format)),
                Ok(Original {
                    content_type,
                    width: 40,
                    height: 30
                })
            );
        }
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert_eq!(inspect(b""), Err(NotAPicture::Format));
        assert_eq!(inspect(b"<svg/>"), Err(NotAPicture::Format));
        assert_eq!(inspect(b"GIF89a\x01\0\x01\0\0\0\0"), Err(NotAPicture::Format));
        let png = encoded(40, 30, ImageFormat::Png);
        assert_eq!(inspect(&png[..12]), Err(NotAPicture::Header));
    }

    #[test]
    fn a_bomb_is_measured_by_its_header_and_refused() {
        let mut png = encoded(40, 30, ImageFormat::Png);
        // Width and height of the IHDR chunk, whose checksum follows them.
        png[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        png[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(
            inspect(&png),
            Err(NotAPicture::TooManyPixels {
                width: 60_000,
                height: 60_000
            })
        );
    }

    #[test]
    fn a_strip_and_a_dot_are_refused() {
        assert!(matches!(
            inspect(&encoded(8, 40, ImageFormat::Png)),
            Err(NotAPicture::Side { .. })
        ));
        assert_eq!(inspect(&encoded(20, 400, ImageFormat::Png)), Err(NotAPicture::Strip));
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xEDB8_8320
                } else {
                    crc >> 1
                }
            })
        })
    }
}
