//! Towns seen from a corner of the sky, shaded with the pen.

mod plans;
mod plots;
mod town;

use super::super::{
    Category, Series,
    colour::hex,
    geometry::at,
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

use plans::PLANS;
use plots::{Plot, plot};
use town::{Town, ground, water};

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
        work("Medina", "White cubes, domes, and a courtyard for whoever finds it."),
        work("The Works", "Saw-tooth roofs and chimneys. Monday's smoke goes east."),
        work("Canals", "Tall houses on narrow water, each holding up the next."),
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
    let half = (size.0 * 0.88 / (side * 2.0)).min(size.1 * 0.84 / (side * 1.12 + (tallest + 0.9) * 1.24));
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
