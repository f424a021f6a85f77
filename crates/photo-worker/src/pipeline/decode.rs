//! Decoding within limits: inventory measured the header, but a worker trusts no file.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, Rgb, RgbImage, Rgba, RgbaImage};

/// Longest side of an original: WebP has no longer one.
const SIDE_MAX: u32 = 16_383;
/// What one picture may unpack to: 40 megapixels with four channels, and some room for the decoder. Turning it takes
/// the same again.
const UNPACKED_BYTES_MAX: u64 = 176 * 1024 * 1024;

/// A file that is no picture, or too large a one.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    #[error("the file can't be read")]
    Read(#[from] std::io::Error),
    #[error("the file is damaged or too large")]
    Image(#[from] ImageError),
}

/// Pixels the right way up, on white paper where they were transparent.
pub(super) fn decode(original: &[u8]) -> Result<RgbImage, Undecodable> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(SIDE_MAX);
    limits.max_image_height = Some(SIDE_MAX);
    limits.max_alloc = Some(UNPACKED_BYTES_MAX);
    let mut reader = ImageReader::new(Cursor::new(original)).with_guessed_format()?;
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(if picture.color().has_alpha() {
        on_white(&picture.into_rgba8())
    } else {
        picture.into_rgb8()
    })
}

fn on_white(picture: &RgbaImage) -> RgbImage {
    let mut paper = RgbImage::new(picture.width(), picture.height());
    for (below, above) in paper.pixels_mut().zip(picture.pixels()) {
        let Rgba([red, green, blue, alpha]) = *above;
        let over = |channel: u8| {
            let alpha = u16::from(alpha);
            let mixed = u16::from(channel) * alpha + 255 * (255 - alpha);
            u8::try_from((mixed + 127) / 255).unwrap_or(u8::MAX)
        };
        *below = Rgb([over(red), over(green), over(blue)]);
    }
    paper
}

#[cfg(test)]
mod tests {
    use image::ImageFormat;

    use super::*;

    #[test]
    fn transparent_pixels_show_white_paper() {
        let mut bytes = Cursor::new(Vec::new());
        let mut picture = RgbaImage::from_pixel(20, 20, Rgba([0, 0, 0, 0]));
        picture.put_pixel(3, 3, Rgba([10, 20, 30, 255]));
        picture.put_pixel(4, 4, Rgba([0, 0, 0, 128]));
        DynamicImage::ImageRgba8(picture)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("an in-memory picture encodes");
        let paper = decode(bytes.get_ref()).expect("a good picture");
        assert_eq!(paper.get_pixel(0, 0), &Rgb([255, 255, 255]));
        assert_eq!(paper.get_pixel(3, 3), &Rgb([10, 20, 30]));
        assert_eq!(paper.get_pixel(4, 4), &Rgb([127, 127, 127]));
    }

    #[test]
    fn a_picture_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() {
        // 16 bits and four channels: 8 bytes a pixel, so that 36 megapixels are too much.
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgba16(40, 40)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("an in-memory picture encodes");
        let mut bytes = bytes.into_inner();
        bytes[16..20].copy_from_slice(&6000_u32.to_be_bytes());
        bytes[20..24].copy_from_slice(&6000_u32.to_be_bytes());
        assert!(decode(&bytes).is_err());
    }
}
