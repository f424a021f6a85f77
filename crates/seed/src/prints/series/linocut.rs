//! Reaction and diffusion as a gouge: what two chemicals do to each other, cut in lino.

mod bath;
mod subjects;

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

use bath::Bath;
use subjects::{Cut, subject};

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
        work("Carp", "The scales were not drawn. They arranged themselves."),
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
        work("Vase with One Stripe", "The pattern changes its mind exactly once."),
        work("Storm at Sea", "All the water goes one way, and then it does not."),
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

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.paper));
    let area = sheet.area().inset(size.0.min(size.1) * 0.095);
    let noise = Noise::new(rng.seed());
    let aspect = area.height / area.width;
    let cell = 5.0;
    let (columns, rows) = ((area.width / cell) as usize + 6, (area.height / cell) as usize + 6);
    let cuts: Vec<Cut> = (0..columns * rows)
        .map(|index| {
            let (x, y) = ((index % columns) as f32 - 3.0, (index / columns) as f32 - 3.0);
            subject(place, x * cell / area.width, y * cell / area.height, aspect, &noise)
        })
        .collect();
    let mut bath = Bath::new(columns, rows, rng);
    bath.react(&cuts, 3400);
    print(&mut sheet, plan, place, area, &bath, cell, &noise, aspect, rng);
    sheet.grain(1.5, rng.seed());
    sheet
}

#[allow(clippy::too_many_arguments, reason = "a pull needs block, plan and paper")]
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
        let (x, y) = ((point.x - area.left) / area.width, (point.y - area.top) / area.height);
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
        let worn = salt.at(point.x / 2.8, point.y / 2.8) + salt.at(point.x / 60.0, point.y / 60.0) * 0.5;
        let inked = match cut.left {
            0 => {
                // Ridges that the gouge left standing where it cleared the ground.
                let ridge = chatter.at(point.x / 34.0 + point.y / 160.0, point.y / 7.0);
                ridge > 0.83 && under == 0 && place != 0
            }
            2 => true,
            _ => {
                let value = bath.at((point.x - area.left) / cell + 3.0, (point.y - area.top) / cell + 3.0);
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
