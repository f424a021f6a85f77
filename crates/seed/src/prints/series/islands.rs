//! Maps of islands that nobody has found.

use super::super::{
    Category, Series,
    colour::{Ramp, Rgb, hex},
    geometry::{Area, Point, at, smoothstep},
    lettering::Lettering,
    measures::Taste,
    noise::Noise,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

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

struct Chart {
    name: &'static str,
    format: (f32, f32),
    paper: u32,
    sea: u32,
    line: u32,
    water: u32,
    accent: u32,
    tints: [u32; 5],
    /// Humps of land: place, radius and height.
    land: &'static [(f32, f32, f32, f32)],
    rough: f32,
    interval: f32,
}

const OLD: [u32; 5] = [0xE3DDB5, 0xDDD2A0, 0xD3B98A, 0xBF9A78, 0xE9E2D6];
const ALPINE: [u32; 5] = [0xC9D6A9, 0xDDE0B2, 0xEAD9A9, 0xDDB894, 0xF6F1E6];
const DRY: [u32; 5] = [0xE8D9A8, 0xE9C98E, 0xDDA873, 0xC08562, 0xEFE0CB];
const COLD: [u32; 5] = [0xD5DDD6, 0xE2E6E0, 0xEDEFEC, 0xF5F6F4, 0xFFFFFF];
const NIGHT: [u32; 5] = [0x0F1B30, 0x111F37, 0x14243F, 0x182A48, 0x1D3154];

const CHARTS: [Chart; 10] = [
    Chart {
        name: "SKARNHOLM",
        format: (4.0, 5.0),
        paper: 0xF3EBD8,
        sea: 0xE4E6DA,
        line: 0x5A4632,
        water: 0x4E7286,
        accent: 0xB23A2A,
        tints: OLD,
        land: &[(0.48, 0.5, 0.42, 1.0), (0.68, 0.72, 0.2, 0.5)],
        rough: 0.9,
        interval: 0.05,
    },
    Chart {
        name: "THE ORRERY ISLES",
        format: (1.0, 1.0),
        paper: 0xF4EEDF,
        sea: 0xD3E3E2,
        line: 0x4A4336,
        water: 0x2F6F80,
        accent: 0xC0472F,
        tints: ALPINE,
        land: &[
            (0.24, 0.36, 0.16, 0.5),
            (0.40, 0.21, 0.15, 0.5),
            (0.62, 0.22, 0.17, 0.6),
            (0.78, 0.38, 0.16, 0.5),
            (0.79, 0.60, 0.17, 0.7),
            (0.62, 0.77, 0.17, 0.6),
            (0.40, 0.78, 0.13, 0.45),
            (0.23, 0.62, 0.17, 0.6),
            (0.5, 0.5, 0.09, 0.3),
        ],
        rough: 0.8,
        interval: 0.04,
    },
    Chart {
        name: "ISLA PERDIZ",
        format: (3.0, 2.0),
        paper: 0xF5ECDA,
        sea: 0xDDE7E4,
        line: 0x6B4527,
        water: 0x3E7C8C,
        accent: 0xA8382B,
        tints: DRY,
        land: &[
            (0.30, 0.58, 0.3, 0.7),
            (0.5, 0.46, 0.32, 1.0),
            (0.72, 0.36, 0.26, 0.8),
        ],
        rough: 0.9,
        interval: 0.05,
    },
    Chart {
        name: "NORTH VARROW",
        format: (2.0, 3.0),
        paper: 0xF1F1EC,
        sea: 0xCBDAE2,
        line: 0x3D4A55,
        water: 0x2E5B7C,
        accent: 0xB23A2A,
        tints: COLD,
        land: &[
            (0.45, 0.30, 0.36, 1.0),
            (0.55, 0.52, 0.36, 0.9),
            (0.46, 0.73, 0.30, 0.7),
        ],
        rough: 1.5,
        interval: 0.045,
    },
    Chart {
        name: "LAGOON OF AMARU",
        format: (5.0, 4.0),
        paper: 0xF6F0E1,
        sea: 0xBFE0DB,
        line: 0x4B4A39,
        water: 0x1F7F88,
        accent: 0xD0532F,
        tints: ALPINE,
        land: &[
            (0.20, 0.52, 0.13, 0.42),
            (0.26, 0.34, 0.14, 0.42),
            (0.40, 0.22, 0.14, 0.45),
            (0.56, 0.20, 0.14, 0.42),
            (0.71, 0.26, 0.14, 0.46),
            (0.80, 0.40, 0.13, 0.44),
            (0.79, 0.56, 0.13, 0.42),
            (0.68, 0.68, 0.13, 0.44),
            (0.52, 0.74, 0.13, 0.42),
            (0.54, 0.46, 0.13, 0.75),
        ],
        rough: 0.62,
        interval: 0.03,
    },
    Chart {
        name: "QUILL SOUND",
        format: (4.0, 5.0),
        paper: 0x14233F,
        sea: 0x14233F,
        line: 0xD9D3BC,
        water: 0x7FA3C0,
        accent: 0xE0B04C,
        tints: NIGHT,
        land: &[
            (0.14, 0.34, 0.34, 0.9),
            (0.2, 0.72, 0.38, 1.0),
            (0.86, 0.26, 0.34, 0.9),
            (0.88, 0.64, 0.3, 0.8),
            (0.52, 0.52, 0.09, 0.35),
        ],
        rough: 1.3,
        interval: 0.05,
    },
    Chart {
        name: "GREAT AND LITTLE THESSALY",
        format: (5.0, 4.0),
        paper: 0xF2EADB,
        sea: 0xE3DFD0,
        line: 0x53402F,
        water: 0x54707A,
        accent: 0x9E3A2C,
        tints: DRY,
        land: &[
            (0.36, 0.42, 0.34, 1.0),
            (0.26, 0.62, 0.2, 0.6),
            (0.76, 0.62, 0.2, 0.75),
        ],
        rough: 0.95,
        interval: 0.05,
    },
    Chart {
        name: "MOUNT ORIEL",
        format: (1.0, 1.0),
        paper: 0xF5F0E6,
        sea: 0xE9E3D3,
        line: 0x7A4A2E,
        water: 0x6E8C93,
        accent: 0x2F4A5C,
        tints: OLD,
        land: &[(0.5, 0.48, 0.44, 1.5)],
        rough: 0.55,
        interval: 0.042,
    },
    Chart {
        name: "THE FENNISH COAST",
        format: (3.0, 2.0),
        paper: 0xF1EEDF,
        sea: 0xD7E2DC,
        line: 0x55573C,
        water: 0x4A7A7E,
        accent: 0xB5532F,
        tints: [0xC5D3A2, 0xD2DCB0, 0xE2E3BD, 0xE8DDB0, 0xDCC79A],
        land: &[
            (0.1, 0.12, 0.52, 0.5),
            (0.45, 0.08, 0.42, 0.42),
            (0.8, 0.1, 0.45, 0.55),
            (0.98, 0.4, 0.3, 0.4),
        ],
        rough: 0.75,
        interval: 0.025,
    },
    Chart {
        name: "LAST LAND",
        format: (16.0, 10.0),
        paper: 0xF4EDDD,
        sea: 0xF4EDDD,
        line: 0x3B3A38,
        water: 0x3F6A86,
        accent: 0xB23A2A,
        tints: [0xE9E0C6, 0xE2D4B2, 0xD8C49E, 0xCBB08A, 0xEFE6D4],
        land: &[
            (0.7, 0.5, 0.36, 0.95),
            (0.84, 0.36, 0.24, 0.7),
            (0.66, 0.76, 0.2, 0.5),
        ],
        rough: 1.0,
        interval: 0.045,
    },
];

const STEP: f32 = 4.5;

const LEGEND: &str = "SURVEY OF ABSENT ISLANDS  1 : 50 000";

/// Steps to the cells before this one, and how long they are: knight's moves make the circles round.
const NEIGHBOURS: [(i32, i32, f32); 8] = [
    (-1, 0, 1.0),
    (0, -1, 1.0),
    (-1, -1, 1.4142),
    (1, -1, 1.4142),
    (-2, -1, 2.2361),
    (2, -1, 2.2361),
    (-1, -2, 2.2361),
    (1, -2, 2.2361),
];

/// Heights on a grid; the sea is below 0.
struct Field {
    area: Area,
    columns: usize,
    rows: usize,
    values: Vec<f32>,
}

impl Field {
    fn new(area: Area, height: impl Fn(Point) -> f32) -> Self {
        let columns = (area.width / STEP) as usize + 2;
        let rows = (area.height / STEP) as usize + 2;
        let values = (0..columns * rows)
            .map(|index| {
                height(at(
                    area.left + (index % columns) as f32 * STEP,
                    area.top + (index / columns) as f32 * STEP,
                ))
            })
            .collect();
        Self {
            area,
            columns,
            rows,
            values,
        }
    }

    fn at(&self, point: Point) -> f32 {
        let x = ((point.x - self.area.left) / STEP).clamp(0.0, self.columns as f32 - 1.001);
        let y = ((point.y - self.area.top) / STEP).clamp(0.0, self.rows as f32 - 1.001);
        let (column, row) = (x as usize, y as usize);
        let value = |dx: usize, dy: usize| {
            self.values
                [(row + dy).min(self.rows - 1) * self.columns + (column + dx).min(self.columns - 1)]
        };
        let (u, v) = (x.fract(), y.fract());
        let upper = value(0, 0) * (1.0 - u) + value(1, 0) * u;
        let lower = value(0, 1) * (1.0 - u) + value(1, 1) * u;
        upper * (1.0 - v) + lower * v
    }

    fn slope(&self, point: Point) -> Point {
        let reach = STEP;
        at(
            self.at(point + at(reach, 0.0)) - self.at(point - at(reach, 0.0)),
            self.at(point + at(0.0, reach)) - self.at(point - at(0.0, reach)),
        ) * (1.0 / (2.0 * reach))
    }

    /// The line on which the field has this value, in short pieces (marching squares).
    fn contour(&self, level: f32) -> Vec<[Point; 2]> {
        let mut pieces = Vec::new();
        for row in 0..self.rows - 1 {
            for column in 0..self.columns - 1 {
                let corner = |dx: usize, dy: usize| {
                    self.values[(row + dy) * self.columns + column + dx] - level
                };
                let values = [corner(0, 0), corner(1, 0), corner(1, 1), corner(0, 1)];
                let places = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)];
                let mut crossings = [Point::default(); 4];
                let mut count = 0;
                for side in 0..4 {
                    let (from, to) = (values[side], values[(side + 1) % 4]);
                    if (from > 0.0) != (to > 0.0) {
                        let share = from / (from - to);
                        let (a, b) = (places[side], places[(side + 1) % 4]);
                        crossings[count] = at(
                            self.area.left + (column as f32 + a.0 + (b.0 - a.0) * share) * STEP,
                            self.area.top + (row as f32 + a.1 + (b.1 - a.1) * share) * STEP,
                        );
                        count += 1;
                    }
                }
                for pair in crossings[..count].chunks_exact(2) {
                    pieces.push([pair[0], pair[1]]);
                }
            }
        }
        pieces
    }

    /// How far every point of the sea is from land, in sheet units (a chamfer transform).
    fn offshore(&self) -> Self {
        let far = 1e6;
        let mut values: Vec<f32> = self
            .values
            .iter()
            .map(|height| if *height > 0.0 { 0.0 } else { far })
            .collect();
        let (columns, rows) = (self.columns as i32, self.rows as i32);
        let mut pass = |order: &mut dyn Iterator<Item = i32>, sign: i32| {
            for index in order {
                let (x, y) = (index % columns, index / columns);
                for (dx, dy, cost) in NEIGHBOURS {
                    let (nx, ny) = (x + dx * sign, y + dy * sign);
                    if (0..columns).contains(&nx) && (0..rows).contains(&ny) {
                        let near = values[(ny * columns + nx) as usize] + cost * STEP;
                        let here = &mut values[index as usize];
                        *here = here.min(near);
                    }
                }
            }
        };
        pass(&mut (0..columns * rows), 1);
        pass(&mut (0..columns * rows).rev(), -1);
        Self {
            area: self.area,
            columns: self.columns,
            rows: self.rows,
            values,
        }
    }
}

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
        let (width, alpha) = if count % 5 == 0 {
            (2.3, 0.85)
        } else {
            (1.15, 0.55)
        };
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

fn frame(sheet: &mut Sheet, chart: &Chart, area: Area) {
    let line = hex(chart.line);
    sheet.trim(area, sheet.paper);
    sheet.ring(&area.corners(), 2.2, line);
    sheet.ring(&area.inset(-17.0).corners(), 1.4, line);
    sheet.ring(&area.inset(-23.0).corners(), 4.2, line);
    // Minutes of arc, every other one filled.
    let step = 45.0;
    for (count, start, length, flat) in [
        ((area.width / step) as usize, area.left, area.width, true),
        ((area.height / step) as usize, area.top, area.height, false),
    ] {
        let pace = length / count as f32;
        for index in (0..count).step_by(2) {
            let from = start + index as f32 * pace;
            let bars = if flat {
                [
                    Area::new(from, area.top - 12.0, pace, 7.0),
                    Area::new(from, area.bottom() + 5.0, pace, 7.0),
                ]
            } else {
                [
                    Area::new(area.left - 12.0, from, 7.0, pace),
                    Area::new(area.right() + 5.0, from, 7.0, pace),
                ]
            };
            bars.into_iter().for_each(|bar| sheet.block(bar, line));
        }
    }
}

/// Where something is written already.
struct Labels {
    taken: Vec<Area>,
    area: Area,
}

impl Labels {
    fn free(&self, wanted: Area) -> bool {
        let within = self.area.inset(14.0);
        wanted.left > within.left
            && wanted.top > within.top
            && wanted.right() < within.right()
            && wanted.bottom() < within.bottom()
            && self.taken.iter().all(|other| {
                wanted.left > other.right()
                    || wanted.right() < other.left
                    || wanted.top > other.bottom()
                    || wanted.bottom() < other.top
            })
    }

    fn place(&mut self, middle: Point, width: f32, height: f32) -> bool {
        let wanted = Area::new(
            middle.x - width * 0.5,
            middle.y - height * 0.5,
            width,
            height,
        );
        let free = self.free(wanted);
        if free {
            self.taken.push(wanted.inset(-12.0));
        }
        free
    }
}

/// Title and scale, in the corner that has the most sea.
fn cartouche(sheet: &mut Sheet, chart: &Chart, field: &Field, labels: &mut Labels, side: f32) {
    let line = hex(chart.line);
    let title = Lettering {
        height: side * 0.027,
        spacing: 0.5,
        slant: 0.0,
        weight: 0.1,
    };
    let small = Lettering {
        height: side * 0.0105,
        spacing: 0.55,
        slant: 0.0,
        weight: 0.12,
    };
    let (width, height) = (
        title.width(chart.name).max(small.width(LEGEND)) + 70.0,
        side * 0.125,
    );
    let area = labels.area.inset(30.0);
    let corners = [
        (0.0, 1.0),
        (1.0, 1.0),
        (0.0, 0.0),
        (1.0, 0.0),
        (0.5, 1.0),
        (0.5, 0.0),
    ];
    let boxes = corners.map(|(x, y)| {
        Area::new(
            area.left + (area.width - width) * x,
            area.top + (area.height - height) * y,
            width,
            height,
        )
    });
    let wet = |tile: &Area| {
        (0..200)
            .filter(|index| {
                field.at(tile.place((index % 20) as f32 / 19.0, (index / 20) as f32 / 9.0)) < 0.0
            })
            .count()
    };
    let Some(best) = boxes.iter().max_by_key(|tile| wet(tile)) else {
        return;
    };
    let paper = sheet.paper;
    sheet.block(*best, paper);
    sheet.ring(&best.corners(), 1.4, line);
    sheet.ring(&best.inset(7.0).corners(), 2.6, line);
    let middle = best.centre();
    title.centred(
        sheet,
        chart.name,
        at(middle.x, best.top + height * 0.34),
        line,
    );
    small.centred(sheet, LEGEND, at(middle.x, best.top + height * 0.58), line);
    let bar = 44.0;
    for index in 0..6 {
        let tile = Area::new(
            middle.x + (index as f32 - 3.0) * bar,
            best.top + height * 0.73,
            bar,
            8.0,
        );
        if index % 2 == 0 {
            sheet.block(tile, line);
        }
        sheet.ring(&tile.corners(), 1.3, line);
    }
    labels.taken.push(best.inset(-10.0));
}

/// A compass rose where the sea is widest.
fn rose(sheet: &mut Sheet, chart: &Chart, offshore: &Field, labels: &mut Labels) {
    let radius = 74.0;
    let mut best: Option<(f32, Point)> = None;
    for row in 1..20 {
        for column in 1..20 {
            let point = labels.area.place(column as f32 / 20.0, row as f32 / 20.0);
            let edge = (point.x - labels.area.left)
                .min(labels.area.right() - point.x)
                .min(point.y - labels.area.top)
                .min(labels.area.bottom() - point.y);
            let room = offshore.at(point).min(edge * 1.2).min(radius * 2.2);
            let tile = Area::new(
                point.x - radius,
                point.y - radius,
                radius * 2.0,
                radius * 2.0,
            )
            .inset(-10.0);
            if labels.free(tile) && best.is_none_or(|(found, _)| room > found) {
                best = Some((room, point));
            }
        }
    }
    let Some((_, centre)) = best.filter(|(room, _)| *room > radius * 1.15) else {
        return;
    };
    let (line, accent) = (hex(chart.line), hex(chart.accent));
    sheet.circle(centre, radius * 0.62, 1.3, line);
    sheet.circle(centre, radius * 0.55, 2.4, line);
    for point in 0..16 {
        let angle = point as f32 / 16.0 * std::f32::consts::TAU - std::f32::consts::FRAC_PI_2;
        let reach = radius
            * if point % 4 == 0 {
                1.0
            } else if point % 2 == 0 {
                0.72
            } else {
                0.48
            };
        let tip = centre + Point::polar(angle) * reach;
        let flank = |turn: f32| centre + Point::polar(angle + turn) * (radius * 0.16);
        let ink = if point == 0 { accent } else { line };
        sheet.fill(&[centre, flank(0.39), tip], ink);
        let paper = sheet.paper;
        sheet.fill(&[centre, flank(-0.39), tip], paper);
        sheet.ring(&[centre, flank(0.39), tip, flank(-0.39)], 1.1, ink);
    }
    let letter = Lettering {
        height: 17.0,
        spacing: 0.4,
        slant: 0.0,
        weight: 0.13,
    };
    letter.centred(sheet, "N", centre - at(0.0, radius + 16.0), accent);
    let tile = Area::new(
        centre.x - radius,
        centre.y - radius - 30.0,
        radius * 2.0,
        radius * 2.0 + 30.0,
    );
    labels.taken.push(tile.inset(-10.0));
}

const FIRST: [&str; 24] = [
    "ALDER", "BRACK", "CORM", "DUN", "ELVER", "FALLOW", "GANNET", "HARR", "ISK", "KELD", "LARK",
    "MOR", "NESS", "OTTER", "PIKE", "QUERN", "RAVEN", "SALT", "TARN", "ULF", "VESPER", "WHIN",
    "YARROW", "HERON",
];
const LAST: [&str; 10] = [
    "WICK", "FORD", "MERE", "STEAD", "HOLT", "BURY", "THORPE", "GARTH", "HAVEN", "TON",
];
const WATERS: [&str; 8] = [
    "BAY", "SOUND", "DEEP", "ROADS", "REACH", "STRAIT", "BANK", "WATER",
];
const TOPS: [&str; 6] = ["FELL", "PIKE", "HEAD", "LAW", "STONE", "BEACON"];

fn name_places(
    sheet: &mut Sheet,
    chart: &Chart,
    field: &Field,
    offshore: &Field,
    labels: &mut Labels,
    rng: &mut Rng,
) {
    let (line, water) = (hex(chart.line), hex(chart.water));
    let mut names = FIRST.to_vec();
    rng.shuffle(&mut names);
    let mut names = names.into_iter();
    let side = sheet.width.min(sheet.height);
    let text = Lettering {
        height: side * 0.0105,
        spacing: 0.45,
        slant: 0.0,
        weight: 0.13,
    };
    let sea = Lettering {
        height: side * 0.0145,
        spacing: 0.95,
        slant: 0.28,
        weight: 0.1,
    };

    // The highest tops first.
    let mut tops: Vec<(f32, Point)> = (0..4000)
        .map(|_| {
            let point = field
                .area
                .place(rng.range(0.06, 0.94), rng.range(0.06, 0.94));
            (field.at(point), point)
        })
        .collect();
    tops.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut crowns: Vec<Point> = Vec::new();
    for (height, point) in tops {
        if crowns.len() >= 5 || height < 0.35 {
            break;
        }
        if crowns.iter().any(|other| other.distance(point) < 190.0) {
            continue;
        }
        let Some(first) = names.next() else { break };
        let name = format!("{first} {}", rng.pick(&TOPS));
        let figure = format!("{}", (height * 1240.0) as u32);
        let middle = point + at(0.0, 30.0);
        if labels.place(middle, text.width(&name), text.height * 3.6) {
            crowns.push(point);
            sheet.fill(
                &[
                    point + at(0.0, -8.0),
                    point + at(7.0, 5.0),
                    point + at(-7.0, 5.0),
                ],
                line,
            );
            text.centred(sheet, &name, point + at(0.0, 22.0), line);
            text.centred(
                sheet,
                &figure,
                point + at(0.0, 22.0 + text.height * 1.9),
                line,
            );
        }
    }
    let mut towns = 0;
    for _ in 0..3000 {
        let point = field
            .area
            .place(rng.range(0.05, 0.95), rng.range(0.05, 0.95));
        let height = field.at(point);
        // Towns lie low, near the shore.
        if !(0.02..0.13).contains(&height) || towns >= 6 {
            continue;
        }
        let Some(first) = names.clone().next() else {
            break;
        };
        let name = format!("{first}{}", rng.pick(&LAST));
        let width = text.width(&name);
        if labels.place(
            point + at(width * 0.5 + 14.0, 0.0),
            width + 28.0,
            text.height * 2.6,
        ) {
            names.next();
            towns += 1;
            sheet.disc(point, 6.5, sheet.paper);
            sheet.circle(point, 6.0, 2.2, hex(chart.accent));
            text.write(sheet, &name, point + at(15.0, text.height * 0.5), line);
        }
    }
    let mut waters = 0;
    for _ in 0..3000 {
        let point = field
            .area
            .place(rng.range(0.08, 0.92), rng.range(0.05, 0.95));
        if waters >= 5 || offshore.at(point) < 42.0 {
            continue;
        }
        let Some(first) = names.clone().next() else {
            break;
        };
        let name = format!("{first} {}", WATERS[waters]);
        let width = sea.width(&name);
        let clear = (0..9)
            .all(|step| offshore.at(point + at(width * (step as f32 / 8.0 - 0.5), 0.0)) > 26.0);
        if clear && labels.place(point, width + 30.0, sea.height * 4.5) {
            names.next();
            waters += 1;
            sea.centred(sheet, &name, point, water);
        }
    }
    soundings(sheet, chart, field, offshore, labels, rng);
}

/// Depths, thinly strewn.
fn soundings(
    sheet: &mut Sheet,
    chart: &Chart,
    field: &Field,
    offshore: &Field,
    labels: &mut Labels,
    rng: &mut Rng,
) {
    let figure = Lettering {
        height: sheet.width.min(sheet.height) * 0.0085,
        spacing: 0.35,
        slant: 0.2,
        weight: 0.12,
    };
    let ink: Rgb = hex(chart.water);
    for _ in 0..260 {
        let point = field.area.place(rng.unit(), rng.unit());
        let out = offshore.at(point);
        if out < 60.0 || !labels.place(point, 56.0, 46.0) {
            continue;
        }
        let depth = format!("{}", (out * 0.11 + rng.range(0.0, 6.0)) as u32 + 2);
        figure.centred(sheet, &depth, point, ink.thin(0.75));
    }
}
