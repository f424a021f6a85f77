//! Scaling with Lanczos in linear light: averaged as light and not as numbers, so that fine lines keep their tone.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{
    FilterType, PixelComponentMapper, PixelType, ResizeAlg, ResizeError, ResizeOptions, Resizer,
    create_srgb_mapper,
};
use image::RgbImage;

use super::edit::Area;

/// A picture with 16 bits a channel, in linear light.
pub(super) struct Linear(Image<'static>);

impl Linear {
    pub(super) fn width(&self) -> u32 {
        self.0.width()
    }

    pub(super) fn height(&self) -> u32 {
        self.0.height()
    }
}

/// Tables and settings that all sizes of a picture share.
pub(super) struct Scaler {
    srgb: Box<PixelComponentMapper>,
    lanczos: ResizeOptions,
}

impl Scaler {
    pub(super) fn new() -> Self {
        Self {
            srgb: Box::new(create_srgb_mapper()),
            lanczos: ResizeOptions::new()
                .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
                .use_alpha(false),
        }
    }

    /// Cuts an area out and brings it to the width of the largest variant. This first step is in sRGB: an original may
    /// have 40 megapixels, and twice the bytes of it would be too many.
    pub(super) fn scale_area(
        &self,
        picture: RgbImage,
        area: Area,
        width: u32,
    ) -> Result<RgbImage, ResizeError> {
        if (area.width, area.height) == picture.dimensions() && width == area.width {
            return Ok(picture);
        }
        let height = scaled_height((area.width, area.height), width);
        let (source_width, source_height) = picture.dimensions();
        let source = ImageRef::new(
            source_width,
            source_height,
            picture.as_raw(),
            PixelType::U8x3,
        )
        .map_err(|_| unsupported())?;
        let mut scaled = Image::new(width, height, PixelType::U8x3);
        let options = self.lanczos.crop(
            area.x.into(),
            area.y.into(),
            area.width.into(),
            area.height.into(),
        );
        Resizer::new().resize(&source, &mut scaled, &options)?;
        Ok(to_rgb(scaled))
    }

    /// Unpacks a picture into light.
    pub(super) fn linear(&self, picture: &RgbImage) -> Result<Linear, ResizeError> {
        let (width, height) = picture.dimensions();
        let source = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3)
            .map_err(|_| unsupported())?;
        let mut linear = Image::new(width, height, PixelType::U16x3);
        self.srgb
            .forward_map(&source, &mut linear)
            .map_err(|_| unsupported())?;
        Ok(Linear(linear))
    }

    /// A picture of a width, its height in proportion.
    pub(super) fn scale(&self, picture: &Linear, width: u32) -> Result<RgbImage, ResizeError> {
        let height = scaled_height((picture.width(), picture.height()), width);
        let mut srgb = Image::new(width, height, PixelType::U8x3);
        if (width, height) == (picture.width(), picture.height()) {
            self.srgb
                .backward_map(&picture.0, &mut srgb)
                .map_err(|_| unsupported())?;
        } else {
            let mut scaled = Image::new(width, height, PixelType::U16x3);
            Resizer::new().resize(&picture.0, &mut scaled, &self.lanczos)?;
            self.srgb
                .backward_map(&scaled, &mut srgb)
                .map_err(|_| unsupported())?;
        }
        Ok(to_rgb(srgb))
    }
}

fn scaled_height((width, height): (u32, u32), to_width: u32) -> u32 {
    let exact = f64::from(height) * f64::from(to_width) / f64::from(width.max(1));
    (exact.round() as u32).max(1)
}

fn to_rgb(picture: Image<'static>) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    RgbImage::from_raw(width, height, picture.into_vec()).unwrap_or_default()
}

/// The mapper knows the two pixel types that it gets here.
fn unsupported() -> ResizeError {
    ResizeError::ImageError(fast_image_resize::ImageError::UnsupportedPixelType)
}
