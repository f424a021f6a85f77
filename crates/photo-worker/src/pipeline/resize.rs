//! Scaling with Lanczos in linear light: averaged as light and not as numbers, so that fine lines keep their tone.
//!
//! The resizer is used by the two pixel types that occur here. Its untyped interface would have every type it knows
//! compiled into this crate.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8x3, U16x3};
use fast_image_resize::{FilterType, ImageBufferError, ImageView as _, ResizeAlg, ResizeError, ResizeOptions, Resizer};
use image::RgbImage;

use super::edit::Area;

/// Values of a channel in linear light.
const LIGHT_LEVELS: usize = 1 << 16;

/// A picture with 16 bits a channel, in linear light.
pub(super) struct Linear(TypedImage<'static, U16x3>);

impl Linear {
    pub(super) fn width(&self) -> u32 {
        self.0.width()
    }

    pub(super) fn height(&self) -> u32 {
        self.0.height()
    }
}

/// Why a picture can't be scaled. No picture that was decoded gives either.
#[derive(Debug, thiserror::Error)]
pub enum Unscalable {
    #[error("the pixels don't fill the picture")]
    Buffer(#[source] ImageBufferError),
    #[error("the area lies outside of the picture")]
    Area(#[from] ResizeError),
}

/// Tables and settings that all sizes of a picture share.
pub(super) struct Scaler {
    to_light: [u16; 256],
    from_light: Vec<u8>,
    lanczos: ResizeOptions,
}

impl Scaler {
    pub(super) fn new() -> Self {
        let mut to_light = [0; 256];
        for (value, light) in (0_u16..).zip(to_light.iter_mut()) {
            *light = (to_linear(f32::from(value) / 255.0) * 65_535.0).round() as u16;
        }
        let from_light = (0..LIGHT_LEVELS)
            .map(|light| (from_linear(light as f32 / 65_535.0) * 255.0).round() as u8)
            .collect();
        Self {
            to_light,
            from_light,
            lanczos: ResizeOptions::new()
                .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
                .use_alpha(false),
        }
    }

    /// Cuts an area out and brings it to the width of the largest variant. This first step is in sRGB: an original may
    /// have 40 megapixels, and twice the bytes of it would be too many.
    pub(super) fn scale_area(&self, picture: RgbImage, area: Area, width: u32) -> Result<RgbImage, Unscalable> {
        if (area.width, area.height) == picture.dimensions() && width == area.width {
            return Ok(picture);
        }
        let height = scaled_height((area.width, area.height), width);
        let mut scaled = RgbImage::new(width, height);
        let (source_width, source_height) = picture.dimensions();
        let source = TypedImageRef::<U8x3>::from_buffer(source_width, source_height, picture.as_raw())
            .map_err(Unscalable::Buffer)?;
        let mut target = TypedImage::<U8x3>::from_buffer(width, height, &mut scaled).map_err(Unscalable::Buffer)?;
        let options = self
            .lanczos
            .crop(area.x.into(), area.y.into(), area.width.into(), area.height.into());
        Resizer::new().resize_typed(&source, &mut target, &options)?;
        Ok(scaled)
    }

    /// Unpacks a picture into light.
    pub(super) fn linear(&self, picture: &RgbImage) -> Linear {
        let (width, height) = picture.dimensions();
        let mut linear = TypedImage::<U16x3>::new(width, height);
        for (light, pixel) in linear.pixels_mut().iter_mut().zip(picture.pixels()) {
            light.0 = pixel.0.map(|value| self.to_light[usize::from(value)]);
        }
        Linear(linear)
    }

    /// A picture of a width, its height in proportion.
    pub(super) fn scale(&self, picture: &Linear, width: u32) -> Result<RgbImage, Unscalable> {
        let height = scaled_height((picture.width(), picture.height()), width);
        if (width, height) == (picture.width(), picture.height()) {
            return Ok(self.pack(&picture.0));
        }
        let mut scaled = TypedImage::<U16x3>::new(width, height);
        Resizer::new().resize_typed(&picture.0, &mut scaled, &self.lanczos)?;
        Ok(self.pack(&scaled))
    }

    fn pack(&self, linear: &TypedImage<'_, U16x3>) -> RgbImage {
        let mut packed = RgbImage::new(linear.width(), linear.height());
        for (pixel, light) in packed.pixels_mut().zip(linear.pixels()) {
            pixel.0 = light.0.map(|light| self.from_light[usize::from(light)]);
        }
        packed
    }
}

fn scaled_height((width, height): (u32, u32), to_width: u32) -> u32 {
    let exact = f64::from(height) * f64::from(to_width) / f64::from(width.max(1));
    (exact.round() as u32).max(1)
}

/// The curve of sRGB.
fn to_linear(value: f32) -> f32 {
    if value <= 0.040_45 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

fn from_linear(light: f32) -> f32 {
    if light <= 0.003_130_8 {
        light * 12.92
    } else {
        1.055 * light.powf(1.0 / 2.4) - 0.055
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn a_picture_that_keeps_its_size_keeps_every_value() {
        let scaler = Scaler::new();
        let picture = RgbImage::from_fn(256, 2, |x, y| Rgb([x as u8, (255 - x) as u8, y as u8]));
        let same = scaler.scale(&scaler.linear(&picture), 256).expect("the same size");
        assert_eq!(same, picture);
    }

    #[test]
    fn black_and_white_lines_average_to_the_light_between_them() {
        let scaler = Scaler::new();
        let lines = RgbImage::from_fn(400, 400, |x, _| Rgb([if x % 2 == 0 { 255 } else { 0 }; 3]));
        let small = scaler.scale(&scaler.linear(&lines), 100).expect("a smaller size");
        // Half the light is 188 of 255; the average of the numbers would be 128.
        let Rgb([red, _, _]) = *small.get_pixel(50, 50);
        assert!((186..=190).contains(&red), "{red}");
    }
}
