//! Towns seen from a corner of the sky, shaded with the pen.

use super::super::{
    Category, Series,
    colour::{Rgb, hex},
    geometry::{Point, at, hatch},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "city",
    artist: "Bartholomew Finch",
    technique: "Pen and ink, printed as an etching with one colour plate",
    category: Category::Place,
    years: (2004, 2020),
    price_cents: 42_000,
    taste: Taste {
        contrast_min: 0.04,
        imbalance_max: 0.4,
        ..Taste::BROAD
    },
    works: [
        work(
            "Hill Town",
            "Every roof has its own idea of red. At the top there is a square, and at the square the only level ground.",
        ),
        work(
            "Grid, with Towers",
            "Twenty storeys, thirty, nine. The pen ran out in the financial district and was changed.",
        ),
        work(
            "Two in the Morning",
            "Most windows are dark. Count the ones that are not.",
        ),
        work(
            "Small Harbour",
            "Sheds, water, and boats that are all slightly too large.",
        ),
        work(
            "Blueprint for a Garden Suburb",
            "Never built. The trees would have been the best part.",
        ),
        work(
            "Medina",
            "White cubes, domes, and a courtyard for whoever finds it.",
        ),
        work(
            "The Works",
            "Saw-tooth roofs and chimneys. Monday's smoke goes east.",
        ),
        work(
            "Canals",
            "Tall houses on narrow water, each holding up the next.",
        ),
        work(
            "Stepped Temple, Market Day",
            "Nine terraces, and the stalls of people who live from those who climb them.",
        ),
        work(
            "Allotments in October",
            "More trees than houses, and all of the trees on fire.",
        ),
    ],
    draw,
};

struct Plan {
    format: (f32, f32),
    paper: u32,
    ink: u32,
    /// Washes of the left wall, the right wall and the roof.
    walls: [u32; 3],
    roofs: [u32; 3],
    /// Ground, its cut edge, and water.
    ground: [u32; 3],
    tree: [u32; 2],
    cells: usize,
    sun: Option<(f32, f32, f32, u32)>,
    lamp: Option<u32>,
}

const PLANS: [Plan; 10] = [
    Plan {
        format: (1.0, 1.0),
        paper: 0xF3EAD8,
        ink: 0x3A2E27,
        walls: [0xC9B496, 0xEADBC0, 0xF3EAD8],
        roofs: [0xB5492F, 0xC8643F, 0x9C3D2B],
        ground: [0xE3D6B6, 0xBCA57F, 0x7FA3A8],
        tree: [0x6F8054, 0x87955E],
        cells: 13,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (3.0, 4.0),
        paper: 0xF1ECE1,
        ink: 0x22303F,
        walls: [0x9FB0BA, 0xDDE2E0, 0xF1ECE1],
        roofs: [0xF1ECE1, 0xE4E2DA, 0xC8452F],
        ground: [0xE2DED2, 0xB9B7AC, 0x8AA5B5],
        tree: [0x7E9478, 0x9AAB86],
        cells: 11,
        sun: Some((0.68, 0.24, 0.15, 0xD9543A)),
        lamp: None,
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0x141C2E,
        ink: 0x0A0F1B,
        walls: [0x263A61, 0x3D5586, 0x4B659A],
        roofs: [0x4C66A0, 0x43598C, 0x587099],
        ground: [0x22314F, 0x18233C, 0x1B3350],
        tree: [0x1F3A3C, 0x274544],
        cells: 11,
        sun: Some((0.27, 0.2, 0.085, 0xEFE3BF)),
        lamp: Some(0xF3C14E),
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xF2EDE2,
        ink: 0x2B3438,
        walls: [0xB98F6D, 0xE6D2B4, 0xF0E6D2],
        roofs: [0x7E8C8E, 0xA34C36, 0x5E6F75],
        ground: [0xDDD3BD, 0xAFA084, 0x7FB0B5],
        tree: [0x71835C, 0x8A9A6B],
        cells: 14,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0x1F4E86,
        ink: 0xEAF1F4,
        walls: [0x2A5B94, 0x2A5B94, 0x1F4E86],
        roofs: [0x2A5B94, 0x34659D, 0x1F4E86],
        ground: [0x1F4E86, 0x1A457A, 0x2C629D],
        tree: [0x1F4E86, 0x27588F],
        cells: 11,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF4E3C6,
        ink: 0x6A4630,
        walls: [0xD9B78C, 0xF8EFDD, 0xFDF8EC],
        roofs: [0xFDF8EC, 0xF6EBD6, 0x2F8F97],
        ground: [0xEFD9B2, 0xCDA873, 0x3FA0A5],
        tree: [0x5F8A5A, 0x7BA068],
        cells: 12,
        sun: Some((0.5, 0.27, 0.19, 0xE9A24C)),
        lamp: None,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xECE7DC,
        ink: 0x2A2725,
        walls: [0x8E5A45, 0xC08A6C, 0xD9CDB9],
        roofs: [0x77736C, 0x918B80, 0x5F5B56],
        ground: [0xD8CFBE, 0xA89B86, 0x8D9C9C],
        tree: [0x6D7556, 0x868C67],
        cells: 13,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xF2EDE3,
        ink: 0x2C2F36,
        walls: [0xA86A52, 0xDDB890, 0xEFE2CE],
        roofs: [0xA5452F, 0x7A3B30, 0x4C5560],
        ground: [0xE0D5C0, 0xB5A58B, 0x86ABB0],
        tree: [0x6C8A63, 0x86A074],
        cells: 13,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xEFE4CE,
        ink: 0x4A3525,
        walls: [0xC29A68, 0xE8CFA2, 0xF2E2C0],
        roofs: [0xF2E2C0, 0xD8552F, 0x2F7F86],
        ground: [0xE3CDA0, 0xB99764, 0x6FA3A0],
        tree: [0x5F7F4E, 0x789860],
        cells: 17,
        sun: None,
        lamp: None,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xF3EBDB,
        ink: 0x3B2F2A,
        walls: [0xBFA88A, 0xEADFC8, 0xF3EBDB],
        roofs: [0x6F6A66, 0x8F4A38, 0x59615F],
        ground: [0xD9CC9F, 0xA8925F, 0x8DB0AC],
        tree: [0xD0752F, 0xB5432B],
        cells: 12,
        sun: None,
        lamp: None,
    },
];

/// What stands on one plot.
#[derive(Clone, Copy)]
enum Plot {
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

struct Town<'a> {
    sheet: &'a mut Sheet,
    plan: &'static Plan,
    origin: Point,
    /// Half the width of a plot on the sheet.
    half: f32,
}

impl Town<'_> {
    /// From plan coordinates (in plots) and height (in plots) to the sheet.
    fn at(&self, x: f32, y: f32, z: f32) -> Point {
        self.origin
            + at(
                (x - y) * self.half,
                (x + y) * self.half * 0.56 - z * self.half * 1.24,
            )
    }

    fn face(&mut self, corners: &[Point], wash: Rgb, shade: Option<(f32, f32)>, weight: f32) {
        let ink = hex(self.plan.ink);
        self.sheet.fill(corners, wash);
        if let Some((angle, spacing)) = shade {
            let lines = hatch(corners, angle, spacing);
            self.sheet.lines(&lines, 1.25, ink.thin(0.72));
        }
        self.sheet.ring(corners, weight, ink);
    }

    /// A box; returns the corners of its top: back, right, front, left.
    fn cuboid(
        &mut self,
        (x, y, z): (f32, f32, f32),
        (w, d, h): (f32, f32, f32),
        top: Rgb,
    ) -> [Point; 4] {
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
    fn windows(
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
                            self.sheet.fill(&pane, light.scaled(rng.range(0.8, 1.05)))
                        }
                        Some(_) => self.sheet.fill(&pane, dark.thin(0.5)),
                        None if rng.chance(0.86) => self.sheet.fill(&pane, dark.thin(0.72)),
                        None => {}
                    }
                }
            }
        }
    }

    fn house(
        &mut self,
        (x, y, z): (f32, f32, f32),
        (w, d, h): (f32, f32, f32),
        along: bool,
        rng: &mut Rng,
    ) {
        let roof = hex(rng.pick(&self.plan.roofs));
        let rise = w.min(d) * 0.52;
        self.cuboid((x, y, z), (w, d, h), roof);
        self.windows((x, y, z), (w, d, h), 0.3, rng);
        let [left, right, _] = self.plan.walls.map(hex);
        let (x2, y2, top) = (x + w, y + d, z + h);
        let ridge = top + rise;
        if along {
            let (a, b) = (
                self.at(x, y + d * 0.5, ridge),
                self.at(x2, y + d * 0.5, ridge),
            );
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
            self.face(
                &[self.at(x2, y, top), self.at(x2, y2, top), b],
                right,
                None,
                1.7,
            );
        } else {
            let (a, b) = (
                self.at(x + w * 0.5, y, ridge),
                self.at(x + w * 0.5, y2, ridge),
            );
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

    fn tree(&mut self, x: f32, y: f32, z: f32, size: f32, rng: &mut Rng) {
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
                crown
                    + at(angle.cos() * 0.92, angle.sin() * 1.12) * (radius * rng.range(0.93, 1.06))
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

    fn ellipse(&self, x: f32, y: f32, z: f32, radius: f32, from: f32, to: f32) -> Vec<Point> {
        (0..=28)
            .map(|step| {
                let angle = from + (to - from) * step as f32 / 28.0;
                self.at(x + radius * angle.cos(), y + radius * angle.sin(), z)
            })
            .collect()
    }

    /// An upright cylinder.
    fn drum(&mut self, (x, y, z): (f32, f32, f32), radius: f32, height: f32, top: Rgb) {
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

    fn dome(&mut self, (x, y, z): (f32, f32, f32), radius: f32, colour: Rgb) {
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

    fn build(&mut self, plot: Plot, x: f32, y: f32, z: f32, rng: &mut Rng) {
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
                    self.sheet.line(
                        &[tip, tip - at(0.0, self.half * 0.9)],
                        2.0,
                        hex(self.plan.ink),
                    );
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
                self.dome(
                    (x + 0.5, y + 0.5, z + height),
                    0.34,
                    hex(self.plan.roofs[2]),
                );
            }
            Plot::Sawtooth { height } => {
                self.cuboid((x + 0.03, y + 0.03, z), (0.94, 0.94, height), roof);
                let [left, _, _] = self.plan.walls.map(hex);
                for tooth in 0..3 {
                    let (from, to) = (
                        x + 0.03 + tooth as f32 * 0.313,
                        x + 0.03 + (tooth + 1) as f32 * 0.313,
                    );
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
                        &[
                            self.at(from, y2, top),
                            self.at(to, y2, top),
                            self.at(from, y2, rise),
                        ],
                        left,
                        Some((1.05, 6.0)),
                        1.6,
                    );
                }
                self.windows((x + 0.03, y + 0.03, z), (0.94, 0.94, height), 0.36, rng);
            }
            Plot::Chimney { height } => {
                self.cuboid((x + 0.15, y + 0.15, z), (0.7, 0.7, 0.45), roof);
                self.drum(
                    (x + 0.5, y + 0.5, z + 0.45),
                    0.15,
                    height,
                    hex(self.plan.ink),
                );
                let mouth = self.at(x + 0.5, y + 0.5, z + height + 0.45);
                self.smoke(mouth, rng);
            }
        }
    }

    fn smoke(&mut self, mouth: Point, rng: &mut Rng) {
        let ink = hex(self.plan.ink);
        let mut place = mouth - at(0.0, 8.0);
        for puff in 0..7 {
            let radius = self.half * (0.16 + 0.055 * puff as f32);
            self.sheet
                .disc(place, radius, hex(self.plan.paper).blend(ink, 0.04));
            self.sheet
                .circle(place, radius, 1.4, ink.thin(0.8 - 0.08 * puff as f32));
            place = place + at(radius * rng.range(0.9, 1.3), -radius * rng.range(0.25, 0.6));
        }
    }
}

/// What stands where: the idea of each town.
fn plot(
    place: usize,
    x: usize,
    y: usize,
    cells: usize,
    noise: &Noise,
    rng: &mut Rng,
) -> (Plot, f32) {
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
                if rng.chance(0.5) {
                    Plot::Grove
                } else {
                    Plot::Tree
                }
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
                if rng.chance(0.12) {
                    Plot::Tree
                } else {
                    Plot::Bare
                }
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
                return (
                    if rng.chance(0.1) {
                        Plot::Boat
                    } else {
                        Plot::Water
                    },
                    0.0,
                );
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
                return (
                    if rng.chance(0.07) {
                        Plot::Boat
                    } else {
                        Plot::Water
                    },
                    0.0,
                );
            }
            let quay = x % 5 == 1 || x % 5 == 3;
            let plot = if !quay && rng.chance(0.35) {
                Plot::Tree
            } else if rng.chance(0.025) {
                Plot::Tower {
                    height: 3.0,
                    steps: 2,
                }
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

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.paper));
    if let Some((x, y, radius, colour)) = plan.sun {
        sheet.disc(at(size.0 * x, size.1 * y), size.0 * radius, hex(colour));
    }
    let cells = plan.cells;
    let tallest = match place {
        0 => 4.0,
        1 | 2 => 6.5,
        8 => 1.5,
        5 | 6 => 1.4,
        _ => 0.8,
    };
    let side = cells as f32;
    let half =
        (size.0 * 0.88 / (side * 2.0)).min(size.1 * 0.84 / (side * 1.12 + (tallest + 0.9) * 1.24));
    let drop = (side * 1.12 - (tallest - 1.0) * 1.24) * half;
    let lower = if plan.sun.is_some() { 1.08 } else { 1.0 };
    let origin = at(size.0 * 0.5, size.1 * 0.5 * lower - drop * 0.5);
    let noise = Noise::new(rng.seed());
    let mut town = Town {
        sheet: &mut sheet,
        plan,
        origin,
        half,
    };
    ground(&mut town, side);
    for sum in 0..cells * 2 - 1 {
        for x in 0..cells {
            let Some(y) = sum.checked_sub(x).filter(|y| *y < cells) else {
                continue;
            };
            let (what, level) = plot(place, x, y, cells, &noise, rng);
            let (fx, fy) = (x as f32, y as f32);
            if matches!(what, Plot::Water | Plot::Boat) {
                water(&mut town, fx, fy, rng);
            }
            if level > 0.0 {
                town.cuboid((fx, fy, 0.0), (1.0, 1.0, level), hex(plan.ground[0]));
            }
            town.build(what, fx, fy, level, rng);
        }
    }
    sheet.grain(1.3, rng.seed());
    sheet
}

/// The ground is a slab cut out of the earth, like a model's base.
fn ground(town: &mut Town, side: f32) {
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

fn water(town: &mut Town, x: f32, y: f32, rng: &mut Rng) {
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
