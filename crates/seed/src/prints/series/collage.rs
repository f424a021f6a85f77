//! Torn paper, laid in the order in which a sunflower lays its seeds.

use std::f32::consts::TAU;

use super::super::{
    Category, Series,
    colour::{Ramp, Rgb, hex},
    geometry::{Area, Point, at, lerp},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "collage",
    artist: "Odile Marchetti",
    technique: "Pigment print after a collage of torn papers",
    category: Category::Nature,
    years: (2010, 2023),
    price_cents: 28_000,
    taste: Taste {
        contrast_min: 0.05,
        imbalance_max: 0.5,
        ..Taste::BROAD
    },
    works: [
        work(
            "Dahlia, Late September",
            "Torn from the outside in, from plum to the colour of a lit window.",
        ),
        work("Artichoke", "Four greens and a violet that was in the paper already."),
        work(
            "Sun, Low",
            "Wide strips of ochre and orange round nothing in particular; the middle was left open.",
        ),
        work(
            "Succulent",
            "Thick leaves of grey-green paper, each with a blush at its torn edge.",
        ),
        work("Seed Head", "Two hundred scraps, not one larger than a stamp."),
        work(
            "Peony, Cropped",
            "Too large for the sheet, as peonies are too large for the vase.",
        ),
        work(
            "Pine Cone",
            "Browns from wrapping papers, one of them still with a bit of print on the back.",
        ),
        work("Cactus in Flower", "All discipline, and then, once a year, this."),
        work("Winter Aster", "White on white on grey. The shadows do the drawing."),
        work(
            "Two Suns",
            "A large one and a small one, in papers from the same drawer.",
        ),
    ],
    draw,
};

#[derive(Clone, Copy)]
enum Scrap {
    Petal,
    Round,
    Scale,
    Strip,
}

struct Head {
    x: f32,
    y: f32,
    radius: f32,
}

struct Plan {
    format: (f32, f32),
    ground: u32,
    /// From the heart outwards.
    papers: &'static [u32],
    heart: u32,
    scrap: Scrap,
    count: usize,
    /// Length and width of the outermost scrap as shares of the radius.
    size: (f32, f32),
    heads: &'static [Head],
    hollow: f32,
}

const MIDDLE: &[Head] = &[Head {
    x: 0.5,
    y: 0.5,
    radius: 0.42,
}];

const PLANS: [Plan; 10] = [
    Plan {
        format: (4.0, 5.0),
        ground: 0xEFE6D6,
        papers: &[0xF3C765, 0xE8943F, 0xD05A3A, 0xA8354A, 0x6E2750, 0x4A1E42],
        heart: 0xF7DC8C,
        scrap: Scrap::Petal,
        count: 210,
        size: (0.36, 0.17),
        heads: &[Head {
            x: 0.5,
            y: 0.46,
            radius: 0.43,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (3.0, 4.0),
        ground: 0xE9E4D4,
        papers: &[0x8A6A93, 0xA9B27A, 0x7E9A5B, 0x55774C, 0x35563F],
        heart: 0x6B4A78,
        scrap: Scrap::Scale,
        count: 95,
        size: (0.46, 0.36),
        heads: &[Head {
            x: 0.5,
            y: 0.5,
            radius: 0.4,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (1.0, 1.0),
        ground: 0xD9E2E1,
        papers: &[0xF6D98A, 0xF0B43F, 0xE58A2F, 0xD0622A, 0xB4472A],
        heart: 0xFBEFC8,
        scrap: Scrap::Strip,
        count: 75,
        size: (0.62, 0.1),
        heads: &[Head {
            x: 0.52,
            y: 0.52,
            radius: 0.42,
        }],
        hollow: 0.3,
    },
    Plan {
        format: (1.0, 1.0),
        ground: 0xE8D9C9,
        papers: &[0xCBD6C0, 0xA3BBA6, 0x7F9F90, 0x5F8580, 0xB98A88],
        heart: 0xDCE2C8,
        scrap: Scrap::Petal,
        count: 62,
        size: (0.5, 0.33),
        heads: &[Head {
            x: 0.47,
            y: 0.5,
            radius: 0.4,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (4.0, 5.0),
        ground: 0x2A3540,
        papers: &[0xE9D7A8, 0xD6A85A, 0xB97A3E, 0x8B5A3C, 0xDCCBB0],
        heart: 0x5A3A28,
        scrap: Scrap::Round,
        count: 360,
        size: (0.09, 0.085),
        heads: &[Head {
            x: 0.5,
            y: 0.5,
            radius: 0.41,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (4.0, 5.0),
        ground: 0xDDE3DA,
        papers: &[0xF8E9DD, 0xF3C9C6, 0xE79AA6, 0xD26E86, 0xB44A68, 0xF0B9BC],
        heart: 0xF3D27A,
        scrap: Scrap::Round,
        count: 120,
        size: (0.3, 0.34),
        heads: &[Head {
            x: 0.66,
            y: 0.62,
            radius: 0.72,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (2.0, 3.0),
        ground: 0xEEE7DA,
        papers: &[0xC89F6A, 0xA97B4C, 0x8A5F3B, 0x6B4630, 0x4D3325],
        heart: 0x8A5F3B,
        scrap: Scrap::Scale,
        count: 150,
        size: (0.28, 0.25),
        heads: &[Head {
            x: 0.5,
            y: 0.5,
            radius: 0.47,
        }],
        hollow: 0.0,
    },
    Plan {
        format: (4.0, 5.0),
        ground: 0xF1E3C9,
        papers: &[0xE8577E, 0xF08AA0, 0x5E8C6A, 0x437559, 0x2F5C4B],
        heart: 0xF6D25C,
        scrap: Scrap::Petal,
        count: 240,
        size: (0.2, 0.085),
        heads: &[
            Head {
                x: 0.5,
                y: 0.56,
                radius: 0.4,
            },
            Head {
                x: 0.74,
                y: 0.17,
                radius: 0.13,
            },
        ],
        hollow: 0.0,
    },
    Plan {
        format: (1.0, 1.0),
        ground: 0xC9CDCF,
        papers: &[0xFBFAF6, 0xF3F1EC, 0xE8E8E6, 0xDADDDE, 0xEFEDE6],
        heart: 0xE5C76B,
        scrap: Scrap::Strip,
        count: 170,
        size: (0.44, 0.075),
        heads: MIDDLE,
        hollow: 0.0,
    },
    Plan {
        format: (3.0, 2.0),
        ground: 0x24424D,
        papers: &[0xF4DDA0, 0xE9B44C, 0xDB7F3B, 0xC0492F, 0x8E2F33],
        heart: 0xF9EBC6,
        scrap: Scrap::Round,
        count: 150,
        size: (0.27, 0.25),
        heads: &[
            Head {
                x: 0.36,
                y: 0.52,
                radius: 0.4,
            },
            Head {
                x: 0.8,
                y: 0.3,
                radius: 0.17,
            },
        ],
        hollow: 0.0,
    },
];

const GOLDEN: f32 = 2.399_963;

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.ground));
    let side = size.0.min(size.1);
    let edge = Noise::new(rng.seed());
    let ramp = Ramp::new(&plan.papers.iter().map(|code| hex(*code)).collect::<Vec<_>>());
    for (index, head) in plan.heads.iter().enumerate() {
        let centre = at(size.0 * head.x, size.1 * head.y);
        let radius = side * head.radius;
        let count = if index == 0 { plan.count } else { plan.count * 2 / 5 };
        flower(&mut sheet, plan, &ramp, &edge, centre, radius, count, rng);
    }
    // The ground shows again round the picture, as the mount of the collage.
    let mount = sheet.area().inset(side * 0.07);
    let border = hex(plan.ground).mix(hex(0xF8F4EB), 0.93);
    sheet.trim(mount, border);
    shadow_inside(&mut sheet, mount);
    sheet.grain(1.7, rng.seed());
    sheet
}

fn shadow_inside(sheet: &mut Sheet, mount: Area) {
    for step in 0..6 {
        sheet.ring(&mount.inset(step as f32 * 0.9).corners(), 1.6, hex(0x1E1A16).thin(0.07));
    }
}

#[allow(clippy::too_many_arguments, reason = "a flower is made of exactly these things")]
fn flower(
    sheet: &mut Sheet,
    plan: &Plan,
    ramp: &Ramp,
    edge: &Noise,
    centre: Point,
    radius: f32,
    count: usize,
    rng: &mut Rng,
) {
    let turn = rng.angle();
    // From the outside in, so that inner scraps lie on top.
    for index in (0..count).rev() {
        let share = ((index as f32 + 0.5) / count as f32).sqrt();
        if share < plan.hollow {
            continue;
        }
        let angle = index as f32 * GOLDEN + turn;
        let direction = Point::polar(angle);
        let place = centre + direction * (radius * share * 0.86);
        let grown = lerp(0.34, 1.0, share) * rng.range(0.9, 1.12);
        let (long, wide) = (plan.size.0 * radius * grown, plan.size.1 * radius * grown);
        let drift = edge.at(place.x / 300.0, place.y / 300.0) * 0.12 + rng.normal() * 0.05;
        let paper = ramp
            .at(share * share.sqrt() + drift)
            .nudged(rng.normal() * 0.016, rng.normal() * 0.006);
        let lean = angle + rng.normal() * 0.07;
        scrap(sheet, plan.scrap, edge, place, lean, (long, wide), paper, rng);
    }
    if plan.hollow == 0.0 {
        let heart = radius * 0.085;
        scrap(
            sheet,
            Scrap::Round,
            edge,
            centre,
            0.0,
            (heart, heart),
            hex(plan.heart),
            rng,
        );
    }
}

/// A scrap of paper: its shadow, the white of its torn edge, then its colour.
#[allow(clippy::too_many_arguments, reason = "a scrap is made of exactly these things")]
fn scrap(
    sheet: &mut Sheet,
    kind: Scrap,
    edge: &Noise,
    place: Point,
    angle: f32,
    (long, wide): (f32, f32),
    paper: Rgb,
    rng: &mut Rng,
) {
    let (seed_a, seed_b) = (rng.range(0.0, 900.0), rng.range(0.0, 900.0));
    let torn = |grow: f32, seed: f32, rough: f32| -> Vec<Point> {
        let steps = (long * 0.9) as usize + 40;
        (0..steps)
            .map(|step| {
                let turn = step as f32 / steps as f32 * TAU;
                let (sin, cos) = turn.sin_cos();
                let base = match kind {
                    Scrap::Round => at(cos * long, sin * wide),
                    // Pointed outside, round inside.
                    Scrap::Petal => at(cos * long, sin * wide * (1.0 - 0.42 * cos)),
                    Scrap::Scale => at(
                        cos.signum() * cos.abs().powf(0.75) * long * 0.8,
                        sin.signum() * sin.abs().powf(0.7) * wide * (1.0 - 0.25 * cos),
                    ),
                    Scrap::Strip => at(
                        cos.signum() * cos.abs().powf(0.35) * long,
                        sin.signum() * sin.abs().powf(0.45) * wide * (1.0 + 0.2 * cos),
                    ),
                } * 0.5;
                let far = at(cos, sin);
                let wave = edge.at(far.x * 1.4 + seed, far.y * 1.4) * 0.06 * wide.min(long)
                    + edge.at(base.x / 9.0 + seed, base.y / 9.0 + seed * 0.7) * rough
                    + edge.at(base.x / 2.6 + seed, base.y / 2.6) * rough * 0.45;
                place + (base + far * (grow + wave)).rotated(angle)
            })
            .collect()
    };
    let outer = torn(0.0, seed_a, 2.2);
    for (shift, alpha) in [(3.0, 0.10), (6.5, 0.08), (11.0, 0.06), (17.0, 0.035)] {
        let cast: Vec<Point> = outer.iter().map(|point| *point + at(shift * 0.6, shift)).collect();
        sheet.fill(&cast, hex(0x1A1410).thin(alpha));
    }
    let pulp = paper.mix(hex(0xFBF8F0), 0.78);
    sheet.fill(&outer, pulp);
    let inner = torn(-3.4 - wide * 0.014, seed_b, 2.6);
    sheet.fill(&inner, paper);
}
