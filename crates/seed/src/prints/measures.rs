//! What can be measured about a picture, to throw the dull ones away.

use tiny_skia::Pixmap;

use super::colour::Rgb;

/// How a picture comes out, measured on a coarse copy so that its size in pixels hardly matters.
#[derive(Clone, Copy, Debug)]
pub struct Measures {
    /// Deviation of lightness over the picture: 0 is a blank sheet.
    pub contrast: f32,
    /// The share of the picture that differs from the bare paper.
    pub coverage: f32,
    /// How evenly all lightnesses are used, in bits of 5.
    pub entropy: f32,
    /// How far the weight of the ink lies from the middle, as a share of half a side.
    pub imbalance: f32,
}

/// What a series accepts.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// The least contrast.
    pub contrast_min: f32,
    /// The least and the greatest coverage.
    pub coverage: (f32, f32),
    /// The least entropy.
    pub entropy_min: f32,
    /// The greatest imbalance.
    pub imbalance_max: f32,
}

impl Taste {
    /// Refuses only what is plainly empty, flat or lopsided.
    pub const BROAD: Self = Self {
        contrast_min: 0.06,
        coverage: (0.05, 1.0),
        entropy_min: 0.8,
        imbalance_max: 0.4,
    };

    /// Whether a picture with these measures may be printed.
    pub fn accepts(&self, measures: &Measures) -> bool {
        measures.contrast >= self.contrast_min
            && (self.coverage.0..=self.coverage.1).contains(&measures.coverage)
            && measures.entropy >= self.entropy_min
            && measures.imbalance <= self.imbalance_max
    }
}

const CELLS: usize = 96;

impl Measures {
    /// Measures a picture on the given paper.
    pub fn of(pixmap: &Pixmap, paper: Rgb) -> Self {
        let (width, height) = (pixmap.width() as usize, pixmap.height() as usize);
        let paper_light = paper.r * 0.3 + paper.g * 0.59 + paper.b * 0.11;
        let mut sums = vec![(0.0f32, 0.0f32, 0u32); CELLS * CELLS];
        for (index, pixel) in pixmap.pixels().iter().enumerate() {
            let (column, row) = (index % width, index / width);
            let cell = &mut sums[row * CELLS / height * CELLS + column * CELLS / width];
            let channels = [pixel.red(), pixel.green(), pixel.blue()].map(|c| f32::from(c) / 255.0);
            let [r, g, b] = channels;
            cell.0 += r * 0.3 + g * 0.59 + b * 0.11;
            cell.1 += (r - paper.r).abs().max((g - paper.g).abs()).max((b - paper.b).abs());
            cell.2 += 1;
        }
        let filled: Vec<(usize, f32, f32)> = sums
            .iter()
            .enumerate()
            .filter(|(_, cell)| cell.2 > 0)
            .map(|(index, cell)| (index, cell.0 / cell.2 as f32, cell.1 / cell.2 as f32))
            .collect();
        let count = filled.len().max(1) as f32;
        let mean = filled.iter().map(|cell| cell.1).sum::<f32>() / count;
        let variance = filled.iter().map(|cell| (cell.1 - mean).powi(2)).sum::<f32>() / count;
        let covered = filled.iter().filter(|cell| cell.2 > 0.06).count() as f32;

        let mut histogram = [0.0f32; 32];
        let (mut weight, mut pull_x, mut pull_y) = (1e-6, 0.0, 0.0);
        for (index, light, _) in &filled {
            histogram[((light * 32.0) as usize).min(31)] += 1.0;
            let ink = (light - paper_light).abs();
            weight += ink;
            pull_x += ink * ((index % CELLS) as f32 / (CELLS - 1) as f32 * 2.0 - 1.0);
            pull_y += ink * ((index / CELLS) as f32 / (CELLS - 1) as f32 * 2.0 - 1.0);
        }
        let entropy = histogram
            .iter()
            .filter(|bin| **bin > 0.0)
            .map(|bin| -(bin / count) * (bin / count).log2())
            .sum();
        Self {
            contrast: variance.sqrt(),
            coverage: covered / count,
            entropy,
            imbalance: (pull_x / weight).hypot(pull_y / weight),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prints::{
        colour::hex,
        geometry::{Area, at},
        sheet::Sheet,
    };

    const PAPER: Rgb = hex(0xFFFFFF);

    #[test]
    fn a_blank_sheet_is_refused() {
        let sheet = Sheet::new((1800.0, 1200.0), 0.1, PAPER);
        let measures = Measures::of(sheet.pixmap(), PAPER);
        assert!(measures.coverage < 0.001 && measures.contrast < 0.001, "{measures:?}");
        assert!(!Taste::BROAD.accepts(&measures));
    }

    #[test]
    fn everything_in_one_corner_is_refused_and_the_same_in_the_middle_is_not() {
        let measure = |left: f32, top: f32| {
            let mut sheet = Sheet::new((1800.0, 1800.0), 0.1, PAPER);
            sheet.block(Area::new(left, top, 700.0, 700.0), hex(0x202020));
            sheet.disc(at(left + 350.0, top + 350.0), 250.0, hex(0x808080));
            Measures::of(sheet.pixmap(), PAPER)
        };
        let (corner, middle) = (measure(0.0, 0.0), measure(550.0, 550.0));
        assert!(
            corner.imbalance > 0.5 && middle.imbalance < 0.02,
            "{corner:?} {middle:?}"
        );
        assert!(
            !Taste::BROAD.accepts(&corner) && Taste::BROAD.accepts(&middle),
            "{middle:?}"
        );
    }
}
