//! What is on each block, and how it is to be cut.

use crate::prints::{geometry::smoothstep, noise::Noise};

/// How the block is to be cut at a place.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    /// Feed and kill: they decide between spots, stripes and holes.
    pub(super) feed: f32,
    pub(super) kill: f32,
    /// The direction of stripes, and how strongly they keep to it.
    pub(super) angle: f32,
    pub(super) pull: f32,
    /// Coarseness, 1 is plain.
    pub(super) size: f32,
    /// Cut away altogether (0), left standing altogether (2), or what the chemicals say (1).
    pub(super) left: u8,
    /// Which of the colours below shows: 0 is bare paper.
    pub(super) block: u8,
}

pub(super) const STRIPES: Cut = Cut {
    feed: 0.037,
    kill: 0.060,
    angle: 0.0,
    pull: 0.0,
    size: 1.0,
    left: 1,
    block: 0,
};
pub(super) const SPOTS: Cut = Cut {
    feed: 0.0345,
    kill: 0.0645,
    ..STRIPES
};
pub(super) const HOLES: Cut = Cut {
    feed: 0.039,
    kill: 0.058,
    ..STRIPES
};
pub(super) const AWAY: Cut = Cut { left: 0, ..STRIPES };
pub(super) const SOLID: Cut = Cut { left: 2, ..STRIPES };

pub(super) fn ellipse(x: f32, y: f32, cx: f32, cy: f32, rx: f32, ry: f32) -> f32 {
    ((x - cx) / rx).hypot((y - cy) / ry)
}

/// The picture: `x` and `y` are shares of the sheet's width and height.
pub(super) fn subject(place: usize, x: f32, y: f32, aspect: f32, noise: &Noise) -> Cut {
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
                if !(-0.385..=0.375).contains(&v) {
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
                let crest =
                    foot - height * (1.0 - slope * 1.15).max(0.0).powf(1.1) + noise.fractal(x * 4.0, seed, 4) * 0.05;
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
