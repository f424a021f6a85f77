//! Building: boxes, roofs, trees and drums, from back to front.

use crate::prints::{
    colour::{Rgb, hex},
    geometry::{Point, at, hatch},
    rng::Rng,
    sheet::Sheet,
};

use super::{plans::Plan, plots::Plot};

pub(super) struct Town<'a> {
    pub(super) sheet: &'a mut Sheet,
    pub(super) plan: &'static Plan,
    pub(super) origin: Point,
    /// Half the width of a plot on the sheet.
    pub(super) half: f32,
}

impl Town<'_> {
    /// From plan coordinates (in plots) and height (in plots) to the sheet.
    pub(super) fn at(&self, x: f32, y: f32, z: f32) -> Point {
        self.origin + at((x - y) * self.half, (x + y) * self.half * 0.56 - z * self.half * 1.24)
    }

    pub(super) fn face(&mut self, corners: &[Point], wash: Rgb, shade: Option<(f32, f32)>, weight: f32) {
        let ink = hex(self.plan.ink);
        self.sheet.fill(corners, wash);
        if let Some((angle, spacing)) = shade {
            let lines = hatch(corners, angle, spacing);
            self.sheet.lines(&lines, 1.25, ink.thin(0.72));
        }
        self.sheet.ring(corners, weight, ink);
    }

    /// A box; returns the corners of its top: back, right, front, left.
    pub(super) fn cuboid(&mut self, (x, y, z): (f32, f32, f32), (w, d, h): (f32, f32, f32), top: Rgb) -> [Point; 4] {
        let [left, right, _] = self.plan.walls.map(hex);
        let (x2, y2, z2) = (x + w, y + d, z + h);
        self.face(
            &[
                self.at(x, y2, z),
                self.at(x2, y2, z),
                self.at(x2, y2, z2),
                self.at(x, y2, z2),
            ],
            left,
            Some((1.05, 6.2)),
            1.7,
        );
        self.face(
            &[
                self.at(x2, y, z),
                self.at(x2, y2, z),
                self.at(x2, y2, z2),
                self.at(x2, y, z2),
            ],
            right,
            None,
            1.7,
        );
        let lid = [
            self.at(x, y, z2),
            self.at(x2, y, z2),
            self.at(x2, y2, z2),
            self.at(x, y2, z2),
        ];
        self.face(&lid, top, None, 1.7);
        lid
    }

    /// Windows in rows on both walls that the viewer sees.
    pub(super) fn windows(
        &mut self,
        (x, y, z): (f32, f32, f32),
        (w, d, h): (f32, f32, f32),
        pitch: f32,
        rng: &mut Rng,
    ) {
        let storeys = (h / pitch) as usize;
        let dark = hex(self.plan.ink);
        let lamp = self.plan.lamp.map(hex);
        for storey in 0..storeys {
            let low = z + (storey as f32 + 0.3) * pitch;
            for (wall, length) in [(true, w), (false, d)] {
                let count = (length / 0.19) as usize;
                for index in 0..count {
                    let from = (index as f32 + 0.28) * length / count as f32;
                    let to = from + length / count as f32 * 0.46;
                    let high = low + pitch * 0.46;
                    let pane = if wall {
                        let front = y + d;
                        [
                            self.at(x + from, front, low),
                            self.at(x + to, front, low),
                            self.at(x + to, front, high),
                            self.at(x + from, front, high),
                        ]
                    } else {
                        let front = x + w;
                        [
                            self.at(front, y + from, low),
                            self.at(front, y + to, low),
                            self.at(front, y + to, high),
                            self.at(front, y + from, high),
                        ]
                    };
                    match lamp {
                        Some(light) if rng.chance(0.32) => {
                            self.sheet.fill(&pane, light.scaled(rng.range(0.8, 1.05)));
                        }
                        Some(_) => self.sheet.fill(&pane, dark.thin(0.5)),
                        None if rng.chance(0.86) => self.sheet.fill(&pane, dark.thin(0.72)),
                        None => {}
                    }
                }
            }
        }
    }

    pub(super) fn house(&mut self, (x, y, z): (f32, f32, f32), (w, d, h): (f32, f32, f32), along: bool, rng: &mut Rng) {
        let roof = hex(rng.pick(&self.plan.roofs));
        let rise = w.min(d) * 0.52;
        self.cuboid((x, y, z), (w, d, h), roof);
        self.windows((x, y, z), (w, d, h), 0.3, rng);
        let [left, right, _] = self.plan.walls.map(hex);
        let (x2, y2, top) = (x + w, y + d, z + h);
        let ridge = top + rise;
        if along {
            let (a, b) = (self.at(x, y + d * 0.5, ridge), self.at(x2, y + d * 0.5, ridge));
            self.face(
                &[self.at(x, y, top), self.at(x2, y, top), b, a],
                roof.scaled(0.86),
                None,
                1.4,
            );
            self.face(
                &[self.at(x, y2, top), self.at(x2, y2, top), b, a],
                roof,
                Some((-1.2, 8.0)),
                1.7,
            );
            self.face(&[self.at(x2, y, top), self.at(x2, y2, top), b], right, None, 1.7);
        } else {
            let (a, b) = (self.at(x + w * 0.5, y, ridge), self.at(x + w * 0.5, y2, ridge));
            self.face(
                &[self.at(x, y, top), self.at(x, y2, top), b, a],
                roof.scaled(0.84),
                Some((1.2, 8.0)),
                1.4,
            );
            self.face(
                &[self.at(x2, y, top), self.at(x2, y2, top), b, a],
                roof.scaled(1.06),
                Some((1.2, 11.0)),
                1.7,
            );
            self.face(
                &[self.at(x, y2, top), self.at(x2, y2, top), b],
                left,
                Some((1.05, 6.2)),
                1.7,
            );
        }
    }

    pub(super) fn tree(&mut self, x: f32, y: f32, z: f32, size: f32, rng: &mut Rng) {
        let foot = self.at(x, y, z);
        let ink = hex(self.plan.ink);
        let radius = self.half * size * rng.range(0.85, 1.15);
        let crown = foot - at(0.0, radius * 1.55);
        self.sheet.line(&[foot, crown], 2.2, ink);
        let leaf = hex(self.plan.tree[0])
            .blend(hex(self.plan.tree[1]), rng.unit())
            .nudged(rng.normal() * 0.02, rng.normal() * 0.015);
        let outline: Vec<Point> = (0..22)
            .map(|step| {
                let angle = step as f32 / 22.0 * std::f32::consts::TAU;
                crown + at(angle.cos() * 0.92, angle.sin() * 1.12) * (radius * rng.range(0.93, 1.06))
            })
            .collect();
        self.sheet.fill(&outline, leaf);
        let shade: Vec<Point> = outline
            .iter()
            .map(|point| {
                at(
                    crown.x - radius * 0.32 + (point.x - crown.x) * 0.66,
                    point.y.max(crown.y - radius * 0.5),
                )
            })
            .collect();
        let lines = hatch(&shade, 1.05, 5.5);
        self.sheet.lines(&lines, 1.1, ink.thin(0.6));
        self.sheet.ring(&outline, 1.5, ink);
    }

    pub(super) fn ellipse(&self, x: f32, y: f32, z: f32, radius: f32, from: f32, to: f32) -> Vec<Point> {
        (0..=28)
            .map(|step| {
                let angle = from + (to - from) * step as f32 / 28.0;
                self.at(x + radius * angle.cos(), y + radius * angle.sin(), z)
            })
            .collect()
    }

    /// An upright cylinder.
    pub(super) fn drum(&mut self, (x, y, z): (f32, f32, f32), radius: f32, height: f32, top: Rgb) {
        use std::f32::consts::{FRAC_PI_4, PI};
        let mut wall = self.ellipse(x, y, z, radius, -FRAC_PI_4, PI - FRAC_PI_4);
        let mut rim = self.ellipse(x, y, z + height, radius, -FRAC_PI_4, PI - FRAC_PI_4);
        rim.reverse();
        wall.extend(rim);
        let [left, right, _] = self.plan.walls.map(hex);
        self.face(&wall, right, None, 1.6);
        let mut dark = self.ellipse(x, y, z, radius, FRAC_PI_4 * 1.4, PI - FRAC_PI_4);
        let mut above = self.ellipse(x, y, z + height, radius, FRAC_PI_4 * 1.4, PI - FRAC_PI_4);
        above.reverse();
        dark.extend(above);
        self.sheet.fill(&dark, left);
        let lines = hatch(&dark, std::f32::consts::FRAC_PI_2, 5.0);
        self.sheet.lines(&lines, 1.2, hex(self.plan.ink).thin(0.72));
        self.sheet.ring(&wall, 1.6, hex(self.plan.ink));
        let lid = self.ellipse(x, y, z + height, radius, 0.0, 2.0 * PI);
        self.face(&lid, top, None, 1.6);
    }

    pub(super) fn dome(&mut self, (x, y, z): (f32, f32, f32), radius: f32, colour: Rgb) {
        use std::f32::consts::PI;
        let base = self.at(x, y, z);
        let reach = radius * self.half * 1.42;
        let shell: Vec<Point> = (0..=30)
            .map(|step| {
                let angle = PI + PI * step as f32 / 30.0;
                base + at(angle.cos() * reach, angle.sin() * reach * 1.12)
            })
            .chain((0..=16).map(|step| {
                let angle = PI * step as f32 / 16.0;
                base + at(angle.cos() * reach, angle.sin() * reach * 0.5)
            }))
            .collect();
        self.face(&shell, colour, None, 1.7);
        let shade: Vec<Point> = shell
            .iter()
            .map(|point| at(base.x - reach * 0.42 + (point.x - base.x) * 0.56, point.y))
            .collect();
        let lines = hatch(&shade, 1.05, 6.0);
        self.sheet.lines(&lines, 1.2, hex(self.plan.ink).thin(0.6));
        let tip = base - at(0.0, reach * 1.12);
        self.sheet
            .line(&[tip, tip - at(0.0, reach * 0.4)], 2.4, hex(self.plan.ink));
    }

    pub(super) fn build(&mut self, plot: Plot, x: f32, y: f32, z: f32, rng: &mut Rng) {
        let roof = hex(self.plan.walls[2]);
        match plot {
            Plot::Bare | Plot::Water => {}
            Plot::Boat => {
                let (cx, cy) = (x + 0.5, y + 0.5);
                let hull = [
                    self.at(cx - 0.45, cy, 0.1),
                    self.at(cx, cy + 0.18, 0.1),
                    self.at(cx + 0.5, cy, 0.16),
                    self.at(cx, cy - 0.18, 0.1),
                ];
                self.face(&hull, hex(self.plan.roofs[1]), None, 1.8);
                let (foot, tip) = (self.at(cx, cy, 0.1), self.at(cx, cy, 1.25));
                self.sheet.line(&[foot, tip], 2.2, hex(self.plan.ink));
                let sail = [tip, self.at(cx, cy, 0.25), self.at(cx + 0.55, cy, 0.28)];
                self.face(&sail, hex(self.plan.paper), Some((1.05, 9.0)), 1.6);
            }
            Plot::Tree => self.tree(x + 0.5, y + 0.5, z, 0.42, rng),
            Plot::Grove => {
                for (dx, dy) in [(0.22, 0.3), (0.7, 0.24), (0.3, 0.74), (0.76, 0.7)] {
                    self.tree(x + dx, y + dy, z, 0.27, rng);
                }
            }
            Plot::Tower { height, steps } => {
                let (mut low, mut inset, mut rest) = (z, 0.08, height);
                for step in 0..=steps {
                    let part = if step == steps {
                        rest
                    } else {
                        rest * rng.range(0.45, 0.65)
                    };
                    let width = 1.0 - inset * 2.0;
                    let lid = if step == steps {
                        hex(rng.pick(&self.plan.roofs))
                    } else {
                        roof
                    };
                    self.cuboid((x + inset, y + inset, low), (width, width, part), lid);
                    self.windows((x + inset, y + inset, low), (width, width, part), 0.2, rng);
                    low += part;
                    rest -= part;
                    inset += 0.12;
                }
                if rng.chance(0.3) {
                    let tip = self.at(x + 0.5, y + 0.5, low);
                    self.sheet
                        .line(&[tip, tip - at(0.0, self.half * 0.9)], 2.0, hex(self.plan.ink));
                }
            }
            Plot::House { height, along } => {
                let narrow = rng.range(0.08, 0.16);
                self.house(
                    (x + narrow, y + narrow, z),
                    (1.0 - narrow * 2.0, 1.0 - narrow * 2.0, height),
                    along,
                    rng,
                );
            }
            Plot::Block { height } => {
                let inset = rng.range(0.04, 0.14);
                let width = 1.0 - inset * 2.0;
                let lid = self.cuboid(
                    (x + inset, y + inset, z),
                    (width, width, height),
                    hex(self.plan.roofs[rng.below(2)]),
                );
                let middle = lid[0].towards(lid[2], 0.5);
                let parapet = lid.map(|corner| corner.towards(middle, 0.16));
                self.sheet.ring(&parapet, 1.2, hex(self.plan.ink).thin(0.7));
                self.windows((x + inset, y + inset, z), (width, width, height), 0.42, rng);
            }
            Plot::Dome { height } => {
                self.cuboid((x + 0.06, y + 0.06, z), (0.88, 0.88, height), roof);
                self.windows((x + 0.06, y + 0.06, z), (0.88, 0.88, height), 0.5, rng);
                self.dome((x + 0.5, y + 0.5, z + height), 0.34, hex(self.plan.roofs[2]));
            }
            Plot::Sawtooth { height } => {
                self.cuboid((x + 0.03, y + 0.03, z), (0.94, 0.94, height), roof);
                let [left, _, _] = self.plan.walls.map(hex);
                for tooth in 0..3 {
                    let (from, to) = (x + 0.03 + tooth as f32 * 0.313, x + 0.03 + (tooth + 1) as f32 * 0.313);
                    let (y1, y2, top) = (y + 0.03, y + 0.97, z + height);
                    let rise = top + 0.28;
                    self.face(
                        &[
                            self.at(from, y1, rise),
                            self.at(from, y2, rise),
                            self.at(to, y2, top),
                            self.at(to, y1, top),
                        ],
                        hex(self.plan.roofs[tooth % 3]),
                        Some((1.05, 9.0)),
                        1.6,
                    );
                    self.face(
                        &[self.at(from, y2, top), self.at(to, y2, top), self.at(from, y2, rise)],
                        left,
                        Some((1.05, 6.0)),
                        1.6,
                    );
                }
                self.windows((x + 0.03, y + 0.03, z), (0.94, 0.94, height), 0.36, rng);
            }
            Plot::Chimney { height } => {
                self.cuboid((x + 0.15, y + 0.15, z), (0.7, 0.7, 0.45), roof);
                self.drum((x + 0.5, y + 0.5, z + 0.45), 0.15, height, hex(self.plan.ink));
                let mouth = self.at(x + 0.5, y + 0.5, z + height + 0.45);
                self.smoke(mouth, rng);
            }
        }
    }

    pub(super) fn smoke(&mut self, mouth: Point, rng: &mut Rng) {
        let ink = hex(self.plan.ink);
        let mut place = mouth - at(0.0, 8.0);
        for puff in 0..7 {
            let radius = self.half * (0.16 + 0.055 * puff as f32);
            self.sheet.disc(place, radius, hex(self.plan.paper).blend(ink, 0.04));
            self.sheet
                .circle(place, radius, 1.4, ink.thin(0.8 - 0.08 * puff as f32));
            place = place + at(radius * rng.range(0.9, 1.3), -radius * rng.range(0.25, 0.6));
        }
    }
}

/// The ground is a slab cut out of the earth, like a model's base.
pub(super) fn ground(town: &mut Town, side: f32) {
    let [top, cut, _] = town.plan.ground.map(hex);
    let depth = -0.85;
    let edge = 0.25;
    let (low, high) = (-edge, side + edge);
    let left = [
        town.at(low, high, 0.0),
        town.at(high, high, 0.0),
        town.at(high, high, depth),
        town.at(low, high, depth),
    ];
    let right = [
        town.at(high, low, 0.0),
        town.at(high, high, 0.0),
        town.at(high, high, depth),
        town.at(high, low, depth),
    ];
    town.face(&left, cut.scaled(0.92), Some((0.5, 6.5)), 2.4);
    town.face(&right, cut, Some((-0.5, 11.0)), 2.4);
    let lid = [
        town.at(low, low, 0.0),
        town.at(high, low, 0.0),
        town.at(high, high, 0.0),
        town.at(low, high, 0.0),
    ];
    town.face(&lid, top, None, 2.4);
}

pub(super) fn water(town: &mut Town, x: f32, y: f32, rng: &mut Rng) {
    let tile = [
        town.at(x, y, 0.0),
        town.at(x + 1.0, y, 0.0),
        town.at(x + 1.0, y + 1.0, 0.0),
        town.at(x, y + 1.0, 0.0),
    ];
    let blue = hex(town.plan.ground[2]);
    town.sheet.fill(&tile, blue);
    town.sheet.ring(&tile, 1.0, blue);
    for _ in 0..3 {
        let (u, v) = (x + rng.range(0.15, 0.8), y + rng.range(0.15, 0.8));
        let start = town.at(u, v, 0.0);
        let length = town.half * rng.range(0.2, 0.45);
        let wave: Vec<Point> = (0..7)
            .map(|step| {
                let share = step as f32 / 6.0;
                start + at(share * length, (share * 9.4).sin() * 2.2)
            })
            .collect();
        let ink = hex(town.plan.ink);
        town.sheet.line(&wave, 1.3, ink.thin(0.6));
    }
}
