//! What the shopkeeper asked for: crop, blur, sharpen.

use image::RgbImage;
use image::imageops;
use shop_queue::messages::{Crop, PhotoEdits};

/// Blur at full strength, as a part of the picture's width: a print becomes patches of its colours.
const BLUR_SIGMA_MAX: f32 = 0.02;
/// Radius of sharpening, as a part of the picture's width: hair lines at the largest size.
const SHARPEN_SIGMA: f32 = 0.0008;
/// How much of the fine detail is added once more at full strength.
const SHARPEN_GAIN_MAX: f32 = 1.5;
/// Edits weaker than this are none.
const STRENGTH_MIN: f32 = 0.005;

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: u32,
    pub(super) y: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// The part to keep, always inside the picture and never empty.
pub(super) fn crop_area((width, height): (u32, u32), crop: Option<&Crop>) -> Area {
    let Some(crop) = crop else {
        return Area {
            x: 0,
            y: 0,
            width,
            height,
        };
    };
    let (x, cropped_width) = cut(width, crop.x, crop.width);
    let (y, cropped_height) = cut(height, crop.y, crop.height);
    Area {
        x,
        y,
        width: cropped_width,
        height: cropped_height,
    }
}

/// Start and length of a part of a side. A cast from float saturates, so nonsense ends inside as well.
fn cut(side: u32, start: f32, length: f32) -> (u32, u32) {
    let start = ((side as f32 * start).round() as u32).min(side.saturating_sub(1));
    let length = ((side as f32 * length).round() as u32).clamp(1, side - start);
    (start, length)
}

/// Blurs, then sharpens.
pub(super) fn retouch(picture: RgbImage, edits: &PhotoEdits) -> RgbImage {
    let width = picture.width() as f32;
    let mut picture = picture;
    if edits.blur >= STRENGTH_MIN {
        let sigma = (edits.blur.min(1.0) * BLUR_SIGMA_MAX * width).max(0.5);
        picture = imageops::fast_blur(&picture, sigma);
    }
    if edits.sharpen >= STRENGTH_MIN {
        let softened = imageops::blur(&picture, (SHARPEN_SIGMA * width).max(0.8));
        let gain = edits.sharpen.min(1.0) * SHARPEN_GAIN_MAX;
        for (sharp, soft) in picture.iter_mut().zip(softened.iter()) {
            let detail = f32::from(*sharp) - f32::from(*soft);
            *sharp = (f32::from(*sharp) + gain * detail).round() as u8;
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_never_leaves_the_picture() {
        for crop in [
            Crop {
                x: 0.9,
                y: 0.9,
                width: 0.9,
                height: 0.9,
            },
            Crop {
                x: 2.0,
                y: -1.0,
                width: 0.0,
                height: 7.0,
            },
            Crop {
                x: f32::NAN,
                y: f32::INFINITY,
                width: f32::NAN,
                height: f32::NEG_INFINITY,
            },
        ] {
            let area = crop_area((100, 80), Some(&crop));
            assert!(area.width >= 1 && area.x + area.width <= 100, "{area:?}");
            assert!(area.height >= 1 && area.y + area.height <= 80, "{area:?}");
        }
    }
}
