//! Fields of colour between black lines, in the manner of 1921.

use super::super::{
    Category, Series,
    colour::{Rgb, hex},
    geometry::{Area, Point, at},
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "stijl",
    artist: "Pieter van Oord",
    technique: "Linocut from nine blocks, oil-based ink",
    category: Category::Abstract,
    years: (1998, 2019),
    price_cents: 45_000,
    taste: Taste {
        imbalance_max: 0.5,
        ..Taste::BROAD
    },
    works: [
        work(
            "Composition with a Large White",
            "Most of it is white. The colours keep to the edge, as guests do at a good party.",
        ),
        work(
            "Lozenge in Red and Grey",
            "A square hung by its corner. The lines stay upright all the same.",
        ),
        work(
            "Quarter to Six",
            "Arcs and bars from the drawing room of a technical school, in five flat colours.",
        ),
        work(
            "Rain on Canal Street",
            "Yellow lines with small stops of red and blue, as busy as the street is.",
        ),
        work(
            "Counterweight",
            "One heavy field low on the right, and everything else holding against it.",
        ),
        work(
            "Rotterdam, Rebuilt",
            "Tall narrow fields in ochre, slate and brick: a skyline with the sky left out.",
        ),
        work(
            "Loose Planes",
            "The black lines are gone, and the planes drift a little apart.",
        ),
        work(
            "Slant",
            "The same argument as ever, tilted by half a right angle to annoy a friend.",
        ),
        work(
            "Grey Composition, One Blue",
            "Seven greys that seem to be the same until you have looked for a while.",
        ),
        work("Signal", "A disc among rectangles. It stops the whole picture."),
    ],
    draw,
};

const PALETTES: [[u32; 7]; 10] = [
    // Paper, line, two quiet fields, then red, blue, yellow of each print.
    [0xF4F0E6, 0x1B1A19, 0xEDE7DA, 0xE2DED6, 0xC2342B, 0x23458C, 0xE9BC3C],
    [0xF4F0E8, 0x1D1C1C, 0xE6E1D8, 0xC9C7C2, 0xB93A2E, 0x8D9094, 0x3A3D42],
    [0xF3EBDC, 0x23262B, 0xE7DAC2, 0xD8C6A5, 0xD0532F, 0x2C5D63, 0xE0A53A],
    [0xF5F2E8, 0xE3B431, 0xF5F2E8, 0xEFEAE0, 0xBF3329, 0x2A4C93, 0xE3B431],
    [0xF2EEE3, 0x191919, 0xEAE4D8, 0xDFE1DF, 0x23458C, 0xC2342B, 0xE6B73A],
    [0xEFE6D4, 0x26211D, 0xE2D4BB, 0xC9B48E, 0xA4492B, 0x44535E, 0xC98A33],
    [0xF6F1E7, 0x2A2A2A, 0xEFE8DA, 0xE5DCCB, 0xD5573B, 0x3F6C8F, 0xE8B54A],
    [0xF3EFE5, 0x171717, 0xEAE5D9, 0xDCD9D1, 0xC7372C, 0x1F4B8A, 0xEBC043],
    [0xECEAE5, 0x2B2C2E, 0xD9D8D4, 0xC3C3C1, 0xA9ABAC, 0x2B5596, 0x8B8E91],
    [0xF3ECDD, 0x1C1B1A, 0xE9E0CE, 0xDAD3C6, 0xC9402C, 0x31525B, 0xD9A441],
];

/// A field between lines.
#[derive(Clone, Copy)]
struct Field {
    area: Area,
}

struct Splitter<'a> {
    rng: &'a mut Rng,
    depth_max: usize,
    smallest: f32,
    fields: Vec<Field>,
    lines: Vec<[Point; 2]>,
}

impl Splitter<'_> {
    fn split(&mut self, area: Area, depth: usize) {
        let stop = depth >= 2 && self.rng.chance(0.13 + 0.05 * depth as f32);
        let long = area.width.max(area.height);
        if depth >= self.depth_max || stop || long < self.smallest * 2.0 {
            self.fields.push(Field { area });
            return;
        }
        let mut share: f32 = self.rng.pick(&[0.22, 0.28, 0.34, 0.382, 0.618, 0.66, 0.72, 0.78]);
        if depth == 0 {
            share = self.rng.pick(&[0.27, 0.7]);
        }
        let upright = if self.rng.chance(0.22) {
            area.width < area.height
        } else {
            area.width >= area.height
        };
        let side = if upright { area.width } else { area.height };
        if side * share.min(1.0 - share) < self.smallest * 0.55 {
            self.fields.push(Field { area });
            return;
        }
        let (first, second) = if upright {
            let x = area.width * share;
            self.lines
                .push([at(area.left + x, area.top), at(area.left + x, area.bottom())]);
            (
                Area::new(area.left, area.top, x, area.height),
                Area::new(area.left + x, area.top, area.width - x, area.height),
            )
        } else {
            let y = area.height * share;
            self.lines
                .push([at(area.left, area.top + y), at(area.right(), area.top + y)]);
            (
                Area::new(area.left, area.top, area.width, y),
                Area::new(area.left, area.top + y, area.width, area.height - y),
            )
        };
        // The larger part often stays whole: that is the rest area.
        let quiet = depth == 1 && self.depth_max < 7 && self.rng.chance(0.6);
        for part in [first, second] {
            let larger = part.width * part.height > area.width * area.height * 0.5;
            if quiet && larger {
                self.fields.push(Field { area: part });
            } else {
                self.split(part, depth + 1);
            }
        }
    }
}

fn split(area: Area, depth_max: usize, smallest: f32, rng: &mut Rng) -> (Vec<Field>, Vec<[Point; 2]>) {
    let mut splitter = Splitter {
        rng,
        depth_max,
        smallest,
        fields: Vec::new(),
        lines: Vec::new(),
    };
    splitter.split(area, 0);
    (splitter.fields, splitter.lines)
}

/// Colours for the fields: the strong ones go to few fields of very different size, the largest stays quiet.
fn colours(fields: &[Field], palette: &[Rgb; 7], strong_share: f32, rng: &mut Rng) -> Vec<Rgb> {
    let total: f32 = fields.iter().map(|field| field.area.width * field.area.height).sum();
    let mut order: Vec<usize> = (0..fields.len()).collect();
    let size = |index: usize| fields[index].area.width * fields[index].area.height;
    order.sort_by(|a, b| size(*b).total_cmp(&size(*a)));
    let mut result: Vec<Rgb> = (0..fields.len())
        .map(|_| rng.pick(&[palette[0], palette[0], palette[2], palette[3]]))
        .collect();
    if let Some(largest) = order.first() {
        result[*largest] = palette[0];
    }
    let mut used = 0.0;
    let mut next = 0;
    let mut candidates: Vec<usize> = order.iter().skip(1).copied().collect();
    // One large field takes the first colour; the others are drawn by lot.
    if candidates.len() > 3 {
        rng.shuffle(&mut candidates[2..]);
    }
    for (turn, index) in candidates.into_iter().enumerate() {
        let share = size(index) / total;
        if used + share > strong_share || (turn == 0 && share > 0.22) {
            continue;
        }
        used += share;
        result[index] = palette[4 + next % 3];
        next += 1;
    }
    result
}

/// Ink from a hand-rolled block: hardly visible strokes, along the field.
fn rolled(sheet: &mut Sheet, rng: &mut Rng) {
    let (along, across) = (Noise::new(rng.seed()), Noise::new(rng.seed()));
    sheet.retouch(|point, colour| {
        let stroke = along.at(point.x / 240.0, point.y / 7.0) + across.at(point.x / 9.0, point.y / 260.0);
        colour.scaled(1.0 + 0.011 * stroke)
    });
    sheet.grain(1.0, rng.seed());
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let palette = PALETTES[place].map(hex);
    let (ratio, depth, smallest, strong) = match place {
        0 => ((4.0, 5.0), 4, 130.0, 0.17),
        1 => ((1.0, 1.0), 4, 170.0, 0.24),
        2 => ((4.0, 5.0), 0, 0.0, 0.0),
        3 => ((1.0, 1.0), 5, 130.0, 0.1),
        4 => ((5.0, 4.0), 4, 150.0, 0.3),
        5 => ((2.0, 3.0), 6, 60.0, 0.5),
        6 => ((5.0, 4.0), 7, 95.0, 0.55),
        7 => ((1.0, 1.0), 4, 190.0, 0.26),
        8 => ((4.0, 5.0), 5, 110.0, 0.42),
        _ => ((3.0, 4.0), 4, 150.0, 0.22),
    };
    let size = format(ratio.0, ratio.1);
    // The lozenge hangs on grey paper, or its white corners would be lost.
    let paper = if place == 1 {
        hex(0xD9D5CB)
    } else {
        palette[0].blend(hex(0xFFFFFF), 0.25)
    };
    let mut sheet = Sheet::new(size, scale, paper);
    let area = sheet.area().inset(size.0.min(size.1) * 0.09);
    match place {
        1 => turned(&mut sheet, &palette, depth, smallest, strong, 0.0, rng),
        2 => arcs(&mut sheet, area, &palette, rng),
        3 => streets(&mut sheet, area, &palette, rng),
        6 => loose(&mut sheet, area, &palette, depth, smallest, rng),
        7 => turned(
            &mut sheet,
            &palette,
            depth,
            smallest,
            strong,
            std::f32::consts::FRAC_PI_4,
            rng,
        ),
        _ => {
            let target = if place == 5 {
                narrow(area, rng)
            } else {
                split(area, depth, smallest, rng)
            };
            plain(&mut sheet, area, target, &palette, strong, rng);
            if place == 9 {
                let centre = area.place(0.618, 0.36);
                sheet.disc(centre, 205.0, palette[4]);
                sheet.circle(centre, 205.0, 15.0, palette[1]);
            }
        }
    }
    rolled(&mut sheet, rng);
    sheet
}

fn plain(
    sheet: &mut Sheet,
    area: Area,
    (fields, lines): (Vec<Field>, Vec<[Point; 2]>),
    palette: &[Rgb; 7],
    strong: f32,
    rng: &mut Rng,
) {
    let fills = colours(&fields, palette, strong, rng);
    for (field, fill) in fields.iter().zip(&fills) {
        sheet.block(field.area, *fill);
    }
    for line in &lines {
        let weight = rng.pick(&[11.0, 15.0, 15.0, 21.0, 26.0]);
        sheet.line(line, weight, palette[1]);
    }
    // Lines of square ends: whatever stands out over the edge is cut off.
    sheet.trim(area, sheet.paper);
    if rng.chance(0.5) {
        sheet.ring(&area.corners(), 9.0, palette[1]);
    }
}

/// Tall narrow fields of different height.
fn narrow(area: Area, rng: &mut Rng) -> (Vec<Field>, Vec<[Point; 2]>) {
    let (mut fields, mut lines) = (Vec::new(), Vec::new());
    let mut x = area.left;
    while x < area.right() - 1.0 {
        let mut width = rng.pick(&[46.0, 70.0, 105.0, 150.0, 210.0]);
        if area.right() - x - width < 46.0 {
            width = area.right() - x;
        }
        let column = Area::new(x, area.top, width, area.height);
        let mut y = area.top;
        let mut height = area.height * rng.range(0.12, 0.55);
        while y < area.bottom() - 1.0 {
            let rest = area.bottom() - y;
            let step = if rest - height < 90.0 { rest } else { height };
            fields.push(Field {
                area: Area::new(column.left, y, width, step),
            });
            y += step;
            if y < area.bottom() - 1.0 {
                lines.push([at(x, y), at(x + width, y)]);
            }
            height = area.height * rng.pick(&[0.08, 0.13, 0.21, 0.34]);
        }
        x += width;
        if x < area.right() - 1.0 {
            lines.push([at(x, area.top), at(x, area.bottom())]);
        }
    }
    (fields, lines)
}

/// A square hung by its corner: the window is turned, or what is seen through it.
fn turned(sheet: &mut Sheet, palette: &[Rgb; 7], depth: usize, smallest: f32, strong: f32, tilt: f32, rng: &mut Rng) {
    let centre = sheet.area().centre();
    let reach = if tilt == 0.0 { 790.0 } else { 1100.0 };
    let area = Area::new(centre.x - reach, centre.y - reach, reach * 2.0, reach * 2.0);
    let (fields, lines) = split(area, depth + 1, smallest, rng);
    let fills = colours(&fields, palette, strong, rng);
    let turn = |point: Point| centre + (point - centre).rotated(tilt);
    let window: Vec<Point> = if tilt == 0.0 {
        [at(0.0, -reach), at(reach, 0.0), at(0.0, reach), at(-reach, 0.0)]
            .map(|p| centre + p)
            .to_vec()
    } else {
        sheet.area().inset(160.0).corners().to_vec()
    };
    sheet.clip_to(&window);
    for (field, fill) in fields.iter().zip(&fills) {
        sheet.fill(&field.area.corners().map(turn), *fill);
    }
    for line in &lines {
        let weight = rng.pick(&[14.0, 18.0, 26.0, 34.0]);
        sheet.line(&line.map(turn), weight, palette[1]);
    }
    sheet.unclip();
}

/// Quarter discs and bars on a coarse grid.
fn arcs(sheet: &mut Sheet, area: Area, palette: &[Rgb; 7], rng: &mut Rng) {
    const COLUMNS: usize = 4;
    let cell = area.width / COLUMNS as f32;
    let rows = (area.height / cell) as usize;
    let top = area.top + (area.height - rows as f32 * cell) * 0.5;
    let tones = [
        palette[0], palette[2], palette[3], palette[4], palette[5], palette[6], palette[1],
    ];
    for row in 0..rows {
        for column in 0..COLUMNS {
            let tile = Area::new(area.left + column as f32 * cell, top + row as f32 * cell, cell, cell);
            let ground = tones[rng.below(4)];
            sheet.block(tile, ground);
            let corners = tile.corners();
            let mut ink = || loop {
                let tone = tones[rng.below(7)];
                if (tone.lightness() - ground.lightness()).abs() > 0.1 {
                    break tone;
                }
            };
            let (first, second, third) = (ink(), ink(), ink());
            sheet.clip_to(&corners);
            let corner = corners[rng.below(4)];
            match rng.below(6) {
                0 => {
                    sheet.disc(corner, cell, first);
                    sheet.disc(corner, cell * 0.66, ground);
                    sheet.disc(corner, cell * 0.33, second);
                }
                1 => sheet.disc(corner, cell, first),
                2 => {
                    let side = rng.below(4);
                    let middle = corners[side].towards(corners[(side + 1) % 4], 0.5);
                    sheet.disc(middle, cell * 0.5, first);
                    sheet.disc(middle, cell * 0.22, second);
                }
                3 => {
                    for bar in 0..4 {
                        let left = tile.left + bar as f32 * cell / 4.0;
                        sheet.block(Area::new(left, tile.top, cell / 8.0, cell), first);
                    }
                }
                4 => {
                    let side = rng.below(4);
                    sheet.fill(
                        &[corners[side], corners[(side + 1) % 4], corners[(side + 2) % 4]],
                        third,
                    );
                }
                _ => {}
            }
            sheet.unclip();
        }
    }
}

/// Coloured lines with stops, woven over each other like traffic.
fn streets(sheet: &mut Sheet, area: Area, palette: &[Rgb; 7], rng: &mut Rng) {
    sheet.block(area, palette[0]);
    let unit = area.width / 50.0;
    let pick_rows = |rng: &mut Rng| {
        let mut rows = Vec::new();
        let mut row = 2 + rng.below(3);
        while row < 48 {
            rows.push(row);
            row += rng.pick(&[2, 3, 4, 5, 7, 10]);
        }
        rows
    };
    let (columns, rows) = (pick_rows(rng), pick_rows(rng));
    let tile = |x: usize, y: usize| Area::new(area.left + x as f32 * unit, area.top + y as f32 * unit, unit, unit);
    for column in &columns {
        sheet.block(
            Area::new(tile(*column, 0).left, area.top, unit, area.height),
            palette[6],
        );
    }
    for row in &rows {
        sheet.block(Area::new(area.left, tile(0, *row).top, area.width, unit), palette[6]);
    }
    // A few plots between the streets are built on.
    for _ in 0..13 {
        let (a, b) = (rng.below(columns.len() - 1), rng.below(rows.len() - 1));
        let (left, right) = (columns[a] + 1, columns[a + 1]);
        let (upper, lower) = (rows[b] + 1, rows[b + 1]);
        if right - left < 2 || lower - upper < 2 {
            continue;
        }
        let corner = tile(left, upper);
        let plot = Area::new(
            corner.left,
            corner.top,
            (right - left) as f32 * unit,
            (lower - upper) as f32 * unit,
        );
        let colour = palette[4 + rng.below(3)];
        sheet.block(plot, colour);
        if plot.width > unit * 3.0 && plot.height > unit * 3.0 {
            sheet.block(plot.inset(unit), palette[rng.pick(&[0, 3, 6])]);
        }
    }
    for step in 0..50 {
        for (lines, upright) in [(&columns, true), (&rows, false)] {
            for line in lines {
                let crossing = if upright {
                    rows.contains(&step)
                } else {
                    columns.contains(&step)
                };
                if rng.chance(if crossing { 0.85 } else { 0.2 }) {
                    let colour = palette[rng.pick(&[3, 4, 5, 4, 5, 3])];
                    let place = if upright { tile(*line, step) } else { tile(step, *line) };
                    sheet.block(place, colour);
                }
            }
        }
    }
}

/// Planes without lines, each a little smaller than its place.
fn loose(sheet: &mut Sheet, area: Area, palette: &[Rgb; 7], depth: usize, smallest: f32, rng: &mut Rng) {
    let (fields, _) = split(area, depth, smallest, rng);
    let fills = colours(&fields, palette, 0.6, rng);
    for (field, fill) in fields.iter().zip(fills) {
        let colour = if rng.chance(0.1) { palette[1] } else { fill };
        sheet.block(field.area.inset(rng.range(11.0, 20.0)), colour);
    }
}
