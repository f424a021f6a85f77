//! Strange attractors: where a point goes that obeys one small rule forty million times.

use super::super::{
    Category, Series,
    colour::{Ramp, hex},
    geometry::{Point, at, smoothstep},
    measures::Taste,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "silver",
    artist: "Keiko Tanabe",
    technique: "Photogravure, silver ink on black",
    category: Category::Abstract,
    years: (2011, 2024),
    price_cents: 36_000,
    taste: Taste {
        contrast_min: 0.05,
        entropy_min: 0.9,
        imbalance_max: 0.6,
        coverage: (0.05, 1.0),
    },
    works: [
        work(
            "Veil",
            "A cloth of light with two folds, drawn by a single point that never comes back to the same place.",
        ),
        work(
            "Sand Dollar",
            "Fivefold, like the animal, though no animal was involved: only a rule and its five reflections.",
        ),
        work(
            "Wing",
            "It looks as if it could beat. The left edge is where the point hurries, the right where it lingers.",
        ),
        work(
            "Halo",
            "Rings that are not rings: each is a cloud of crossings, thick where the paths meet.",
        ),
        work(
            "Ring of Glass",
            "A hoop of smoked glass lying on nothing, with the light from the left.",
        ),
        work(
            "Manta",
            "It came up out of the dark, showed its gilded side, and went down again.",
        ),
        work(
            "Snow Flower",
            "Six petals, each one forty million steps away from being finished.",
        ),
        work(
            "The Weather Itself",
            "The equations that taught us why the weather cannot be known, in the gold they deserve.",
        ),
        work(
            "Cyanotype",
            "Blue as a sun print of something that had lain on the beach for one tide.",
        ),
        work("Slow Turn", "A flower of five that will not hold still, in copper."),
    ],
    draw,
};

/// The rule that a point obeys.
#[derive(Clone, Copy)]
enum Rule {
    Clifford([f64; 4]),
    DeJong([f64; 4]),
    Svensson([f64; 4]),
    /// A rule with the symmetry of a snowflake: lambda, alpha, beta, gamma, omega, and the degree.
    Icon([f64; 5], i32),
    Lorenz,
}

struct Plan {
    rule: Rule,
    format: (f32, f32),
    ground: u32,
    /// From the faintest trace to the brightest.
    light: [u32; 4],
    /// The same for where the point moves fast.
    glow: [u32; 4],
    turn: f32,
}

const SILVER: [u32; 4] = [0x17181B, 0x5F6469, 0xB9BDBF, 0xFBFAF5];
const WARM: [u32; 4] = [0x1A1613, 0x6E5F52, 0xC9B9A4, 0xFFF8E8];
const GOLD: [u32; 4] = [0x1A130A, 0x7D5A24, 0xD3A24C, 0xFFF0C2];
const COPPER: [u32; 4] = [0x190F0B, 0x7A3D24, 0xD08A5C, 0xFCE7D2];
const SUN_PRINT: [u32; 4] = [0x123A66, 0x4A7CA8, 0xA9C8DC, 0xF6FAF8];
const COOL: [u32; 4] = [0x11161C, 0x47617A, 0x9DB7CB, 0xF2F8FB];

const PLANS: [Plan; 10] = [
    Plan {
        rule: Rule::Clifford([-1.4, 1.6, 1.0, 0.7]),
        format: (4.0, 5.0),
        ground: 0x0C0D0F,
        light: SILVER,
        glow: WARM,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Icon([-2.34, 2.0, 0.2, 0.1, 0.0], 5),
        format: (1.0, 1.0),
        ground: 0x0C0D0F,
        light: SILVER,
        glow: COOL,
        turn: -0.314,
    },
    Plan {
        rule: Rule::DeJong([1.4, -2.3, 2.4, -2.1]),
        format: (5.0, 4.0),
        ground: 0x0C0D0F,
        light: SILVER,
        glow: WARM,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Icon([2.6, -2.0, 0.0, 0.5, 0.0], 5),
        format: (1.0, 1.0),
        ground: 0x0B0C10,
        light: COOL,
        glow: SILVER,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Svensson([1.4, 1.56, 1.4, -6.56]),
        format: (3.0, 2.0),
        ground: 0x0D0D0E,
        light: WARM,
        glow: SILVER,
        turn: 0.0,
    },
    Plan {
        rule: Rule::DeJong([-2.0, -2.0, -1.2, 2.0]),
        format: (4.0, 5.0),
        ground: 0x0C0D0F,
        light: SILVER,
        glow: GOLD,
        turn: 1.571,
    },
    Plan {
        rule: Rule::Icon([-2.7, 5.0, 1.5, 1.0, 0.0], 6),
        format: (1.0, 1.0),
        ground: 0x0B0D12,
        light: COOL,
        glow: SILVER,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Lorenz,
        format: (4.0, 5.0),
        ground: 0x0E0B08,
        light: GOLD,
        glow: WARM,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Clifford([1.7, 1.7, 0.6, 1.2]),
        format: (4.0, 5.0),
        ground: 0x0B2A50,
        light: SUN_PRINT,
        glow: SUN_PRINT,
        turn: 0.0,
    },
    Plan {
        rule: Rule::Icon([-2.5, 5.0, -1.9, 1.0, 0.188], 5),
        format: (1.0, 1.0),
        ground: 0x0F0B09,
        light: COPPER,
        glow: GOLD,
        turn: 0.4,
    },
];

/// What the point left on one pixel of the plate.
#[derive(Clone, Copy, Default)]
struct Trace {
    hits: u32,
    speed: f32,
}

impl Trace {
    fn mean_speed(&self) -> f32 {
        self.speed / self.hits.max(1) as f32
    }
}

/// A point on its way, with the third dimension that some rules need.
#[derive(Clone, Copy)]
struct Traveller {
    x: f64,
    y: f64,
    z: f64,
}

/// The sine, to about one part in a million: several times as fast as the exact one, and the same on every machine, on
/// which the way of a strange attractor depends.
fn sine(angle: f64) -> f64 {
    use std::f64::consts::{FRAC_1_PI, PI};
    let half_turns = (angle * FRAC_1_PI).round();
    let x = angle - half_turns * PI;
    let square = x * x;
    let even = x
        * (1.0
            + square
                * (-1.0 / 6.0
                    + square
                        * (1.0 / 120.0
                            + square * (-1.0 / 5040.0 + square * (1.0 / 362_880.0 - square / 39_916_800.0)))));
    if half_turns as i64 & 1 == 0 { even } else { -even }
}

fn cosine(angle: f64) -> f64 {
    sine(angle + std::f64::consts::FRAC_PI_2)
}

impl Rule {
    fn step(self, p: Traveller) -> Traveller {
        let flat = |x: f64, y: f64| Traveller { x, y, z: 0.0 };
        let flow = |dx: f64, dy: f64, dz: f64, dt: f64| Traveller {
            x: p.x + dx * dt,
            y: p.y + dy * dt,
            z: p.z + dz * dt,
        };
        match self {
            Self::Clifford([a, b, c, d]) => {
                flat(sine(a * p.y) + c * cosine(a * p.x), sine(b * p.x) + d * cosine(b * p.y))
            }
            Self::DeJong([a, b, c, d]) => flat(sine(a * p.y) - cosine(b * p.x), sine(c * p.x) - cosine(d * p.y)),
            Self::Svensson([a, b, c, d]) => {
                flat(d * sine(a * p.x) - sine(b * p.y), c * cosine(a * p.x) + cosine(b * p.y))
            }
            Self::Icon([lambda, alpha, beta, gamma, omega], degree) => {
                let (mut re, mut im) = (p.x, p.y);
                for _ in 0..degree - 2 {
                    (re, im) = (re * p.x - im * p.y, im * p.x + re * p.y);
                }
                let whole = p.x * re - p.y * im;
                let pull = lambda + alpha * (p.x * p.x + p.y * p.y) + beta * whole;
                flat(
                    pull * p.x + gamma * re - omega * p.y,
                    pull * p.y - gamma * im + omega * p.x,
                )
            }
            Self::Lorenz => flow(
                10.0 * (p.y - p.x),
                p.x * (28.0 - p.z) - p.y,
                p.x * p.y - 8.0 / 3.0 * p.z,
                0.0002,
            ),
        }
    }

    fn is_flow(self) -> bool {
        matches!(self, Self::Lorenz)
    }

    /// Where the viewer sees the point.
    fn seen(self, p: Traveller) -> Point {
        let (x, y) = match self {
            Self::Lorenz => (p.x * 0.94 + p.y * 0.34, -p.z),
            _ => (p.x, p.y),
        };
        at(x as f32, y as f32)
    }
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.ground));
    let area = sheet.area().inset(size.0.min(size.1) * 0.11);
    let (columns, rows) = ((size.0 * scale) as usize, (size.1 * scale) as usize);
    let (turn_sin, turn_cos) = plan.turn.sin_cos();
    let view = |p: Traveller| {
        let seen = plan.rule.seen(p);
        at(
            seen.x * turn_cos - seen.y * turn_sin,
            seen.x * turn_sin + seen.y * turn_cos,
        )
    };

    // Find out how far the picture reaches, leaving out the few points that stray furthest.
    let start = Traveller {
        x: 0.1 + f64::from(rng.range(0.0, 0.01)),
        y: 0.1,
        z: 0.1,
    };
    let mut point = start;
    let sketch = if plan.rule.is_flow() { 2_000_000 } else { 400_000 };
    let (mut xs, mut ys) = (Vec::new(), Vec::new());
    for step in 0..sketch {
        point = plan.rule.step(point);
        if step > 2000 && step % 4 == 0 {
            let seen = view(point);
            xs.push(seen.x);
            ys.push(seen.y);
        }
    }
    let span = |values: &mut Vec<f32>| {
        values.sort_by(f32::total_cmp);
        let cut = values.len() / 4000;
        (values[cut], values[values.len() - 1 - cut])
    };
    let ((left, right), (top, bottom)) = (span(&mut xs), span(&mut ys));
    let zoom = (area.width / (right - left)).min(area.height / (bottom - top)) * scale;
    let centre = area.centre() * scale;
    let middle = at((left + right) * 0.5, (top + bottom) * 0.5);

    let mut plate = vec![Trace::default(); columns * rows];
    // A cloud of points needs more of them on a larger sheet. A flow is a thread: it is as long on every sheet, or its
    // turns would run together.
    let steps = if plan.rule.is_flow() {
        10_000_000
    } else {
        ((16e6 * scale * scale) as u64).max(1_000_000)
    };
    let mut before = view(point);
    for _ in 0..steps {
        point = plan.rule.step(point);
        let seen = view(point);
        let pixel = (seen - middle) * zoom + centre;
        let moved = (seen.x - before.x).abs() + (seen.y - before.y).abs();
        before = seen;
        let (column, row) = (pixel.x as i64, pixel.y as i64);
        if (0..columns as i64).contains(&column) && (0..rows as i64).contains(&row) {
            let index = row as usize * columns + column as usize;
            plate[index].hits += 1;
            plate[index].speed += moved;
        }
    }
    develop(&mut sheet, plan, &plate, columns);
    sheet.grain(1.2, rng.seed());
    sheet
}

/// Turns counts into light, as a darkroom does: the highlights hold back, the shadows are opened.
fn develop(sheet: &mut Sheet, plan: &Plan, plate: &[Trace], columns: usize) {
    let mut lit: Vec<u32> = plate.iter().map(|trace| trace.hits).filter(|hits| *hits > 0).collect();
    if lit.is_empty() {
        return;
    }
    lit.sort_unstable();
    let white = lit[lit.len() * 995 / 1000].max(2) as f32;
    let mut speeds: Vec<f32> = plate
        .iter()
        .filter(|trace| trace.hits > 0)
        .map(Trace::mean_speed)
        .collect();
    speeds.sort_by(f32::total_cmp);
    let (slow, fast) = (speeds[speeds.len() / 10], speeds[speeds.len() * 9 / 10]);
    let ramp = |stops: [u32; 4]| {
        let [a, b, c, d] = stops.map(hex);
        Ramp::new(&[hex(plan.ground), a, b, c, d])
    };
    let (light, glow) = (ramp(plan.light), ramp(plan.glow));
    let scale = sheet.scale();
    let ground = hex(plan.ground);
    let area = sheet.area();
    sheet.retouch(|point, _| {
        let (column, row) = ((point.x * scale) as usize, (point.y * scale) as usize);
        let index = row * columns + column;
        let edge = point
            .x
            .min(point.y)
            .min(area.width - point.x)
            .min(area.height - point.y);
        let Some(trace) = plate.get(index).filter(|trace| trace.hits > 0 && column < columns) else {
            return ground.scaled(0.8 + 0.2 * smoothstep(0.0, 120.0, edge));
        };
        let tone = ((1.0 + trace.hits as f32 * 12.0 / white).ln() / 13f32.ln()).powf(0.72);
        let share = smoothstep(slow, fast.max(slow + 1e-6), trace.mean_speed());
        light.at(tone).blend(glow.at(tone), share)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_sine_is_close_to_the_exact_one() {
        for step in -4000..4000 {
            let angle = f64::from(step) * 0.0097;
            assert!((sine(angle) - angle.sin()).abs() < 2e-6, "{angle}");
            assert!((cosine(angle) - angle.cos()).abs() < 2e-6, "{angle}");
        }
    }
}
