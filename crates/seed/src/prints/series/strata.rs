//! Stone, cut and polished: layers that were bent while they were soft.

use std::f32::consts::TAU;

use super::super::{
    Category, Series,
    colour::{Ramp, Rgb, hex},
    geometry::{Area, Point, at, closed_curve, smoothstep},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "strata",
    artist: "Marguerite Aubry",
    technique: "Colour lithograph from four stones",
    category: Category::Nature,
    years: (2009, 2022),
    price_cents: 38_000,
    taste: Taste {
        contrast_min: 0.06,
        imbalance_max: 0.5,
        ..Taste::BROAD
    },
    works: [
        work(
            "Quarry Wall, Morning",
            "Ten thousand years to a finger's breadth, in ochre and cream.",
        ),
        work(
            "Blue Agate",
            "A pebble from a river bed, sawn in half. Nobody had seen the inside before.",
        ),
        work(
            "Anticline",
            "What was flat has been folded like a blanket, by a continent that was in no hurry.",
        ),
        work("Three Faults", "The same layers four times, each time a step lower."),
        work(
            "Malachite",
            "Green rings round many centres; where two families of rings meet, neither gives way.",
        ),
        work(
            "Portoro",
            "Black marble from the Gulf of Poets, with its one extravagance: gold.",
        ),
        work(
            "Carnelian Pair",
            "Two halves that were one stone. They do not quite match, as halves never do.",
        ),
        work("Rose Onyx", "Thin curtains of pink and milk, held against a window."),
        work(
            "Picture Jasper",
            "Some stones draw their own landscapes. This one drew a desert with hills.",
        ),
        work(
            "Lapis, after the Illuminators",
            "The blue that cost more than gold, and the gold that grows in it.",
        ),
    ],
    draw,
};

/// Layers of random thickness: a colour for every depth.
struct Layers {
    bounds: Vec<f32>,
    colours: Vec<Rgb>,
    seam: Rgb,
    fine: Noise,
}

impl Layers {
    fn new(count: usize, tones: &[Rgb], seam: Rgb, rng: &mut Rng) -> Self {
        let ramp = Ramp::new(tones);
        let (mut bounds, mut colours) = (vec![0.0], Vec::new());
        let mut place = rng.unit();
        for index in 0..count {
            // Thin layers come in packs between thick ones.
            let pack = (index as f32 * 0.7).sin() * 0.8;
            bounds.push(bounds[index] + (rng.normal() * 0.75 + pack).exp());
            place += rng.range(0.12, 0.5) * if rng.chance(0.5) { 1.0 } else { -1.0 };
            place = if !(0.0..=1.0).contains(&place) {
                rng.unit()
            } else {
                place
            };
            colours.push(ramp.at(place));
        }
        let total = bounds[count];
        bounds.iter_mut().for_each(|bound| *bound /= total);
        Self {
            bounds,
            colours,
            seam,
            fine: Noise::new(rng.seed()),
        }
    }

    /// The colour at `depth` (any number: the layers repeat, mirrored), `blur` wide at its edges.
    fn at(&self, depth: f32, blur: f32) -> Rgb {
        let turn = depth.rem_euclid(2.0);
        let depth = if turn > 1.0 { 2.0 - turn } else { turn };
        let index = self
            .bounds
            .partition_point(|bound| *bound <= depth)
            .clamp(1, self.colours.len())
            - 1;
        let (low, high) = (self.bounds[index], self.bounds[index + 1]);
        let inner = (depth - low) / (high - low);
        let count = self.colours.len() as f32;
        let lamina = self.fine.at(depth * count * 5.0, 0.5) * 0.05 + self.fine.at(depth * count * 17.0, 7.5) * 0.03;
        let base = self.colours[index].scaled(0.97 + 0.09 * inner + lamina);
        let edge = 1.0 - smoothstep(0.0, blur, (depth - low).min(high - depth));
        base.blend(self.seam, edge * 0.45)
    }
}

const PALETTES: [&[u32]; 10] = [
    &[0xF3E3C3, 0xE6C48C, 0xCF9A56, 0xA9683A, 0x6E4A37, 0xEBDDC6],
    &[0xF2F4F2, 0xBFD3DD, 0x6FA0BE, 0x2F6B97, 0x163E66, 0xDCE7EA],
    &[0xE9E2D2, 0xB9B09B, 0x7D7A6C, 0x4C5350, 0xC79C66, 0x2F3635],
    &[0xF0CFA4, 0xDE9A62, 0xC4673F, 0x97402D, 0x6A2A25, 0xEBDCC3],
    &[0x0E4A3A, 0x1C7358, 0x3C9F78, 0x86CBA3, 0x0A3329, 0x58B08A],
    &[0x0F0F11, 0x17171A, 0x1E1E22, 0x131315],
    &[0xF7E8D4, 0xEBAF73, 0xD3703A, 0xA63F22, 0x6B2417, 0xF3D3AE],
    &[0xFAF0E8, 0xF2CFC4, 0xE0A193, 0xC77A72, 0xF6E2D6, 0xB5625F],
    &[0xEFD9AE, 0xD9AE70, 0xB88149, 0x8A5A38, 0x5B3F31, 0xC9B48C],
    &[0x16297A, 0x1E3A9A, 0x2A4CB0, 0x13205E, 0x3B5FBE],
];

const SEAMS: [u32; 10] = [
    0x5A3B26, 0x123152, 0x25282A, 0x4E1D1A, 0x06261D, 0x2A2A2E, 0x4A150D, 0xFFF8F2, 0x3C271D, 0x0C1440,
];

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let ratio = [
        (3.0, 2.0),
        (4.0, 5.0),
        (4.0, 5.0),
        (5.0, 4.0),
        (1.0, 1.0),
        (2.0, 3.0),
        (3.0, 2.0),
        (2.0, 3.0),
        (16.0, 10.0),
        (4.0, 5.0),
    ][place];
    let size = format(ratio.0, ratio.1);
    let mut sheet = Sheet::new(size, scale, hex(0xF5F1E9));
    let area = sheet.area().inset(size.0.min(size.1) * 0.09);
    let tones: Vec<Rgb> = PALETTES[place].iter().map(|code| hex(*code)).collect();
    let stone = Stone {
        seam: hex(SEAMS[place]),
        warp: Noise::new(rng.seed()),
        detail: Noise::new(rng.seed()),
        tones,
    };
    match place {
        1 => agate(&mut sheet, &stone, area.centre(), area.width * 0.49, 1.18, 34, rng),
        4 => malachite(&mut sheet, &stone, area, rng),
        5 | 9 => veined(&mut sheet, &stone, area, place == 5, rng),
        6 => {
            for (x, lean) in [(0.255, 1.0), (0.745, -1.0)] {
                agate(
                    &mut sheet,
                    &stone,
                    area.place(x, 0.5),
                    area.width * 0.225,
                    1.2 + 0.05 * lean,
                    26,
                    rng,
                );
            }
        }
        _ => layered(&mut sheet, &stone, area, place, rng),
    }
    sheet.grain(0.8, rng.seed());
    sheet
}

struct Stone {
    tones: Vec<Rgb>,
    seam: Rgb,
    warp: Noise,
    detail: Noise,
}

impl Stone {
    /// The crystals of the stone itself: how much lighter or darker it is here than its layer.
    fn speckle(&self, point: Point) -> f32 {
        let cloud = self.detail.fractal(point.x / 160.0, point.y / 160.0, 3) * 0.05;
        let speck = self.detail.at(point.x / 3.5, point.y / 3.5) * 0.035;
        1.0 + cloud + speck
    }

    /// How far noise pushes a point about, and that noise by noise, at most about 1.
    fn push(&self, point: Point, size: f32) -> Point {
        let (x, y) = (point.x / size, point.y / size);
        let first = at(self.warp.fractal(x, y, 3), self.warp.fractal(x + 31.7, y + 11.3, 3));
        at(
            self.warp.fractal(x + first.x * 1.6 + 3.1, y + first.y * 1.6, 4),
            self.warp.fractal(x + first.x * 1.6, y + first.y * 1.6 + 57.2, 4),
        )
    }
}

fn layered(sheet: &mut Sheet, stone: &Stone, area: Area, place: usize, rng: &mut Rng) {
    // Layers a sheet, wavelength and height of the folds, strength of the warp, dip, and faults.
    let (count, wave, fold, warp, dip, faults): (usize, f32, f32, f32, f32, usize) = match place {
        0 => (44, 1500.0, 60.0, 70.0, 0.06, 0),
        2 => (40, 820.0, 330.0, 90.0, 0.0, 0),
        3 => (30, 1700.0, 40.0, 45.0, -0.12, 3),
        7 => (46, 520.0, 70.0, 150.0, 1.571, 0),
        _ => (34, 1100.0, 55.0, 130.0, 0.03, 0),
    };
    let mut layers = Layers::new(count, &stone.tones, stone.seam, rng);
    let phase = rng.angle();
    let along = Point::polar(dip);
    let across = at(-along.y, along.x);
    let length = if place == 7 { area.width } else { area.height };
    let cuts: Vec<(Point, Point, f32)> = (0..faults)
        .map(|index| {
            let foot = area.place((index as f32 + rng.range(0.7, 1.2)) / (faults as f32 + 0.6), 0.5);
            let lean = rng.range(-0.35, 0.35);
            (foot, Point::polar(lean), rng.range(0.10, 0.2) * area.height)
        })
        .collect();
    if place == 8 {
        picture_jasper(&mut layers);
    }
    let slow = |point: Point| {
        let mut moved = point;
        let mut crack = 1.0f32;
        for (foot, normal, throw) in &cuts {
            let rough = stone.warp.at(point.y / 140.0, foot.x) * 14.0;
            let side = (point - *foot).dot(*normal) + rough;
            if side > 0.0 {
                moved.y -= throw;
            }
            crack = crack.min(smoothstep(0.5, 4.0, side.abs()));
        }
        let shift = moved + stone.push(moved, 640.0) * warp - point;
        (shift, stone.speckle(point) * (0.35 + 0.65 * crack))
    };
    sheet.shade_with(area, 2, slow, |point, (shift, light)| {
        let soft = point + *shift;
        let run = soft.dot(along) / wave * TAU + phase;
        let bend = run.sin() * fold + (run * 2.3 + 1.0).sin() * fold * 0.25;
        let mut depth = (soft.dot(across) + bend) / length;
        if place == 8 {
            depth =
                (point.y - area.top + (soft.y - point.y) * (0.25 + (point.y - area.top) / area.height) + bend * 0.6)
                    / length;
        }
        Some(layers.at(depth.abs(), 0.0014).scaled(*light))
    });
}

/// The upper third becomes a pale sky, and the layers darken towards the ground.
fn picture_jasper(layers: &mut Layers) {
    let total = layers.colours.len();
    for (index, colour) in layers.colours.iter_mut().enumerate() {
        let middle = (layers.bounds[index] + layers.bounds[index + 1]) * 0.5;
        let pale = 1.0 - smoothstep(0.22, 0.45, middle);
        *colour = colour
            .mix(hex(0xEBD6AE), pale * 0.86)
            .mix(hex(0x4A3024), smoothstep(0.45, 1.0, middle) * 0.45);
        if index == total / 2 {
            *colour = hex(0x6E2F22);
        }
    }
}

fn agate(sheet: &mut Sheet, stone: &Stone, centre: Point, radius: f32, stretch: f32, count: usize, rng: &mut Rng) {
    let layers = Layers::new(count, &stone.tones, stone.seam, rng);
    let corners: Vec<f32> = (0..11).map(|_| rng.range(0.86, 1.03)).collect();
    let outline = |grow: f32, shift: Point| {
        let points: Vec<Point> = corners
            .iter()
            .enumerate()
            .map(|(index, reach)| {
                let direction = Point::polar(index as f32 / 11.0 * TAU - 0.4);
                centre + shift + at(direction.x, direction.y * stretch) * (radius * reach * grow)
            })
            .collect();
        closed_curve(&points, 16)
    };
    for step in 0..14 {
        let share = step as f32 / 13.0;
        sheet.fill(
            &outline(1.035 - share * 0.04, at(10.0, 16.0)),
            hex(0x3A332B).thin(0.022),
        );
    }
    let shape = outline(1.0, Point::default());
    // How far the rind lies from the centre, for each of 720 directions.
    let spokes: Vec<f32> = {
        let mut list: Vec<(f32, f32)> = shape
            .iter()
            .map(|point| {
                let offset = *point - centre;
                ((offset.y.atan2(offset.x) / TAU).rem_euclid(1.0), offset.length())
            })
            .collect();
        list.sort_by(|a, b| a.0.total_cmp(&b.0));
        (0..720)
            .map(|step| {
                let angle = step as f32 / 720.0;
                let next = list.partition_point(|entry| entry.0 < angle);
                let (high, low) = (list[next % list.len()], list[(next + list.len() - 1) % list.len()]);
                (high.1 + low.1) * 0.5
            })
            .collect()
    };
    let heart = at(rng.range(-0.14, 0.14), rng.range(-0.12, 0.12)) * radius;
    let geode = rng.range(0.2, 0.3);
    sheet.clip_to(&shape);
    let bounds = Area::new(
        centre.x - radius * 1.1,
        centre.y - radius * 1.4,
        radius * 2.2,
        radius * 2.8,
    );
    let inside_shape = |point: Point| {
        let offset = point - centre;
        let angle = (offset.y.atan2(offset.x) / TAU).rem_euclid(1.0) * 720.0;
        let (low, share) = (angle as usize % 720, angle.fract());
        let rind = spokes[low] * (1.0 - share) + spokes[(low + 1) % 720] * share;
        offset.length() / rind
    };
    let slow = |point: Point| (stone.push(point, 420.0), stone.speckle(point));
    sheet.shade_with(bounds, 2, slow, |point, (push, speckle)| {
        let rim = inside_shape(point);
        if rim > 1.0 {
            return None;
        }
        let soft = point + *push * (radius * 0.32 * (1.0 - rim * rim * 0.85));
        let pulled = soft - heart * (1.0 - rim);
        let depth = inside_shape(pulled).min(1.0);
        let crust = smoothstep(
            0.955,
            0.985,
            rim + stone.detail.at(point.x / 22.0, point.y / 22.0) * 0.012,
        );
        if depth < geode {
            // A hollow lined with crystals.
            let (x, y) = (point.x / 30.0, point.y / 30.0);
            let facet = stone.detail.ridges(x, y, 2);
            let dark = smoothstep(geode, 0.02, depth);
            let crystal = stone.tones[0]
                .mix(hex(0xFFFFFF), 0.4)
                .blend(stone.seam, 0.25 + dark * 0.6);
            return Some(crystal.scaled(0.62 + 0.55 * facet));
        }
        let colour = layers.at((1.0 - depth) / (1.0 - geode), 0.003);
        Some(colour.scaled(*speckle).blend(stone.seam.scaled(0.8), crust * 0.85))
    });
    sheet.unclip();
}

fn malachite(sheet: &mut Sheet, stone: &Stone, area: Area, rng: &mut Rng) {
    let layers = Layers::new(30, &stone.tones, stone.seam, rng);
    let centres: Vec<(Point, f32)> = (0..13)
        .map(|_| {
            (
                area.place(rng.range(-0.1, 1.1), rng.range(-0.1, 1.1)),
                rng.range(0.0, 190.0),
            )
        })
        .collect();
    let slow = |point: Point| (stone.push(point, 520.0) * 90.0, stone.speckle(point));
    sheet.shade_with(area, 2, slow, |point, (push, speckle)| {
        let soft = point + *push;
        let (mut nearest, mut second) = (f32::MAX, f32::MAX);
        for (centre, head_start) in &centres {
            let distance = soft.distance(*centre) - head_start;
            if distance < nearest {
                second = nearest;
                nearest = distance;
            } else if distance < second {
                second = distance;
            }
        }
        let meeting = smoothstep(0.0, 26.0, second - nearest);
        let colour = layers.at((nearest + 400.0) / 560.0, 0.0022);
        Some(colour.scaled(speckle * (0.72 + 0.28 * meeting)))
    });
}

fn veined(sheet: &mut Sheet, stone: &Stone, area: Area, black: bool, rng: &mut Rng) {
    let ramp = Ramp::new(&stone.tones);
    let gold = Ramp::new(&[hex(0x7A5A24), hex(0xC79A45), hex(0xEBCF8A), hex(0xF7EDCF)]);
    let lean = rng.range(0.5, 0.9);
    // Veins have soft edges of their own: one look at each pixel is enough.
    sheet.shade(area, 1, |point| {
        let turned = (point - area.centre()).rotated(lean);
        let soft = turned + stone.push(turned, 560.0) * 200.0;
        let body = stone.warp.fractal(soft.x / 300.0, soft.y / 300.0, 4) * 0.5 + 0.5;
        let base = ramp.at(body).scaled(stone.speckle(point));
        let wide = 1.0 - stone.warp.at(soft.x / 900.0 + 9.0, soft.y / 210.0).abs();
        let thin = 1.0 - stone.detail.at(soft.x / 420.0, soft.y / 120.0 + 5.0).abs();
        let patch = smoothstep(
            -0.15,
            0.35,
            stone.warp.fractal(point.x / 700.0 + 70.0, point.y / 700.0, 2),
        );
        let lustre = stone.detail.fractal(point.x / 40.0, point.y / 40.0, 3) * 0.35 + 0.55;
        if black {
            let vein = smoothstep(0.94, 0.99, wide) * patch + smoothstep(0.965, 0.998, thin) * 0.8 * patch;
            let milk = smoothstep(0.985, 1.0, wide) * 0.3;
            return Some(base.blend(gold.at(lustre + milk), vein.min(1.0)));
        }
        let calcite = smoothstep(0.93, 1.0, thin) * 0.6 * (1.0 - patch);
        let fleck = stone.detail.fractal(point.x / 26.0, point.y / 26.0, 3);
        let pyrite = smoothstep(0.34, 0.42, fleck + (0.34 * smoothstep(0.86, 1.0, wide) - 0.08) * patch);
        Some(base.blend(hex(0xD8DDEA), calcite).blend(gold.at(lustre), pyrite))
    });
}
