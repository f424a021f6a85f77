//! From an original to the pictures that pages show. Pure computation: no input or output, and no waiting.

mod decode;
mod edit;
mod encode;
mod resize;

use shop_queue::messages::PhotoEdits;

pub use decode::Undecodable;
pub use encode::{Encoded, Format};
pub use resize::Unscalable;

/// Widths that pages ask for. A picture narrower than the widest gets its own width as its last.
const WIDTHS: [u32; 5] = [320, 640, 960, 1280, 1800];
/// Largest variant, in pixels: a tall picture is wide enough before it is as wide as others. At its peak a worker holds
/// about 18 bytes for each of them.
const AREA_MAX: u64 = 8_000_000;
/// A last width of a picture's own is worth a file only if it is that much wider than the step before.
const OWN_WIDTH_GAIN: f32 = 1.1;
/// Longest side of a placeholder, which is stretched and blurred until the picture is there.
const PLACEHOLDER_SIDE: u32 = 20;

/// All that is made of a photo.
#[derive(Debug)]
pub struct Made {
    /// Size after turning and cropping, before any scaling: what the variants' proportions come from.
    pub width: u32,
    pub height: u32,
    /// A data: URI.
    pub placeholder: String,
    pub variants: Vec<Encoded>,
}

/// Why a photo can't be made. Both are final: another try would find the same.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("the picture can't be decoded")]
    Decode(#[from] Undecodable),
    #[error("the picture can't be resized")]
    Resize(#[from] Unscalable),
    #[error("the picture can't be encoded: {0}")]
    Encode(String),
}

/// Decodes, crops, blurs, sharpens, and writes every variant in both formats.
pub fn make(original: &[u8], edits: &PhotoEdits) -> Result<Made, PipelineError> {
    let decoded = decode::decode(original)?;
    let area = edit::crop_area(decoded.dimensions(), edits.crop.as_ref());
    let widths = widths_of(area.width, area.height);
    let widest = widths.last().copied().unwrap_or(area.width);
    let scaler = resize::Scaler::new();
    // Edits are made once, at the largest size shown, so that all variants look alike.
    let retouched = edit::retouch(scaler.scale_area(decoded, area, widest)?, edits);
    let base = scaler.linear(&retouched);
    drop(retouched);

    let mut variants = Vec::with_capacity(widths.len() * 2);
    for &width in &widths {
        let picture = scaler.scale(&base, width)?;
        variants.push(encode::webp(&picture)?);
        variants.push(encode::jpeg(&picture)?);
    }
    let thumbnail_width = if base.width() >= base.height() {
        PLACEHOLDER_SIDE.min(base.width())
    } else {
        (PLACEHOLDER_SIDE * base.width() / base.height()).clamp(1, base.width())
    };
    let placeholder = encode::data_uri(&scaler.scale(&base, thumbnail_width)?)?;
    Ok(Made {
        width: area.width,
        height: area.height,
        placeholder,
        variants,
    })
}

/// The ladder up to a picture's width; never wider than the original, and never larger than [`AREA_MAX`].
fn widths_of(width: u32, height: u32) -> Vec<u32> {
    let area_of = |step: u32| u64::from(step) * u64::from(step) * u64::from(height) / u64::from(width.max(1));
    let fits = |step: &u32| *step <= width && area_of(*step) <= AREA_MAX;
    let mut widths: Vec<u32> = WIDTHS.into_iter().filter(fits).collect();
    let last = widths.last().copied().unwrap_or(0);
    let own = width < WIDTHS[WIDTHS.len() - 1] && width as f32 >= last as f32 * OWN_WIDTH_GAIN;
    if widths.is_empty() || (own && area_of(width) <= AREA_MAX) {
        widths.push(width);
    }
    widths
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat, ImageReader, Rgb, RgbImage};
    use shop_queue::messages::Crop;

    use super::*;

    const PLAIN: PhotoEdits = PhotoEdits {
        crop: None,
        sharpen: 0.0,
        blur: 0.0,
    };

    /// Left half red, right half blue, a white line between.
    fn print(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, _| {
            if x == width / 2 {
                Rgb([255, 255, 255])
            } else if x < width / 2 {
                Rgb([200, 30, 30])
            } else {
                Rgb([30, 30, 200])
            }
        })
    }

    fn png(picture: RgbImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::ImageRgb8(picture)
            .write_to(&mut bytes, ImageFormat::Png)
            .expect("an in-memory picture encodes");
        bytes.into_inner()
    }

    fn decoded(variant: &Encoded) -> RgbImage {
        ImageReader::new(Cursor::new(&variant.bytes))
            .with_guessed_format()
            .expect("memory can be read")
            .decode()
            .expect("a variant decodes")
            .to_rgb8()
    }

    #[test]
    fn a_large_original_gets_every_width_in_both_formats() {
        let made = make(&png(print(2000, 1000)), &PLAIN).expect("a good original");
        assert_eq!((made.width, made.height), (2000, 1000));
        let names: Vec<&str> = made.variants.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "w320.webp",
                "w320.jpg",
                "w640.webp",
                "w640.jpg",
                "w960.webp",
                "w960.jpg",
                "w1280.webp",
                "w1280.jpg",
                "w1800.webp",
                "w1800.jpg"
            ]
        );
        for variant in &made.variants {
            let picture = decoded(variant);
            assert_eq!(picture.dimensions(), (variant.width, variant.height));
            assert_eq!(variant.height, variant.width / 2);
            let left = picture.get_pixel(variant.width / 4, variant.height / 2);
            assert!(left[0] > 180 && left[2] < 60, "{}: {left:?}", variant.name);
        }
    }

    #[test]
    fn no_variant_is_wider_than_its_original() {
        assert_eq!(widths_of(100, 100 / 2), [100]);
        assert_eq!(widths_of(320, 320 / 2), [320]);
        assert_eq!(widths_of(330, 330 / 2), [320]);
        assert_eq!(widths_of(1200, 1200 / 2), [320, 640, 960, 1200]);
        assert_eq!(widths_of(1350, 1350 / 2), [320, 640, 960, 1280]);
        assert_eq!(widths_of(9000, 9000 / 2), [320, 640, 960, 1280, 1800]);
        assert_eq!(widths_of(1800, 16_383), [320, 640], "a worker has no room for more");
        assert_eq!(widths_of(700, 14_000), [320]);
        let made = make(&png(print(100, 50)), &PLAIN).expect("a small original");
        assert_eq!(made.variants.len(), 2);
        assert_eq!(made.variants[0].width, 100);
    }

    #[test]
    fn a_placeholder_is_tiny() {
        for (width, height) in [(900, 300), (300, 900), (20, 2000)] {
            let made = make(&png(print(width, height)), &PLAIN).expect("a good original");
            assert!(made.placeholder.starts_with("data:image/webp;base64,"));
            assert!(made.placeholder.len() < 1024, "{}", made.placeholder.len());
        }
    }

    #[test]
    fn a_crop_keeps_its_part_only() {
        let right_half = PhotoEdits {
            crop: Some(Crop {
                x: 0.6,
                y: 0.0,
                width: 0.4,
                height: 0.5,
            }),
            ..PLAIN
        };
        let made = make(&png(print(1000, 400)), &right_half).expect("a good original");
        assert_eq!((made.width, made.height), (400, 200));
        let picture = decoded(&made.variants[0]);
        for x in [2, picture.width() / 2, picture.width() - 3] {
            let pixel = picture.get_pixel(x, picture.height() / 2);
            assert!(pixel[2] > 180 && pixel[0] < 60, "{pixel:?}");
        }
    }

    #[test]
    fn blur_softens_an_edge_and_sharpen_hardens_it() {
        let contrast = |edits: &PhotoEdits| {
            let soft = image::imageops::blur(&print(640, 200), 1.0);
            let made = make(&png(soft), edits).expect("a good original");
            let picture = decoded(&made.variants[2]);
            let middle = picture.width() / 2;
            (1..12)
                .map(|step| {
                    let row = picture.height() / 2;
                    let pixel = |x| i32::from(picture.get_pixel(x, row)[0]);
                    (pixel(middle + step) - pixel(middle + step - 1)).abs()
                })
                .max()
                .unwrap_or(0)
        };
        let plain = contrast(&PLAIN);
        let blurred = contrast(&PhotoEdits { blur: 0.6, ..PLAIN });
        let sharpened = contrast(&PhotoEdits { sharpen: 1.0, ..PLAIN });
        assert!(blurred < plain, "{blurred} < {plain}");
        assert!(sharpened > plain, "{sharpened} > {plain}");
    }

    #[test]
    fn the_same_original_makes_the_same_bytes() {
        let original = png(print(700, 500));
        let once = make(&original, &PLAIN).expect("a good original");
        let again = make(&original, &PLAIN).expect("a good original");
        assert_eq!(once.placeholder, again.placeholder);
        assert_eq!(once.variants[0].bytes, again.variants[0].bytes);
    }

    #[test]
    fn what_can_not_be_decoded_is_an_error_and_not_a_panic() {
        let whole = png(print(64, 64));
        assert!(make(b"not a picture", &PLAIN).is_err());
        assert!(make(&whole[..whole.len() / 2], &PLAIN).is_err());
    }
}
