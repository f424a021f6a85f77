//! Colours, mixed the way the eye expects.

/// A colour in sRGB, each channel from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rgb {
    /// Red.
    pub r: f32,
    /// Green.
    pub g: f32,
    /// Blue.
    pub b: f32,
}

/// A colour written as on a palette card: `hex(0xF4EDE0)`.
pub const fn hex(code: u32) -> Rgb {
    Rgb {
        r: ((code >> 16) & 0xff) as f32 / 255.0,
        g: ((code >> 8) & 0xff) as f32 / 255.0,
        b: (code & 0xff) as f32 / 255.0,
    }
}

fn to_linear(channel: f32) -> f32 {
    if channel <= 0.040_45 {
        channel / 12.92
    } else {
        ((channel + 0.055) / 1.055).powf(2.4)
    }
}

fn from_linear(channel: f32) -> f32 {
    let channel = channel.clamp(0.0, 1.0);
    if channel <= 0.003_130_8 {
        channel * 12.92
    } else {
        1.055 * channel.powf(1.0 / 2.4) - 0.055
    }
}

impl Rgb {
    /// This colour moved towards `other` by `share` (0 to 1), in Oklab, so that the way between two
    /// strong colours doesn't lead through mud.
    pub fn mix(self, other: Self, share: f32) -> Self {
        let (from, to) = (self.oklab(), other.oklab());
        let share = share.clamp(0.0, 1.0);
        Self::from_oklab([0, 1, 2].map(|axis| from[axis] + (to[axis] - from[axis]) * share))
    }

    /// This colour moved straight towards `other` in sRGB: cheap, for small steps.
    pub fn blend(self, other: Self, share: f32) -> Self {
        Self {
            r: self.r + (other.r - self.r) * share,
            g: self.g + (other.g - self.g) * share,
            b: self.b + (other.b - self.b) * share,
        }
    }

    /// All channels multiplied by `factor`, as light and shade do.
    pub fn scaled(self, factor: f32) -> Self {
        Self {
            r: (self.r * factor).clamp(0.0, 1.0),
            g: (self.g * factor).clamp(0.0, 1.0),
            b: (self.b * factor).clamp(0.0, 1.0),
        }
    }

    /// This ink printed over `under`.
    pub fn over(self, under: Self) -> Self {
        Self {
            r: self.r * under.r,
            g: self.g * under.g,
            b: self.b * under.b,
        }
    }

    /// Moved in perceived lightness, and likewise in warmth, by small amounts.
    pub fn nudged(self, lightness: f32, warmth: f32) -> Self {
        let [l, a, b] = self.oklab();
        Self::from_oklab([l + lightness, a + warmth * 0.35, b + warmth])
    }

    /// Perceived lightness from 0 to 1.
    pub fn lightness(self) -> f32 {
        self.oklab()[0]
    }

    fn oklab(self) -> [f32; 3] {
        let (r, g, b) = (to_linear(self.r), to_linear(self.g), to_linear(self.b));
        let l = (0.412_221_46 * r + 0.536_332_55 * g + 0.051_445_995 * b).cbrt();
        let m = (0.211_903_5 * r + 0.680_699_5 * g + 0.107_396_96 * b).cbrt();
        let s = (0.088_302_46 * r + 0.281_718_85 * g + 0.629_978_7 * b).cbrt();
        [
            0.210_454_26 * l + 0.793_617_8 * m - 0.004_072_047 * s,
            1.977_998_5 * l - 2.428_592_2 * m + 0.450_593_7 * s,
            0.025_904_037 * l + 0.782_771_77 * m - 0.808_675_77 * s,
        ]
    }

    fn from_oklab([lightness, a, b]: [f32; 3]) -> Self {
        let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
        let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
        let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
        Self {
            r: from_linear(4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s),
            g: from_linear(-1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s),
            b: from_linear(-0.004_196_086_3 * l - 0.703_418_6 * m + 1.707_614_7 * s),
        }
    }
}

/// A smooth run of colours, looked up instead of mixed for every pixel.
#[derive(Clone, Debug)]
pub struct Ramp {
    steps: Vec<Rgb>,
}

impl Ramp {
    /// Runs through `stops` at equal distances; there must be at least one.
    pub fn new(stops: &[Rgb]) -> Self {
        let spans = stops.len().saturating_sub(1).max(1);
        let steps = (0..512)
            .map(|step| {
                let place = step as f32 / 511.0 * spans as f32;
                let span = (place as usize).min(spans - 1);
                let next = (span + 1).min(stops.len() - 1);
                stops[span.min(next)].mix(stops[next], place - span as f32)
            })
            .collect();
        Self { steps }
    }

    /// The colour at `place`, from 0 to 1.
    pub fn at(&self, place: f32) -> Rgb {
        let index = (place.clamp(0.0, 1.0) * (self.steps.len() - 1) as f32) as usize;
        self.steps[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_ends_at_both_colours() {
        let (from, to) = (hex(0x1F3A5F), hex(0xE8B04A));
        for (mixed, wanted) in [(from.mix(to, 0.0), from), (from.mix(to, 1.0), to)] {
            assert!((mixed.r - wanted.r).abs() < 0.01, "{mixed:?} {wanted:?}");
            assert!((mixed.g - wanted.g).abs() < 0.01, "{mixed:?} {wanted:?}");
            assert!((mixed.b - wanted.b).abs() < 0.01, "{mixed:?} {wanted:?}");
        }
    }

    #[test]
    fn a_ramp_of_one_colour_is_that_colour() {
        assert_eq!(Ramp::new(&[hex(0)]).at(0.7), hex(0).mix(hex(0), 0.0));
    }
}
