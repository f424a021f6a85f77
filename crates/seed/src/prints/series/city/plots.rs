//! What stands where: the idea of each town.

use crate::prints::{noise::Noise, rng::Rng};

/// What stands on one plot.
#[derive(Clone, Copy)]
pub(super) enum Plot {
    Bare,
    Water,
    Boat,
    Tree,
    Grove,
    Tower { height: f32, steps: usize },
    House { height: f32, along: bool },
    Dome { height: f32 },
    Sawtooth { height: f32 },
    Chimney { height: f32 },
    Block { height: f32 },
}

/// What stands where: the idea of each town.
pub(super) fn plot(place: usize, x: usize, y: usize, cells: usize, noise: &Noise, rng: &mut Rng) -> (Plot, f32) {
    let middle = (cells as f32 - 1.0) * 0.5;
    let (dx, dy) = (x as f32 - middle, y as f32 - middle);
    let gap = dx.hypot(dy) / middle;
    let mood = noise.fractal(x as f32 / 4.5, y as f32 / 4.5, 2);
    let along = rng.chance(0.5);
    let house = |height: f32| Plot::House { height, along };
    match place {
        0 => {
            let hill = (1.0 - gap).max(0.0).powf(1.25) * 8.5 + mood * 0.4;
            let level = (hill * 2.0).round().max(0.0) * 0.5;
            let plot = if dx.abs() < 1.0 && dy.abs() < 1.0 {
                Plot::Dome { height: 1.5 }
            } else if gap > 1.02 || (mood > 0.22 && gap > 0.5) {
                if rng.chance(0.5) { Plot::Grove } else { Plot::Tree }
            } else if rng.chance(0.1) {
                Plot::Tree
            } else {
                house(rng.range(0.5, 1.05))
            };
            (plot, level)
        }
        1 | 2 => {
            let street = x % 4 == 3 || y % 4 == 3;
            let core = (1.0 - gap * 0.62).max(0.08);
            let height = (0.6 + 11.5 * core.powi(3) * rng.range(0.3, 1.1) + mood * 2.2).max(0.5);
            let plot = if street {
                if rng.chance(0.12) { Plot::Tree } else { Plot::Bare }
            } else if mood < -0.38 {
                Plot::Grove
            } else if height > 2.2 {
                Plot::Tower {
                    height,
                    steps: rng.below(3),
                }
            } else {
                Plot::Block { height }
            };
            (plot, 0.0)
        }
        3 => {
            let shore = x as f32 + y as f32 * 0.35 + mood * 3.4;
            if shore > cells as f32 * 0.66 {
                return (if rng.chance(0.1) { Plot::Boat } else { Plot::Water }, 0.0);
            }
            let plot = match rng.below(12) {
                0 => Plot::Tree,
                1 | 2 => Plot::Bare,
                3 if shore > cells as f32 * 0.45 => Plot::Sawtooth { height: 0.6 },
                4 => Plot::Tower {
                    height: rng.range(1.6, 2.6),
                    steps: 1,
                },
                _ => house(rng.range(0.55, 1.2)),
            };
            (plot, 0.0)
        }
        4 | 9 => {
            let road = x % 6 == 3 || y % 8 == 4;
            let plot = if road {
                Plot::Bare
            } else if rng.chance(if place == 4 { 0.5 } else { 0.34 }) {
                house(rng.range(0.42, 0.7))
            } else if rng.chance(0.88) {
                Plot::Grove
            } else {
                Plot::Tree
            };
            (plot, 0.0)
        }
        5 => {
            let plot = if dx.abs() < 1.2 && dy.abs() < 1.2 {
                if dx.abs() < 0.6 && dy.abs() < 0.6 {
                    Plot::Water
                } else {
                    Plot::Tree
                }
            } else if rng.chance(0.085) {
                Plot::Dome {
                    height: rng.range(0.8, 1.5),
                }
            } else if rng.chance(0.07) {
                Plot::Tower {
                    height: rng.range(2.2, 3.1),
                    steps: 1,
                }
            } else if rng.chance(0.08) {
                Plot::Tree
            } else {
                Plot::Block {
                    height: rng.range(0.45, 1.35) + (1.0 - gap).max(0.0) * 0.5,
                }
            };
            (plot, 0.0)
        }
        6 => {
            let plot = if y % 5 == 4 {
                Plot::Bare
            } else if rng.chance(0.075) {
                Plot::Chimney {
                    height: rng.range(2.6, 4.2),
                }
            } else if mood > 0.1 {
                Plot::Sawtooth {
                    height: rng.range(0.55, 0.8),
                }
            } else if mood < -0.35 {
                Plot::Grove
            } else if rng.chance(0.3) {
                Plot::Block {
                    height: rng.range(0.6, 1.9),
                }
            } else {
                house(rng.range(0.5, 0.75))
            };
            (plot, 0.0)
        }
        7 => {
            if x % 5 == 2 || y == cells / 2 {
                return (if rng.chance(0.07) { Plot::Boat } else { Plot::Water }, 0.0);
            }
            let quay = x % 5 == 1 || x % 5 == 3;
            let plot = if !quay && rng.chance(0.35) {
                Plot::Tree
            } else if rng.chance(0.025) {
                Plot::Tower { height: 3.0, steps: 2 }
            } else {
                Plot::House {
                    height: rng.range(0.9, 1.9),
                    along: x % 5 < 2 || rng.chance(0.3),
                }
            };
            (plot, 0.0)
        }
        _ => {
            let ring = dx.abs().max(dy.abs());
            if ring < 4.6 {
                let level = (4.6 - ring).ceil() * 1.0;
                return (
                    if ring < 0.6 {
                        Plot::Dome { height: 0.9 }
                    } else {
                        Plot::Bare
                    },
                    level,
                );
            }
            let plot = match rng.below(9) {
                0..=2 => Plot::Bare,
                3 => Plot::Tree,
                4 => Plot::Grove,
                5 | 6 => Plot::Block {
                    height: rng.range(0.35, 0.7),
                },
                _ => Plot::House {
                    height: rng.range(0.3, 0.45),
                    along,
                },
            };
            (plot, 0.0)
        }
    }
}
