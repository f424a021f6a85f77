//! Long thin lines that follow a current and never touch.

use super::super::{
    Category, Series,
    colour::{Rgb, hex},
    geometry::{Area, Crowd, Point, at, closed_curve, smoothstep},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "currents",
    artist: "Ines Halvorsen",
    technique: "Etching, drawn with a single needle",
    category: Category::Line,
    years: (2016, 2024),
    price_cents: 24_000,
    taste: Taste {
        coverage: (0.2, 0.98),
        entropy_min: 1.0,
        imbalance_max: 0.45,
        contrast_min: 0.03,
    },
    works: [
        work(
            "Three Stones",
            "Raked sand runs round three stones and closes again behind them. No two lines touch.",
        ),
        work(
            "Moon, Combed",
            "A red moon stands in a calm stream. The lines bow to it and go on.",
        ),
        work(
            "Two Whirlpools",
            "Pale lines on indigo turn about two centres, one with the clock and one against it.",
        ),
        work(
            "Falling Hair",
            "Drawn from the top edge downwards without lifting the needle more often than needed.",
        ),
        work(
            "Delta",
            "A river loses its way before it reaches the sea. Blue where it is deep, green where it silts up.",
        ),
        work(
            "Night Ferry",
            "Black water, and a few gilded lines where the lamps of the boat go by.",
        ),
        work(
            "Grain of the Ash",
            "What a plane lays bare: a trunk's years, and two knots where there were branches.",
        ),
        work(
            "Wind from the West",
            "Short strokes, like a meadow seen from a train, all leaning the same way and none alike.",
        ),
        work(
            "The Source",
            "Everything comes from one place, a little left of the middle, and takes its time.",
        ),
        work(
            "Confluence",
            "Two rivers meet, one red with clay and one grey with snow, and run side by side.",
        ),
    ],
    draw,
};

struct Plan {
    format: (f32, f32),
    paper: u32,
    inks: [u32; 3],
    accent: u32,
    accent_share: f32,
    angle: f32,
    swirl: f32,
    swirl_size: f32,
    /// Obstacles: place and radius as shares of the sheet's short side.
    stones: &'static [(f32, f32, f32)],
    stone: Option<u32>,
    /// Whirlpools: place and strength.
    pools: &'static [(f32, f32, f32)],
    /// Springs: place and strength.
    springs: &'static [(f32, f32, f32)],
    spacing: f32,
    length_max: f32,
    weight: f32,
}

const PLAIN: Plan = Plan {
    format: (4.0, 5.0),
    paper: 0xF2ECDF,
    inks: [0x2A2826, 0x2A2826, 0x4A443E],
    accent: 0xB5402B,
    accent_share: 0.0,
    angle: 0.0,
    swirl: 0.25,
    swirl_size: 700.0,
    stones: &[],
    stone: None,
    pools: &[],
    springs: &[],
    spacing: 13.0,
    length_max: 4000.0,
    weight: 3.4,
};

const PLANS: [Plan; 10] = [
    Plan {
        paper: 0xE9E1D0,
        inks: [0x3B3A37, 0x3B3A37, 0x5D574F],
        stones: &[(0.34, 0.38, 0.125), (0.52, 0.47, 0.06), (0.66, 0.83, 0.09)],
        stone: Some(0x33322F),
        swirl: 0.12,
        spacing: 14.0,
        ..PLAIN
    },
    Plan {
        format: (1.0, 1.0),
        inks: [0x24344A, 0x24344A, 0x3F5570],
        stones: &[(0.6, 0.4, 0.17)],
        stone: Some(0xC8452F),
        swirl: 0.3,
        spacing: 12.0,
        ..PLAIN
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0x18263F,
        inks: [0xE9E3D2, 0xC9D3DA, 0x93ABC0],
        accent: 0xE3B04B,
        accent_share: 0.03,
        pools: &[(0.42, 0.56, 1.0), (0.92, 0.42, -0.75)],
        swirl: 0.35,
        spacing: 13.0,
        ..PLAIN
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xF4EBDC,
        inks: [0x5A3420, 0x7A4A2C, 0x9C6A44],
        accent: 0x1F4F58,
        accent_share: 0.04,
        angle: 1.571,
        swirl: 0.5,
        swirl_size: 560.0,
        spacing: 10.5,
        weight: 3.8,
        ..PLAIN
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xF3EFE2,
        inks: [0x1E4D6B, 0x2F7C86, 0x7BA68C],
        accent: 0xD98E3F,
        accent_share: 0.05,
        swirl: 1.7,
        swirl_size: 420.0,
        spacing: 11.0,
        weight: 4.8,
        ..PLAIN
    },
    Plan {
        format: (16.0, 10.0),
        paper: 0x15171A,
        inks: [0x8C98A3, 0x5D6A77, 0x45515E],
        accent: 0xF0B94D,
        accent_share: 0.1,
        swirl: 0.5,
        swirl_size: 900.0,
        stones: &[(1.05, 0.5, 0.05)],
        stone: Some(0xF0B94D),
        spacing: 14.0,
        ..PLAIN
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xEFE2C8,
        inks: [0x5E3D20, 0x7E552C, 0x4C3019],
        angle: 1.571,
        stones: &[(0.36, 0.5, 0.05), (0.62, 1.02, 0.085)],
        stone: Some(0x4A2E18),
        swirl: 0.22,
        swirl_size: 1000.0,
        spacing: 9.5,
        weight: 4.2,
        ..PLAIN
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xF5F0DF,
        inks: [0x48603A, 0x7C8B4A, 0xB4A257],
        accent: 0xC94F35,
        accent_share: 0.045,
        angle: -0.42,
        swirl: 0.75,
        swirl_size: 520.0,
        spacing: 14.0,
        length_max: 230.0,
        weight: 9.0,
        ..PLAIN
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF1EADF,
        inks: [0x20303C, 0x3A5566, 0x20303C],
        accent: 0xC8452F,
        accent_share: 0.05,
        springs: &[(0.42, 0.52, 1.0)],
        pools: &[(0.42, 0.52, 0.5)],
        swirl: 0.3,
        swirl_size: 460.0,
        spacing: 12.0,
        weight: 4.2,
        ..PLAIN
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0xF3EBDD,
        inks: [0xA23E26, 0x4D5A66, 0x8796A1],
        accent: 0xE2A13B,
        accent_share: 0.02,
        angle: 1.35,
        swirl: 0.5,
        swirl_size: 800.0,
        spacing: 11.5,
        weight: 5.0,
        ..PLAIN
    },
];

struct Current {
    plan: &'static Plan,
    noise: Noise,
    side: f32,
}

impl Current {
    fn spots(&self, list: &'static [(f32, f32, f32)]) -> impl Iterator<Item = (Point, f32)> + use<> {
        let side = self.side;
        list.iter().map(move |(x, y, size)| (at(x * side, y * side), *size))
    }

    fn direction(&self, point: Point) -> Point {
        let plan = self.plan;
        let quiet = if plan.springs.is_empty() { 1.0 } else { 0.0 };
        let mut flow = Point::polar(plan.angle) * quiet;
        let reach = 4.0;
        let potential =
            |p: Point| self.noise.fractal(p.x / plan.swirl_size, p.y / plan.swirl_size, 2) * plan.swirl_size;
        let slope_x = (potential(point + at(reach, 0.0)) - potential(point - at(reach, 0.0))) / (2.0 * reach);
        let slope_y = (potential(point + at(0.0, reach)) - potential(point - at(0.0, reach))) / (2.0 * reach);
        let mut calm = 1.0f32;
        for (centre, radius) in self.spots(plan.stones) {
            let gap = centre.distance(point) / (radius * self.side);
            calm = calm.min(smoothstep(1.0, 3.0, gap));
        }
        flow = flow + at(slope_y, -slope_x) * (plan.swirl * calm);
        let base = Point::polar(plan.angle);
        for (centre, radius) in self.spots(plan.stones) {
            // The flow round a cylinder: along the stone where it is near, undisturbed far away.
            let offset = point - centre;
            let square = offset.dot(offset).max(1.0);
            let ratio = (radius * self.side).powi(2) / square;
            flow = flow + (base - offset * (2.0 * base.dot(offset) / square)) * ratio;
        }
        for (centre, strength) in self.spots(plan.pools) {
            let offset = point - centre;
            let near = strength * self.side * 0.42 / (offset.length() + 30.0);
            flow = flow + offset.normalised().turned_left() * near;
        }
        for (centre, strength) in self.spots(plan.springs) {
            let offset = point - centre;
            flow = flow + offset.normalised() * (strength * self.side * 0.3 / (offset.length() + 60.0));
        }
        flow.normalised()
    }

    fn blocked(&self, point: Point) -> bool {
        self.spots(self.plan.stones)
            .any(|(centre, radius)| centre.distance(point) < radius * self.side * 1.06)
    }

    /// Dense where the water is busy, wide where the eye should rest.
    fn spacing(&self, point: Point) -> f32 {
        let calm = self.noise.fractal(point.x / 620.0 + 40.0, point.y / 620.0, 2);
        self.plan.spacing * (1.0 + 0.55 * smoothstep(-0.1, 0.55, calm))
    }
}

const STEP: f32 = 3.5;

fn follow(current: &Current, area: Area, crowd: &Crowd, start: Point) -> Vec<Point> {
    let mut line = vec![start];
    for sign in [1.0, -1.0] {
        let mut point = start;
        let mut travelled = 0.0;
        while travelled < current.plan.length_max * 0.5 {
            let half = point + current.direction(point) * (STEP * 0.5 * sign);
            let next = point + current.direction(half) * (STEP * sign);
            let gap = current.spacing(next) * 0.62;
            let turned_back = line
                .iter()
                .step_by(3)
                .any(|other| other.distance(next) < gap && other.distance(point) > other.distance(next))
                && travelled > gap * 4.0
                && line
                    .iter()
                    .take(line.len().saturating_sub((gap * 1.6 / STEP) as usize))
                    .step_by(2)
                    .any(|other| other.distance(next) < gap * 0.9);
            if !area.contains(next) || current.blocked(next) || turned_back || crowd.near(next, gap) {
                break;
            }
            line.push(next);
            point = next;
            travelled += STEP;
        }
        line.reverse();
    }
    line
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let paper = hex(plan.paper);
    let mut sheet = Sheet::new(size, scale, paper);
    let side = size.0.min(size.1);
    let current = Current {
        plan,
        noise: Noise::new(rng.seed()),
        side,
    };
    let area = sheet.area().inset(side * 0.085);
    let mut crowd = Crowd::new(area, plan.spacing);
    let tint = Noise::new(rng.seed());

    let mut waiting: Vec<Point> = (0..60).map(|_| area.place(rng.unit(), rng.unit())).collect();
    let shortest = (plan.length_max * 0.25).min(90.0);
    let mut drawn = 0;
    while let Some(start) = waiting.pop() {
        if drawn > 6000 {
            break;
        }
        if !area.contains(start) || current.blocked(start) || crowd.near(start, current.spacing(start)) {
            continue;
        }
        let line = follow(&current, area, &crowd, start);
        if (line.len() as f32) * STEP < shortest {
            continue;
        }
        drawn += 1;
        for point in line.iter().step_by(2) {
            crowd.add(*point);
        }
        let neighbours = waiting.len();
        for point in line.iter().step_by(4) {
            let across = current.direction(*point).turned_left() * (current.spacing(*point) * 1.02);
            waiting.push(*point + across);
            waiting.push(*point - across);
        }
        rng.shuffle(&mut waiting[neighbours..]);
        // The most recent neighbours wait last, so that the drawing grows like a crystal.
        waiting.rotate_left(neighbours);
        let ink = line_ink(plan, &tint, &line, size, rng);
        stroke(&mut sheet, &line, plan, &tint, ink, rng);
    }
    if let Some(stone) = plan.stone {
        for (centre, radius) in current.spots(plan.stones) {
            lay_stone(&mut sheet, centre, radius * side * 0.9, hex(stone), place, rng);
        }
    }
    sheet.grain(1.0, rng.seed());
    sheet
}

fn line_ink(plan: &Plan, tint: &Noise, line: &[Point], size: (f32, f32), rng: &mut Rng) -> Rgb {
    let middle = line[line.len() / 2];
    if rng.chance(plan.accent_share) && line.len() as f32 * STEP > 60.0 {
        return hex(plan.accent);
    }
    let drift = tint.at(middle.x / 500.0, middle.y / 500.0) * 0.35 + rng.normal() * 0.06;
    let place = (middle.x / size.0 + drift).clamp(0.0, 0.999);
    hex(plan.inks[(place * 3.0) as usize])
}

fn stroke(sheet: &mut Sheet, line: &[Point], plan: &Plan, tint: &Noise, ink: Rgb, rng: &mut Rng) {
    let pressure = plan.weight * rng.range(0.75, 1.2);
    let count = line.len() as f32;
    let taper = (count * 0.25).min(30.0);
    let widths: Vec<f32> = line
        .iter()
        .enumerate()
        .map(|(index, point)| {
            let end = (index as f32).min(count - 1.0 - index as f32);
            let swell = 1.0 + 0.55 * tint.at(point.x / 260.0, point.y / 260.0);
            pressure * swell * (0.12 + 0.88 * smoothstep(0.0, taper, end))
        })
        .collect();
    sheet.brush(line, &widths, ink);
}

fn lay_stone(sheet: &mut Sheet, centre: Point, radius: f32, colour: Rgb, place: usize, rng: &mut Rng) {
    // Moons and lamps are round; stones are not quite.
    if matches!(place, 1 | 5) {
        sheet.disc(centre, radius, colour);
        return;
    }
    let turn = rng.angle();
    let corners: Vec<Point> = (0..9)
        .map(|index| {
            let angle = turn + index as f32 / 9.0 * std::f32::consts::TAU;
            centre + Point::polar(angle) * (radius * rng.range(0.88, 1.04))
        })
        .collect();
    sheet.fill(&closed_curve(&corners, 12), colour);
}
