//! Gradient noise: the weather in the pictures.

/// A noise field of its own, chosen by a seed.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    seed: u32,
}

fn hash(x: i32, y: i32, seed: u32) -> u32 {
    let mut word =
        (x as u32).wrapping_mul(0x8da6_b343) ^ (y as u32).wrapping_mul(0xd816_3841) ^ seed.wrapping_mul(0xcb1a_b31f);
    word = (word ^ (word >> 15)).wrapping_mul(0x2c1b_3c6d);
    word = (word ^ (word >> 12)).wrapping_mul(0x297a_2d39);
    word ^ (word >> 15)
}

fn gradient(corner: u32, x: f32, y: f32) -> f32 {
    // Eight directions: enough for the eye, and no sine.
    let (u, v) = if corner & 4 == 0 { (x, y) } else { (y, x) };
    let u = if corner & 1 == 0 { u } else { -u };
    let v = if corner & 2 == 0 { v } else { -v };
    u + 0.414_213_57 * v
}

fn ease(t: f32) -> f32 {
    t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
}

impl Noise {
    /// The field that `seed` names.
    pub fn new(seed: u32) -> Self {
        Self { seed }
    }

    /// Smooth noise with features of size 1, about -1 to 1.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (left, top) = (x.floor(), y.floor());
        let (dx, dy) = (x - left, y - top);
        let (cell_x, cell_y) = (left as i32, top as i32);
        let corner = |i: i32, j: i32| {
            let bits = hash(cell_x.wrapping_add(i), cell_y.wrapping_add(j), self.seed);
            gradient(bits >> 8, dx - i as f32, dy - j as f32)
        };
        let (u, v) = (ease(dx), ease(dy));
        let upper = corner(0, 0) * (1.0 - u) + corner(1, 0) * u;
        let lower = corner(0, 1) * (1.0 - u) + corner(1, 1) * u;
        (upper * (1.0 - v) + lower * v) * 1.25
    }

    /// Noise with `octaves` layers of ever finer detail, about -1 to 1.
    pub fn fractal(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut weight, mut total) = (0.0, 1.0, 0.0);
        let (mut px, mut py) = (x, y);
        for _ in 0..octaves {
            sum += self.at(px, py) * weight;
            total += weight;
            weight *= 0.5;
            // Turned a little in each octave, so that the grids never line up.
            (px, py) = (px * 1.616 - py * 1.212 + 17.3, px * 1.212 + py * 1.616 - 9.1);
        }
        sum / total
    }

    /// Sharp crests, as of mountains: 0 to 1.
    pub fn ridges(&self, x: f32, y: f32, octaves: u32) -> f32 {
        let (mut sum, mut weight, mut total) = (0.0, 1.0, 0.0);
        let (mut px, mut py) = (x, y);
        for _ in 0..octaves {
            let crest = 1.0 - self.at(px, py).abs();
            sum += crest * crest * weight;
            total += weight;
            weight *= 0.5;
            (px, py) = (px * 1.616 - py * 1.212 + 5.9, px * 1.212 + py * 1.616 + 3.7);
        }
        sum / total
    }

    /// White noise for one cell of a grid: 0 to 1.
    pub fn cell(&self, x: i32, y: i32) -> f32 {
        (hash(x, y, self.seed) >> 8) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_bounded_and_continuous() {
        let noise = Noise::new(3);
        for step in 0..4000 {
            let x = step as f32 * 0.013 - 20.0;
            let here = noise.fractal(x, 1.7, 4);
            assert!(here.abs() <= 1.2, "{here} at {x}");
            assert!((here - noise.fractal(x + 0.001, 1.7, 4)).abs() < 0.05);
        }
    }
}
