//! Maps of islands that nobody has found.

mod charts;
mod field;
mod labels;

use super::super::{
    Category, Series,
    colour::{Ramp, hex},
    geometry::{Area, Point, smoothstep},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

use charts::{CHARTS, Chart};
use field::Field;
use labels::{Labels, cartouche, frame, name_places, rose};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "islands",
    artist: "Survey of Absent Islands",
    technique: "Engraving with hand-laid tints",
    category: Category::Place,
    years: (1987, 2021),
    price_cents: 34_000,
    taste: Taste {
        contrast_min: 0.02,
        entropy_min: 0.6,
        imbalance_max: 0.5,
        ..Taste::BROAD
    },
    works: [
        work(
            "Sheet 1: Skarnholm",
            "The first sheet of the survey. Depths in fathoms, heights in doubt.",
        ),
        work(
            "Sheet 2: The Orrery Isles",
            "A dozen islands in a ring, with one harbour between them.",
        ),
        work(
            "Sheet 3: Isla Perdiz",
            "Dry on one side, green on the other, and a ridge that keeps the peace.",
        ),
        work(
            "Sheet 4: North Varrow",
            "Surveyed in winter. The contours are closer together than anybody would like.",
        ),
        work(
            "Sheet 5: Lagoon of Amaru",
            "A reef, a passage, and a lagoon that no keel has scratched.",
        ),
        work(
            "Sheet 6: Night Chart of Quill Sound",
            "For use under a red lamp: white lines on blue, the land left dark.",
        ),
        work(
            "Sheet 7: Great and Little Thessaly",
            "Two islands and the strait between, which has a tide and a reputation.",
        ),
        work(
            "Sheet 8: Mount Oriel",
            "One mountain, standing in the sea up to its shoulders.",
        ),
        work(
            "Sheet 9: The Fennish Coast",
            "Half of it is marsh and may have moved since.",
        ),
        work(
            "Sheet 10: Last Land",
            "There is nothing to the west of it. The engraver left the west blank.",
        ),
    ],
    draw,
};

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let chart = &CHARTS[place];
    let size = format(chart.format.0, chart.format.1);
    let mut sheet = Sheet::new(size, scale, hex(chart.paper));
    let side = size.0.min(size.1);
    let area = sheet.area().inset(side * 0.085);
    let noise = Noise::new(rng.seed());
    let shape = Noise::new(rng.seed());
    let field = Field::new(area, |point| {
        let x = (point.x - area.left) / area.width;
        let y = (point.y - area.top) / area.height;
        let aspect = area.height / area.width;
        let (nx, ny) = (point.x / 520.0, point.y / 520.0);
        let bent_x = x + shape.fractal(nx, ny, 5) * 0.11;
        let bent_y = y + shape.fractal(nx + 40.0, ny, 5) * 0.11 / aspect;
        let mut height = -0.3;
        for (cx, cy, radius, peak) in chart.land {
            let gap = (bent_x - cx).hypot((bent_y - cy) * aspect) / radius;
            height += peak * (1.0 - smoothstep(0.0, 1.15, gap));
        }
        let relief = noise.ridges(nx * 1.1, ny * 1.1, 5) - 0.62;
        let fine = noise.fractal(nx * 3.4 + 9.0, ny * 3.4, 5);
        let coast = shape.fractal(nx * 1.5 + 3.0, ny * 1.5 - 8.0, 5);
        let high = smoothstep(-0.15, 0.6, height);
        height + chart.rough * (relief * (0.2 + 0.75 * high) + fine * 0.13 + coast * 0.42)
    });
    tint(&mut sheet, chart, &field, area);
    let offshore = field.offshore();
    waterlines(&mut sheet, chart, &offshore, area);
    rivers(&mut sheet, chart, &field, rng);
    let (line, dark) = (hex(chart.line), chart.paper < 0x800000);
    let mut level = chart.interval;
    let mut count = 1;
    while level < 1.9 {
        let (width, alpha) = if count % 5 == 0 { (2.3, 0.85) } else { (1.15, 0.55) };
        sheet.lines(
            &field.contour(level),
            width,
            line.thin(alpha * if dark { 0.75 } else { 1.0 }),
        );
        level += chart.interval;
        count += 1;
    }
    sheet.lines(&field.contour(0.0), 3.6, line);
    frame(&mut sheet, chart, area);
    let mut labels = Labels {
        taken: Vec::new(),
        area,
    };
    cartouche(&mut sheet, chart, &field, &mut labels, side);
    rose(&mut sheet, chart, &offshore, &mut labels);
    name_places(&mut sheet, chart, &field, &offshore, &mut labels, rng);
    sheet.grain(1.2, rng.seed());
    sheet
}

/// Land tints by height with light from the north-west, sea tints by depth.
fn tint(sheet: &mut Sheet, chart: &Chart, field: &Field, area: Area) {
    let ramp = Ramp::new(&chart.tints.map(hex));
    let (paper, sea) = (hex(chart.paper), hex(chart.sea));
    sheet.shade(area, 1, |point| {
        let height = field.at(point);
        if height <= 0.0 {
            let deep = smoothstep(0.0, 0.3, -height);
            return Some(paper.blend(sea, 0.55 + 0.45 * deep));
        }
        let slope = field.slope(point) * 90.0;
        let light = (slope.x + slope.y) * 0.7;
        let shade = 1.0 + (light * 0.16).clamp(-0.15, 0.07);
        Some(ramp.at(height / 1.05).scaled(shade))
    });
}

/// Lines along the shore, wider and fainter the farther out.
fn waterlines(sheet: &mut Sheet, chart: &Chart, offshore: &Field, area: Area) {
    sheet.clip_to(&area.corners());
    let (mut distance, mut gap) = (7.0, 8.0);
    let water = hex(chart.water);
    for step in 0..13 {
        let alpha = 0.75 * (1.0 - step as f32 / 14.0);
        sheet.lines(&offshore.contour(distance), 1.3, water.thin(alpha));
        distance += gap;
        gap *= 1.17;
    }
    sheet.unclip();
}

fn rivers(sheet: &mut Sheet, chart: &Chart, field: &Field, rng: &mut Rng) {
    let mut sources: Vec<Point> = Vec::new();
    for _ in 0..160 {
        let mut point = field.area.place(rng.unit(), rng.unit());
        if field.at(point) < 0.28 || sources.iter().any(|other| other.distance(point) < 150.0) {
            continue;
        }
        let mut course = vec![point];
        let mut reached = false;
        for _ in 0..400 {
            let down = field.slope(point).normalised() * -5.0;
            point = point + down;
            course.push(point);
            if field.at(point) < 0.0 {
                reached = true;
                break;
            }
        }
        if reached && course.len() > 22 {
            sources.push(course[0]);
            let widths: Vec<f32> = (0..course.len())
                .map(|step| 0.8 + 2.4 * step as f32 / course.len() as f32)
                .collect();
            sheet.brush(&course, &widths, hex(chart.water));
        }
    }
}
