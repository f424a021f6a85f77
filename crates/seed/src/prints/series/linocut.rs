//! Reaction and diffusion as a gouge: what two chemicals do to each other, cut in lino.

use super::super::{
    Category, Series,
    colour::{Rgb, hex},
    geometry::{Area, Point, at, smoothstep},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "linocut",
    artist: "Wen Ruolan",
    technique: "Reduction linocut, hand-burnished",
    category: Category::Nature,
    years: (2008, 2024),
    price_cents: 30_000,
    taste: Taste {
        contrast_min: 0.1,
        imbalance_max: 0.45,
        ..Taste::BROAD
    },
    works: [
        work(
            "Moon over Ploughed Fields",
            "The furrows are cut with the widest gouge, the sky with the narrowest.",
        ),
        work(
            "Carp",
            "The scales were not drawn. They arranged themselves.",
        ),
        work(
            "Leaf, Held to the Light",
            "Everything between the veins found its own way to the edge.",
        ),
        work("Pear", "Just a pear, on a morning with nothing else to do."),
        work(
            "Tide Pool",
            "Spots where it is deep, stripes where it is shallow, and stones that are neither.",
        ),
        work("Owl", "It had been there for some time before it was seen."),
        work(
            "Vase with One Stripe",
            "The pattern changes its mind exactly once.",
        ),
        work(
            "Storm at Sea",
            "All the water goes one way, and then it does not.",
        ),
        work(
            "Sun, Printed Twice",
            "Two blocks, red first, black after. The sun is where the second was cut away.",
        ),
        work(
            "Mountain, Mist, Mountain",
            "Three ranges, with the paper standing in for the air between.",
        ),
    ],
    draw,
};

struct Plan {
    format: (f32, f32),
    paper: u32,
    ink: u32,
    /// A second block under the first: its upper and its lower colour, rolled as a rainbow.
    under: Option<(u32, u32)>,
}

const PLANS: [Plan; 10] = [
    Plan {
        format: (4.0, 5.0),
        paper: 0xF4EDDD,
        ink: 0x1E2B3F,
        under: Some((0xB9CBD6, 0xE3C48E)),
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xF3EADA,
        ink: 0x1D3A4A,
        under: Some((0xE58A4E, 0xD9543A)),
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xF4EFE0,
        ink: 0x1F4A34,
        under: Some((0xC9D38B, 0xA7C08A)),
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF2E8D5,
        ink: 0x2A2420,
        under: Some((0xE2B94B, 0xC9B23F)),
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xEFF0E8,
        ink: 0x143C4C,
        under: Some((0x9ED0C8, 0x5FA7AE)),
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0xEFE6D6,
        ink: 0x241C1A,
        under: Some((0xD9A05A, 0xB98A5C)),
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0xF5EEE2,
        ink: 0x23407A,
        under: None,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xEFEBE0,
        ink: 0x17202B,
        under: Some((0x93A5AE, 0x4F7C86)),
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF5EBDB,
        ink: 0x1E1A19,
        under: Some((0xD8412C, 0xE2682F)),
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xF3EEE4,
        ink: 0x26303C,
        under: Some((0xE6C9BE, 0xB7C4C6)),
    },
];

/// How the block is to be cut at a place.
#[derive(Clone, Copy)]
struct Cut {
    /// Feed and kill: they decide between spots, stripes and holes.
    feed: f32,
    kill: f32,
    /// The direction of stripes, and how strongly they keep to it.
    angle: f32,
    pull: f32,
    /// Coarseness, 1 is plain.
    size: f32,
    /// Cut away altogether (0), left standing altogether (2), or what the chemicals say (1).
    left: u8,
    /// Which of the colours below shows: 0 is bare paper.
    block: u8,
}

const STRIPES: Cut = Cut {
    feed: 0.037,
    kill: 0.060,
    angle: 0.0,
    pull: 0.0,
    size: 1.0,
    left: 1,
    block: 0,
};
const SPOTS: Cut = Cut {
    feed: 0.0345,
    kill: 0.0645,
    ..STRIPES
};
const HOLES: Cut = Cut {
    feed: 0.039,
    kill: 0.058,
    ..STRIPES
};
const AWAY: Cut = Cut { left: 0, ..STRIPES };
const SOLID: Cut = Cut { left: 2, ..STRIPES };

fn ellipse(x: f32, y: f32, cx: f32, cy: f32, rx: f32, ry: f32) -> f32 {
    ((x - cx) / rx).hypot((y - cy) / ry)
}

/// The picture: `x` and `y` are shares of the sheet's width and height.
fn subject(place: usize, x: f32, y: f32, aspect: f32, noise: &Noise) -> Cut {
    let wave = |size: f32, seed: f32| noise.fractal(x * size, seed, 3);
    match place {
        0 => {
            if ellipse(x, y * aspect, 0.62, 0.27 * aspect, 0.16, 0.16) < 1.0 {
                return AWAY;
            }
            let far = 0.50 + wave(1.4, 3.0) * 0.06;
            let near = 0.66 + wave(1.1, 9.0) * 0.07;
            if y < far {
                return Cut {
                    size: 0.62,
                    angle: 0.0,
                    pull: 0.62,
                    block: 1,
                    ..STRIPES
                };
            }
            if y < far + 0.008 || (y > near && y < near + 0.008) {
                return AWAY;
            }
            if y < near {
                return Cut {
                    angle: 0.35 + x * 0.5,
                    pull: 0.8,
                    size: 0.85,
                    block: 2,
                    ..STRIPES
                };
            }
            Cut {
                angle: 2.3 - x * 1.3,
                pull: 0.85,
                size: 1.7,
                block: 2,
                ..STRIPES
            }
        }
        1 => {
            let bend = (x * 5.0).sin() * 0.03;
            let body = ellipse(x, (y - bend) * aspect, 0.45, 0.5 * aspect, 0.27, 0.145);
            let tail_gap = x - 0.68;
            let spread = (tail_gap * 1.05 + 0.016).max(0.0);
            let notch = 0.94 - ((y - 0.5 - bend).abs() * 0.55);
            let tail = tail_gap > 0.0
                && x < notch - 0.03
                && ((y - 0.5 - bend) * aspect).abs() < spread
                && ((y - 0.5 - bend) * aspect).abs() > (x - 0.80) * 0.55;
            let eye = ellipse(x, y * aspect, 0.255, (0.47 + bend) * aspect, 0.017, 0.017);
            if eye < 0.55 {
                return SOLID;
            }
            if eye < 1.0 {
                return AWAY;
            }
            if body < 1.0 || tail {
                let gill = ellipse(x, (y - bend) * aspect, 0.20, 0.5 * aspect, 0.135, 0.19);
                if (gill - 1.0).abs() < 0.045 {
                    return AWAY;
                }
                if tail {
                    return Cut {
                        angle: (y - 0.5) * 1.6,
                        pull: 0.85,
                        size: 0.75,
                        block: 1,
                        ..STRIPES
                    };
                }
                if gill < 1.0 {
                    return Cut {
                        block: 1,
                        left: 2,
                        ..STRIPES
                    };
                }
                return Cut {
                    size: 1.0 + 0.5 * (1.0 - body),
                    block: 1,
                    ..SPOTS
                };
            }
            if body < 1.09 {
                return AWAY;
            }
            Cut {
                angle: (x * 5.0).cos() * 0.18,
                pull: 0.82,
                size: 0.8,
                ..STRIPES
            }
        }
        2 => {
            let (u, v) = ((x - 0.5) * 1.0, (y - 0.47) * aspect);
            let curve = v * v * 0.12;
            let (u, half) = (u - curve + 0.03, 0.66);
            let width = 0.36 * (1.0 - (v / half).powi(2)).max(0.0).powf(0.8) * (1.0 - v * 0.35);
            let stalk = v > half * 0.92 && v < half + 0.13 && u.abs() < 0.012;
            if stalk {
                return SOLID;
            }
            if u.abs() > width {
                return AWAY;
            }
            let rib = (v + u.abs() * 0.75) / 0.105;
            if u.abs() < 0.008 + 0.008 * (v + half) {
                return AWAY;
            }
            if (rib - rib.round()).abs() < 0.055 && u.abs() < width * 0.93 {
                return AWAY;
            }
            Cut {
                size: 0.62,
                angle: if u > 0.0 { -0.64 } else { 0.64 },
                pull: 0.35,
                block: 1 + u8::from(u > 0.0),
                ..HOLES
            }
        }
        3 => {
            let (u, v) = (x - 0.5, y - 0.55);
            let belly = ellipse(u, v, 0.0, 0.09, 0.25, 0.23);
            let neck = ellipse(u, v, 0.012, -0.14, 0.125, 0.18);
            let joined = (1.0 / (belly.powi(-5) + neck.powi(-5))).powf(0.2);
            let stalk = (u - 0.02 - (v + 0.3) * -0.25).abs() < 0.010 && v > -0.42 && v < -0.28;
            let leaf = {
                let (a, b) = (u - 0.12, v + 0.375);
                let (p, q) = (a * 0.93 + b * 0.36, -a * 0.36 + b * 0.93);
                p.abs() < 0.115 && q.abs() < 0.042 * (1.0 - (p / 0.115).powi(2))
            };
            if stalk || leaf {
                return Cut { block: 0, ..SOLID };
            }
            if joined < 1.0 {
                let light = ellipse(u, v, -0.1, 0.03, 0.085, 0.13);
                if light < 1.0 {
                    return Cut {
                        block: 1,
                        left: 0,
                        ..STRIPES
                    };
                }
                let shade = smoothstep(-0.1, 0.2, u);
                return Cut {
                    size: 0.7,
                    feed: 0.0345 + 0.0045 * shade,
                    kill: 0.0645 - 0.0062 * shade,
                    block: 1,
                    ..STRIPES
                };
            }
            if joined < 1.07 {
                return AWAY;
            }
            if y > 0.72 {
                return Cut {
                    size: 1.1,
                    angle: 0.0,
                    pull: 0.85,
                    block: 0,
                    ..STRIPES
                };
            }
            Cut {
                size: 0.75,
                angle: 1.571,
                pull: 0.72,
                block: 0,
                ..STRIPES
            }
        }
        4 => {
            let deep = noise.fractal(x * 2.2 + 7.0, y * aspect * 2.2, 3);
            let stones = [
                (0.22, 0.3, 0.11),
                (0.72, 0.64, 0.15),
                (0.8, 0.22, 0.075),
                (0.38, 0.78, 0.07),
            ];
            for (cx, cy, radius) in stones {
                let wobble = 1.0 + 0.18 * noise.fractal(x * 5.0 + cx * 31.0, y * 5.0, 2);
                let gap = ellipse(x, y * aspect, cx, cy * aspect, radius, radius * 0.8) * wobble;
                if gap < 1.0 {
                    return Cut {
                        block: 0,
                        size: 1.1,
                        angle: 0.6,
                        pull: 0.3,
                        ..HOLES
                    };
                }
                if gap < 1.14 {
                    return AWAY;
                }
            }
            let share = smoothstep(-0.25, 0.3, deep);
            Cut {
                feed: 0.037 - 0.0025 * share,
                kill: 0.060 + 0.0043 * share,
                size: 0.7 + 0.75 * share,
                block: if deep > 0.02 { 2 } else { 1 },
                ..STRIPES
            }
        }
        5 => {
            let (u, v) = (x - 0.5, (y - 0.52) * aspect);
            let body = ellipse(u, v, 0.0, 0.06, 0.25, 0.43);
            let head = ellipse(u, v, 0.0, -0.27, 0.215, 0.18);
            let ear = v < -0.36 && v > -0.53 + (u.abs() - 0.17).abs() * 2.6;
            let side = u.abs();
            let eye = ellipse(side, v, 0.085, -0.285, 0.066, 0.066);
            if eye < 0.36 {
                return SOLID;
            }
            if eye < 0.8 {
                return Cut { block: 1, ..AWAY };
            }
            if eye < 1.0 {
                return SOLID;
            }
            if ellipse(side, v, 0.0, -0.225, 0.022, 0.042) < 1.0 {
                return AWAY;
            }
            let branch = (v - 0.47 - u * 0.07).abs();
            if branch < 0.026 + 0.005 * (x * 30.0).sin() {
                return Cut {
                    angle: 0.07,
                    pull: 0.9,
                    size: 0.6,
                    block: 0,
                    ..HOLES
                };
            }
            if head < 1.0 || ear {
                let around = (v + 0.285).atan2(side - 0.085);
                return Cut {
                    angle: around,
                    pull: 0.72,
                    size: 0.5,
                    block: 2,
                    ..STRIPES
                };
            }
            if body < 1.0 {
                let wing = side > 0.135 + 0.05 * (v * 4.0).sin();
                return if wing {
                    Cut {
                        angle: 1.571 - u.signum() * 0.24,
                        pull: 0.82,
                        size: 0.85,
                        block: 2,
                        ..STRIPES
                    }
                } else {
                    Cut {
                        size: 0.72,
                        block: 1,
                        ..SPOTS
                    }
                };
            }
            if body.min(head) < 1.075 || branch < 0.04 {
                return AWAY;
            }
            Cut {
                angle: 1.571 + wave(2.0, 4.0) * 0.2,
                pull: 0.86,
                size: 0.95,
                block: 0,
                feed: 0.039,
                kill: 0.0585,
                ..STRIPES
            }
        }
        6 => {
            let v = (y - 0.53) * aspect;
            let u = x - 0.5;
            let profile = 0.105
                + 0.155 * (1.0 - ((v - 0.08) / 0.34).powi(2)).max(0.0).powf(0.72)
                + 0.05 * smoothstep(-0.33, -0.42, v);
            if v > -0.42 && v < 0.41 && u.abs() < profile {
                if v < -0.385 || v > 0.375 {
                    return SOLID;
                }
                if (v + 0.015).abs() < 0.055 {
                    return AWAY;
                }
                let round = u / profile;
                if v > 0.04 {
                    return Cut {
                        size: 1.15 - 0.5 * round.abs(),
                        ..SPOTS
                    };
                }
                return Cut {
                    angle: round * -0.5,
                    pull: 0.55,
                    size: 0.95,
                    ..STRIPES
                };
            }
            if v > 0.405 {
                return Cut {
                    angle: 0.0,
                    pull: 0.85,
                    size: 1.0,
                    ..HOLES
                };
            }
            AWAY
        }
        7 => {
            let horizon = 0.34 + wave(1.0, 2.0) * 0.02;
            if y < horizon {
                let rain = y / horizon;
                return Cut {
                    angle: 0.9 + 0.2 * rain,
                    pull: 0.82,
                    size: 0.7 + 0.35 * rain,
                    block: 1,
                    ..STRIPES
                };
            }
            let depth = (y - horizon) / (1.0 - horizon);
            let turn = noise.fractal(x * 2.0 / (0.4 + depth), y * 4.0, 3);
            let crest = noise.at(x * 3.2 + depth * 2.0, depth * 5.0);
            if (crest.abs() < 0.02 + 0.03 * depth) && depth > 0.06 {
                return AWAY;
            }
            Cut {
                angle: turn * 1.7,
                pull: 0.84,
                size: 0.55 + 1.05 * depth,
                block: 2,
                ..STRIPES
            }
        }
        8 => {
            let gap = ellipse(x, y, 0.5, 0.45, 0.27, 0.27);
            if gap < 1.0 {
                return Cut { block: 1, ..AWAY };
            }
            let angle = (y - 0.45).atan2(x - 0.5);
            let ray = (angle * 18.0 / std::f32::consts::TAU).fract().abs();
            let swirl = if ray < 0.5 { 0.0 } else { 0.35 };
            if y > 0.80 + wave(1.5, 5.0) * 0.03 {
                return Cut {
                    angle: 0.0,
                    pull: 0.86,
                    size: 1.25,
                    block: 2,
                    ..HOLES
                };
            }
            Cut {
                angle: angle + swirl,
                pull: 0.84,
                size: 0.7 + 0.4 * gap.min(2.0),
                block: 2,
                feed: 0.038,
                kill: 0.0592,
                ..STRIPES
            }
        }
        _ => {
            let peaks = [
                (0.37, 0.64, 0.24, 3.0),
                (0.63, 0.30, 0.22, 17.0),
                (0.90, 0.66, 0.2, 41.0),
            ];
            for (index, (foot, peak, height, seed)) in peaks.into_iter().enumerate() {
                let slope = (x - peak).abs();
                let crest = foot - height * (1.0 - slope * 1.15).max(0.0).powf(1.1)
                    + noise.fractal(x * 4.0, seed, 4) * 0.05;
                let below = (y - crest) / (foot + 0.1 - crest).max(0.01);
                if y > crest && below < 1.0 {
                    // Downhill the ink thins out into mist.
                    if y < crest + 0.004 {
                        return SOLID;
                    }
                    let mist = smoothstep(0.35, 1.0, below);
                    let side = if x < peak { 1.05 } else { 2.1 };
                    return Cut {
                        angle: side,
                        pull: 0.75,
                        feed: 0.0385 - 0.005 * mist,
                        kill: 0.0590 + 0.0067 * mist,
                        size: 0.6 + 0.3 * index as f32,
                        left: u8::from(mist < 0.97),
                        ..STRIPES
                    };
                }
            }
            if ellipse(x, y * aspect, 0.27, 0.15 * aspect, 0.085, 0.085) < 1.0 {
                return Cut { block: 1, ..AWAY };
            }
            AWAY
        }
    }
}

/// Two chemicals on a grid (Gray and Scott's model, with diffusion that may prefer a direction).
struct Bath {
    columns: usize,
    rows: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Bath {
    fn new(columns: usize, rows: usize, rng: &mut Rng) -> Self {
        let mut b = vec![0.0; columns * rows];
        for _ in 0..columns * rows / 55 {
            let (x, y) = (2 + rng.below(columns - 5), 2 + rng.below(rows - 5));
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)] {
                b[(y + dy) * columns + x + dx] = 0.5;
            }
        }
        Self {
            columns,
            rows,
            a: b.iter().map(|b| 1.0 - b).collect(),
            b,
        }
    }

    fn react(&mut self, cuts: &[Cut], steps: usize) {
        let list = |of: &dyn Fn(&Cut) -> f32| -> Vec<f32> { cuts.iter().map(of).collect() };
        let stretch = |cut: &Cut, part: usize| {
            let (sin, cos) = cut.angle.sin_cos();
            let (along, across) = (1.0 + cut.pull * 0.8, 1.0 - cut.pull * 0.8);
            // More than this, and the explicit step would blow up.
            let size = cut.size.min(1.6);
            size * match part {
                0 => along * cos * cos + across * sin * sin,
                1 => along * sin * sin + across * cos * cos,
                _ => (along - across) * sin * cos * 0.5,
            }
        };
        let level = list(&|cut| stretch(cut, 0));
        let upright = list(&|cut| stretch(cut, 1));
        let slanted = list(&|cut| stretch(cut, 2));
        let feed = list(&|cut| cut.feed);
        let drain = list(&|cut| cut.feed + cut.kill);
        let columns = self.columns;
        let (mut next_a, mut next_b) = (self.a.clone(), self.b.clone());
        for _ in 0..steps {
            for row in 1..self.rows - 1 {
                let line = |row: usize| row * columns..(row + 1) * columns;
                let (three, here) = ([line(row - 1), line(row), line(row + 1)], line(row));
                react_line(
                    &mut next_a[here.clone()],
                    &mut next_b[here.clone()],
                    three.clone().map(|range| &self.a[range]),
                    three.map(|range| &self.b[range]),
                    [&level, &upright, &slanted, &feed, &drain].map(|list| &list[here.clone()]),
                );
            }
            std::mem::swap(&mut self.a, &mut next_a);
            std::mem::swap(&mut self.b, &mut next_b);
        }
    }

    fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (
            x.clamp(1.0, self.columns as f32 - 3.0),
            y.clamp(1.0, self.rows as f32 - 3.0),
        );
        let (column, row) = (x as usize, y as usize);
        let (u, v) = (x.fract(), y.fract());
        // Cubic, since straight interpolation would show the grid in the edges of the cuts.
        let weights = |t: f32| {
            let s = 1.0 - t;
            [
                s * s * s / 6.0,
                (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
                t * t * t / 6.0,
            ]
        };
        let (across, down) = (weights(u), weights(v));
        let mut sum = 0.0;
        for (dy, weight_y) in down.iter().enumerate() {
            for (dx, weight_x) in across.iter().enumerate() {
                sum +=
                    self.b[(row + dy - 1) * self.columns + column + dx - 1] * weight_x * weight_y;
            }
        }
        sum
    }
}

/// One line of cells, one step on. A function of its own, so that the compiler knows that what is written
/// isn't what is read, and works on several cells at once.
fn react_line(
    out_a: &mut [f32],
    out_b: &mut [f32],
    a: [&[f32]; 3],
    b: [&[f32]; 3],
    weights: [&[f32]; 5],
) {
    let count = out_a.len() - 2;
    // Left, middle and right neighbours as slices of one length: nothing to check inside the loop.
    let (left, middle, right) = (0..count, 1..count + 1, 2..count + 2);
    let [[a_nw, a_n, a_ne], [a_w, a_0, a_e], [a_sw, a_s, a_se]] = a.map(|line| {
        [
            &line[left.clone()][..count],
            &line[middle.clone()][..count],
            &line[right.clone()][..count],
        ]
    });
    let [[b_nw, b_n, b_ne], [b_w, b_0, b_e], [b_sw, b_s, b_se]] = b.map(|line| {
        [
            &line[left.clone()][..count],
            &line[middle.clone()][..count],
            &line[right.clone()][..count],
        ]
    });
    let [level, upright, slanted, feed, drain] = weights.map(|line| &line[middle.clone()][..count]);
    let (out_a, out_b) = (
        &mut out_a[middle.clone()][..count],
        &mut out_b[middle][..count],
    );
    for x in 0..count {
        let (here_a, here_b) = (a_0[x], b_0[x]);
        let spread_a = level[x] * (a_w[x] + a_e[x] - 2.0 * here_a)
            + upright[x] * (a_n[x] + a_s[x] - 2.0 * here_a)
            + slanted[x] * (a_nw[x] + a_se[x] - a_ne[x] - a_sw[x]);
        let spread_b = level[x] * (b_w[x] + b_e[x] - 2.0 * here_b)
            + upright[x] * (b_n[x] + b_s[x] - 2.0 * here_b)
            + slanted[x] * (b_nw[x] + b_se[x] - b_ne[x] - b_sw[x]);
        let change = here_a * here_b * here_b;
        out_a[x] = here_a + 0.13 * spread_a - change + feed[x] * (1.0 - here_a);
        // Never quite nothing: numbers too small to be normal are slow.
        out_b[x] = (here_b + 0.065 * spread_b + change - drain[x] * here_b).max(1e-9);
    }
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.paper));
    let area = sheet.area().inset(size.0.min(size.1) * 0.095);
    let noise = Noise::new(rng.seed());
    let aspect = area.height / area.width;
    let cell = 5.0;
    let (columns, rows) = (
        (area.width / cell) as usize + 6,
        (area.height / cell) as usize + 6,
    );
    let cuts: Vec<Cut> = (0..columns * rows)
        .map(|index| {
            let (x, y) = (
                (index % columns) as f32 - 3.0,
                (index / columns) as f32 - 3.0,
            );
            subject(
                place,
                x * cell / area.width,
                y * cell / area.height,
                aspect,
                &noise,
            )
        })
        .collect();
    let mut bath = Bath::new(columns, rows, rng);
    bath.react(&cuts, 3400);
    print(
        &mut sheet, plan, place, area, &bath, cell, &noise, aspect, rng,
    );
    sheet.grain(1.5, rng.seed());
    sheet
}

#[allow(
    clippy::too_many_arguments,
    reason = "a pull needs block, plan and paper"
)]
fn print(
    sheet: &mut Sheet,
    plan: &Plan,
    place: usize,
    area: Area,
    bath: &Bath,
    cell: f32,
    noise: &Noise,
    aspect: f32,
    rng: &mut Rng,
) {
    let (paper, ink) = (hex(plan.paper), hex(plan.ink));
    let salt = Noise::new(rng.seed());
    let chatter = Noise::new(rng.seed());
    let slip = at(rng.normal(), rng.normal()) * 1.5;
    let (upper, lower) = plan
        .under
        .map_or((paper, paper), |(upper, lower)| (hex(upper), hex(lower)));
    let look = |point: Point| {
        let (x, y) = (
            (point.x - area.left) / area.width,
            (point.y - area.top) / area.height,
        );
        (x, y, subject(place, x, y, aspect, noise))
    };
    sheet.shade(area.inset(-6.0), 2, |point| {
        // The edge of a block is cut by hand.
        let rough = chatter.at(point.x / 40.0, point.y / 40.0) * 2.6;
        if !area.inset(rough).contains(point) {
            return None;
        }
        let (_, y, cut) = look(point);
        let under = if plan.under.is_some() {
            look(point + slip).2.block
        } else {
            0
        };
        let mut colour: Rgb = match under {
            0 => paper,
            1 => upper,
            _ => upper.blend(lower, smoothstep(0.25, 0.85, y)),
        };
        let worn =
            salt.at(point.x / 2.8, point.y / 2.8) + salt.at(point.x / 60.0, point.y / 60.0) * 0.5;
        let inked = match cut.left {
            0 => {
                // Ridges that the gouge left standing where it cleared the ground.
                let ridge = chatter.at(point.x / 34.0 + point.y / 160.0, point.y / 7.0);
                ridge > 0.83 && under == 0
            }
            2 => true,
            _ => {
                let value = bath.at(
                    (point.x - area.left) / cell + 3.0,
                    (point.y - area.top) / cell + 3.0,
                );
                value > 0.165 + 0.012 * chatter.at(point.x / 12.0, point.y / 12.0)
            }
        };
        if under != 0 {
            colour = colour.blend(paper, (worn - 0.8).max(0.0) * 0.8);
        }
        if inked {
            let thin = (worn - 0.72).max(0.0) * 0.9;
            colour = ink.blend(colour, thin.min(0.8));
        }
        Some(colour)
    });
}
