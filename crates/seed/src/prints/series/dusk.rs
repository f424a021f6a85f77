//! Seas at the end of the day, laid out of thousands of discs.

use super::super::{
    Category, Series,
    colour::{Ramp, Rgb, hex},
    geometry::{Area, Point, at, lerp, smoothstep},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "dusk",
    artist: "Tomás Arrieta",
    technique: "Screen print in eleven colours",
    category: Category::Landscape,
    years: (2014, 2023),
    price_cents: 32_000,
    taste: Taste {
        contrast_min: 0.06,
        imbalance_max: 0.6,
        ..Taste::BROAD
    },
    works: [
        work(
            "Last Swim",
            "The sun has a hand's breadth to go, and the water is still warm.",
        ),
        work(
            "Blue Hour, Low Tide",
            "After the sun and before the lamps. The only light left lies on the wet sand.",
        ),
        work(
            "Headland",
            "A dark cape, and behind it a sky that has not made up its mind.",
        ),
        work(
            "Moonrise over the Shallows",
            "The moon comes up as large as a house, and lays a road to your feet.",
        ),
        work(
            "Squall Line",
            "Green light under a black cloud: ten minutes to get the boat in.",
        ),
        work(
            "Red Sky at Night",
            "What the saying promises for tomorrow, at its full height.",
        ),
        work("White Night", "June, far north. The sun only pretends to set."),
        work(
            "Two Islands",
            "Seen from the evening boat, one behind the other, the farther one already asleep.",
        ),
        work("Salt Flats", "No water, but everything of it: a mirror to the horizon."),
        work(
            "Harbour Mouth",
            "The very last of the light, taken from a bench at the end of the mole.",
        ),
    ],
    draw,
};

struct Plan {
    format: (f32, f32),
    paper: u32,
    sky: [u32; 5],
    sea: [u32; 4],
    light: u32,
    /// The sun or moon: place across and height above the horizon as shares, radius as share of the
    /// width.
    sun: (f32, f32, f32),
    horizon: f32,
    land: &'static [(f32, f32, f32, f32)],
    land_ink: u32,
    cloud: f32,
    size_max: f32,
}

const PLANS: [Plan; 10] = [
    Plan {
        format: (4.0, 5.0),
        paper: 0xF6EEDF,
        sky: [0x2F4A74, 0x7C7FA0, 0xD99A8B, 0xF0B27A, 0xF8D79B],
        sea: [0xE9A578, 0x9C7688, 0x40587C, 0x1F3355],
        light: 0xFFF0C4,
        sun: (0.58, 0.10, 0.085),
        horizon: 0.60,
        land: &[],
        land_ink: 0x1C2840,
        cloud: 0.5,
        size_max: 30.0,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xEDE9E2,
        sky: [0x14284B, 0x24457A, 0x4A78A8, 0x94B4C8, 0xE4D3C0],
        sea: [0xC7C3BC, 0x7F9AAD, 0x3E628A, 0x8A8C86],
        light: 0xFDF3DC,
        sun: (0.24, 0.24, 0.02),
        horizon: 0.55,
        land: &[(0.86, 0.30, 0.035, 0.0)],
        land_ink: 0x14233D,
        cloud: 0.3,
        size_max: 17.0,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xF3EADB,
        sky: [0x5C4B73, 0x9A6A86, 0xD98C7E, 0xEDB98A, 0xF4DDB0],
        sea: [0xD9A489, 0xA3798A, 0x655A80, 0x2D2F4E],
        light: 0xFFEDB8,
        sun: (0.30, 0.035, 0.06),
        horizon: 0.57,
        land: &[(0.86, 0.42, 0.26, 0.4), (0.60, 0.30, 0.07, 0.5)],
        land_ink: 0x241F36,
        cloud: 0.7,
        size_max: 24.0,
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0x11182A,
        sky: [0x0D1426, 0x16233F, 0x22365B, 0x38507A, 0x5D7396],
        sea: [0x6A7F9E, 0x344C74, 0x1B2C4E, 0x0E1730],
        light: 0xF6E7BE,
        sun: (0.5, 0.17, 0.17),
        horizon: 0.62,
        land: &[],
        land_ink: 0x090D18,
        cloud: 0.25,
        size_max: 40.0,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xE9E7DC,
        sky: [0x1E2A2E, 0x33454A, 0x56706A, 0x9FB08A, 0xE3DCA4],
        sea: [0xC5C795, 0x6F8F80, 0x35565A, 0x16292F],
        light: 0xFFF6C9,
        sun: (0.75, 0.02, 0.03),
        horizon: 0.64,
        land: &[(0.12, 0.22, 0.05, 0.2)],
        land_ink: 0x10191C,
        cloud: 1.5,
        size_max: 22.0,
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF4E6D3,
        sky: [0x5A1E2E, 0x9E2F2F, 0xD4532F, 0xEE8A3A, 0xF8C25A],
        sea: [0xE0763A, 0xA33F33, 0x5E2536, 0x2A1626],
        light: 0xFFE9A0,
        sun: (0.42, 0.02, 0.13),
        horizon: 0.66,
        land: &[],
        land_ink: 0x1E0F18,
        cloud: 1.0,
        size_max: 46.0,
    },
    Plan {
        format: (16.0, 9.0),
        paper: 0xF7F3EA,
        sky: [0xA9BFD0, 0xC7D2D6, 0xE4DCD0, 0xF3D7BE, 0xF8E2B8],
        sea: [0xF0D5BC, 0xCBCFCF, 0x9FB6C2, 0x748FA2],
        light: 0xFFF9E0,
        sun: (0.66, 0.07, 0.035),
        horizon: 0.50,
        land: &[(0.20, 0.26, 0.06, 0.75), (0.04, 0.20, 0.10, 0.5)],
        land_ink: 0x5F7687,
        cloud: 0.5,
        size_max: 13.0,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xF1E8DC,
        sky: [0x3B5B6E, 0x6E8E97, 0xB5B9A6, 0xE8C79A, 0xF2A97A],
        sea: [0xD99C78, 0x8F8F8C, 0x4C6F80, 0x233F52],
        light: 0xFFE3B0,
        sun: (0.22, 0.13, 0.05),
        horizon: 0.52,
        land: &[(0.74, 0.30, 0.13, 0.62), (0.50, 0.17, 0.11, 0.1)],
        land_ink: 0x182B38,
        cloud: 0.6,
        size_max: 20.0,
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xF6EFE8,
        sky: [0x6C86B5, 0xA7A6C9, 0xDDB6C4, 0xF2C4B3, 0xFBE3C6],
        sea: [0xF6D2BF, 0xD9B0C2, 0xA6A3C8, 0x6D83B3],
        light: 0xFFFBEA,
        sun: (0.5, 0.12, 0.055),
        horizon: 0.5,
        land: &[(0.9, 0.5, 0.025, 0.55)],
        land_ink: 0x5A628F,
        cloud: 0.9,
        size_max: 15.0,
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0x1A1922,
        sky: [0x191C2E, 0x2B2E4A, 0x56405F, 0xA65A55, 0xE8924F],
        sea: [0xB9644C, 0x5C3F58, 0x26284A, 0x12131F],
        light: 0xFFD98A,
        sun: (0.5, 0.0, 0.03),
        horizon: 0.7,
        land: &[(0.02, 0.42, 0.085, 0.0), (1.0, 0.36, 0.06, 0.0)],
        land_ink: 0x0C0C14,
        cloud: 0.8,
        size_max: 32.0,
    },
];

struct Scene {
    plan: &'static Plan,
    area: Area,
    sky: Ramp,
    sea: Ramp,
    noise: Noise,
}

impl Scene {
    fn colour(&self, point: Point) -> Rgb {
        let plan = self.plan;
        let x = (point.x - self.area.left) / self.area.width;
        let y = (point.y - self.area.top) / self.area.height;
        let aspect = self.area.height / self.area.width;
        let sun_y = plan.horizon - plan.sun.1 / aspect.max(0.7);
        if let Some(land) = self.land(x, y) {
            return land;
        }
        let gap = (x - plan.sun.0).hypot((y - sun_y) * aspect);
        if y < plan.horizon {
            if gap < plan.sun.2 {
                return hex(plan.light);
            }
            let height = y / plan.horizon;
            let wave = self.noise.fractal(x * 2.2, y * 11.0, 4);
            let veil = smoothstep(0.0, 0.6, wave) * plan.cloud;
            let glow = (1.0 - smoothstep(plan.sun.2, plan.sun.2 + 0.3, gap)) * 0.45;
            let base = self.sky.at(height.powf(1.35) + wave * 0.07 * plan.cloud);
            let shadow = self.sky.at((height - 0.45).max(0.0));
            return base
                .blend(shadow, (veil * 0.6).min(0.9))
                .blend(hex(plan.light), glow * (1.0 - veil * 0.5).max(0.0));
        }
        let depth = (y - plan.horizon) / (1.0 - plan.horizon);
        // Waves grow towards the beach, so the noise is stretched by perspective.
        let near = 0.03 + depth;
        let swell = self.noise.fractal((x - plan.sun.0) * 2.4 / near.sqrt(), 3.0 / near, 3);
        let base = self.sea.at(depth.powf(0.7) + swell * 0.16);
        let road = plan.sun.2 * (1.1 + 1.7 * depth) * (1.0 + swell * 0.9);
        let glitter = 1.0 - smoothstep(road * 0.35, road.max(0.004), (x - plan.sun.0).abs());
        let broken = smoothstep(-0.25, 0.25, swell + 0.30 - depth * 0.35);
        base.blend(hex(plan.light), glitter * broken * lerp(0.85, 0.6, depth))
    }

    /// Land is a hump on the horizon, with its own reflection below.
    fn land(&self, x: f32, y: f32) -> Option<Rgb> {
        let plan = self.plan;
        plan.land.iter().rev().find_map(|(middle, half_width, height, haze)| {
            let across = (x - middle) / half_width;
            if across.abs() > 1.0 {
                return None;
            }
            let rough = 0.75 + 0.5 * self.noise.fractal(x * 7.0, middle * 9.0, 3);
            let crest = height * (1.0 - across * across).powf(0.7) * rough;
            let above = plan.horizon - y;
            if above >= 0.0 && above < crest {
                return Some(hex(plan.land_ink).blend(self.sky.at(0.8), *haze));
            }
            let mirrored = -above;
            (mirrored > 0.0 && mirrored < crest * 0.45)
                .then(|| hex(plan.land_ink).blend(self.sea.at(0.3), (haze + 0.35 + mirrored * 3.0).min(0.9)))
        })
    }
}

struct Pebble {
    centre: Point,
    radius: f32,
}

/// Discs of every size, thrown until hardly any gap is left.
fn pack(area: Area, limit: impl Fn(Point) -> f32, size_max: f32, rng: &mut Rng) -> Vec<Pebble> {
    const SMALLEST: f32 = 2.6;
    let cell = size_max;
    let columns = (area.width / cell) as usize + 1;
    let rows = (area.height / cell) as usize + 1;
    let mut grid: Vec<Vec<usize>> = vec![Vec::new(); columns * rows];
    let mut pebbles: Vec<Pebble> = Vec::new();
    for throw in 0..190_000u32 {
        let centre = area.place(rng.unit(), rng.unit());
        let column = ((centre.x - area.left) / cell) as usize;
        let row = ((centre.y - area.top) / cell) as usize;
        let edge = (centre.x - area.left)
            .min(area.right() - centre.x)
            .min(centre.y - area.top)
            .min(area.bottom() - centre.y);
        // Big ones first; a tail of small ones fills the gaps.
        let share = 1.0 - (throw as f32 / 190_000.0).powf(0.35);
        let wanted = limit(centre) * (share * 1.15 + 0.12).min(1.0);
        let mut room = edge.min(wanted);
        'search: for y in row.saturating_sub(2)..=(row + 2).min(rows - 1) {
            for x in column.saturating_sub(2)..=(column + 2).min(columns - 1) {
                for index in &grid[y * columns + x] {
                    let other = &pebbles[*index];
                    room = room.min(centre.distance(other.centre) - other.radius);
                    if room < SMALLEST {
                        break 'search;
                    }
                }
            }
        }
        if room >= SMALLEST {
            grid[row.min(rows - 1) * columns + column.min(columns - 1)].push(pebbles.len());
            pebbles.push(Pebble { centre, radius: room });
        }
    }
    pebbles
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.paper));
    let area = sheet.area().inset(size.0.min(size.1) * 0.09);
    let scene = Scene {
        plan,
        area,
        sky: Ramp::new(&plan.sky.map(hex)),
        sea: Ramp::new(&plan.sea.map(hex)),
        noise: Noise::new(rng.seed()),
    };
    let horizon = area.top + area.height * plan.horizon;
    let limit = |point: Point| {
        let away = (point.y - horizon).abs() / area.height;
        lerp(5.0, plan.size_max, smoothstep(0.0, 0.45, away))
    };
    // An underprint of the same picture, darker where it is dark, so that the gaps are depth and not holes.
    sheet.shade(area, 1, |point| {
        let under = scene.colour(point);
        let light = smoothstep(0.42, 0.8, under.r * 0.3 + under.g * 0.59 + under.b * 0.11);
        let shaded = under.scaled(lerp(0.8, 0.94, light));
        Some(shaded.blend(hex(plan.land_ink), 0.16 * (1.0 - light)))
    });
    for pebble in pack(area, limit, plan.size_max, rng) {
        let base = scene.colour(pebble.centre);
        let colour = base.nudged(rng.normal() * 0.013, rng.normal() * 0.006);
        sheet.disc(pebble.centre, pebble.radius - 0.25, colour);
        if pebble.radius > 9.0 && rng.chance(0.35) {
            // A second pull, slightly off register, as on the big discs of a hand-pulled screen print.
            let shift = at(rng.normal(), rng.normal()) * (pebble.radius * 0.08);
            let inner = colour.nudged(rng.normal() * 0.03, 0.0);
            sheet.disc(pebble.centre + shift, pebble.radius * rng.range(0.35, 0.7), inner);
        }
    }
    sheet.grain(1.0, rng.seed());
    sheet
}
