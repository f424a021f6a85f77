//! Truchet tiles: two ways to lay each, and from that a maze of bands in three weights.

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

/// The series.
pub(super) const SERIES: Series = Series {
    name: "ribbons",
    artist: "Lucía Ferrer Coll",
    technique: "Screen print from cut stencils",
    category: Category::Pattern,
    years: (2015, 2025),
    price_cents: 22_000,
    taste: Taste::BROAD,
    works: [
        work(
            "Fat, Medium, Thin",
            "One tile, turned or not turned. The longest band is the fattest; follow it and you cross the sheet eleven times.",
        ),
        work(
            "Four Sizes of the Same",
            "The tile again, at four scales. Where the size changes, black and white change places.",
        ),
        work(
            "Underpass",
            "Bands that go over and under, as they would if somebody had to drive there.",
        ),
        work("Honeycomb, Tangled", "Six doors to every room, joined two by two."),
        work(
            "Chalk on Slate",
            "Order on the left, disorder on the right, and nobody can say where it turns.",
        ),
        work(
            "Islands of Small Talk",
            "Fine tiles crowd into three places and leave the rest of the sheet to the large ones.",
        ),
        work(
            "Noodles",
            "It was called Labyrinth until somebody from the framer's came in at lunchtime.",
        ),
        work(
            "Rings for Saturn",
            "Nearly every tile was laid to make a ring. The few that were not make the picture.",
        ),
        work(
            "Red Switchyard",
            "One scale inside the other, in the red that railways use.",
        ),
        work(
            "Seaside Tiles",
            "A terrace floor in three blues, with a gap where the bucket stood.",
        ),
    ],
    draw,
};

struct Plan {
    format: (f32, f32),
    paper: u32,
    /// From the longest band to the shortest; the last is the accent, for closed rings.
    inks: [u32; 4],
    tiles: f32,
    crossings: f32,
    order: f32,
}

const PLANS: [Plan; 10] = [
    Plan {
        format: (4.0, 5.0),
        paper: 0xF3ECDD,
        inks: [0x22303C, 0x5A7684, 0xB7A98C, 0xC8452F],
        tiles: 12.0,
        crossings: 0.0,
        order: 0.35,
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF2EEE4,
        inks: [0x1C1C1E, 0x1C1C1E, 0x1C1C1E, 0x1C1C1E],
        tiles: 6.0,
        crossings: 0.0,
        order: 0.0,
    },
    Plan {
        format: (5.0, 4.0),
        paper: 0xEFE7D6,
        inks: [0x2E5D50, 0xD08A3A, 0x2B3A55, 0xB23F2E],
        tiles: 11.0,
        crossings: 0.5,
        order: 0.2,
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0x1E2A3A,
        inks: [0xE7DDC4, 0xE0A13B, 0x6FA3A8, 0xD95F43],
        tiles: 9.0,
        crossings: 0.0,
        order: 0.0,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0x2C3437,
        inks: [0xEDEAE0, 0xC9CCC6, 0x93A09F, 0xE4B94F],
        tiles: 15.0,
        crossings: 0.1,
        order: -1.0,
    },
    Plan {
        format: (3.0, 2.0),
        paper: 0xF4E9D8,
        inks: [0x234A55, 0x234A55, 0x234A55, 0x234A55],
        tiles: 4.0,
        crossings: 0.0,
        order: 0.0,
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF6E7C8,
        inks: [0xC4512D, 0xE08E3C, 0xF0B95B, 0x6B2A1D],
        tiles: 8.0,
        crossings: 0.0,
        order: 0.0,
    },
    Plan {
        format: (2.0, 3.0),
        paper: 0xEDE6DA,
        inks: [0x3A3F58, 0x7E6B8F, 0xC59A9A, 0xDDA63A],
        tiles: 10.0,
        crossings: 0.0,
        order: 0.86,
    },
    Plan {
        format: (4.0, 5.0),
        paper: 0xF5EFE4,
        inks: [0xA82A22, 0xA82A22, 0xA82A22, 0xA82A22],
        tiles: 4.0,
        crossings: 0.0,
        order: 0.0,
    },
    Plan {
        format: (1.0, 1.0),
        paper: 0xF3F0E6,
        inks: [0x1F4E79, 0x4F8DB5, 0xA5C9D6, 0xE2B43F],
        tiles: 14.0,
        crossings: 0.2,
        order: 0.6,
    },
];

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let plan = &PLANS[place];
    let size = format(plan.format.0, plan.format.1);
    let mut sheet = Sheet::new(size, scale, hex(plan.paper));
    let area = sheet.area().inset(size.0.min(size.1) * 0.1);
    match place {
        1 | 5 | 8 => nested(&mut sheet, plan, area, place, rng),
        3 | 6 => rooms(&mut sheet, plan, area, rng),
        _ => maze(&mut sheet, plan, area, place, rng),
    }
    sheet.grain(1.0, rng.seed());
    sheet
}

/// Which doors are joined to which, over many tiles: a forest of sets.
struct Joined {
    parent: Vec<usize>,
}

impl Joined {
    fn new(count: usize) -> Self {
        Self {
            parent: (0..count).collect(),
        }
    }

    fn root(&mut self, mut door: usize) -> usize {
        while self.parent[door] != door {
            self.parent[door] = self.parent[self.parent[door]];
            door = self.parent[door];
        }
        door
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a] = b;
    }
}

/// A way through a tile: from door to door, bent by the directions in which the doors are left.
struct Way {
    doors: (usize, usize),
    from: Point,
    from_in: Point,
    to: Point,
    to_in: Point,
}

impl Way {
    fn points(&self) -> Vec<Point> {
        let reach = self.from.distance(self.to);
        // Four thirds of the tangent of a quarter of the turn would be exact for arcs.
        let facing = -self.from_in.dot(self.to_in);
        let pull = reach * (0.39 + 0.06 * (1.0 - facing));
        let (b, c) = (self.from + self.from_in * pull, self.to + self.to_in * pull);
        (0..=18)
            .map(|step| {
                let t = step as f32 / 18.0;
                let s = 1.0 - t;
                self.from * (s * s * s) + b * (3.0 * s * s * t) + c * (3.0 * s * t * t) + self.to * (t * t * t)
            })
            .collect()
    }
}

struct Band {
    width: f32,
    ink: Rgb,
    lines: usize,
}

/// Weighs the bands by their length: long ones fat, middling ones medium, short ones thin.
fn weigh(ways: &[Way], joined: &mut Joined, plan: &Plan, tile: f32) -> Vec<Band> {
    let mut lengths = vec![0usize; joined.parent.len()];
    for way in ways {
        lengths[joined.root(way.doors.0)] += 1;
    }
    let mut order: Vec<usize> = lengths.iter().copied().filter(|length| *length > 0).collect();
    order.sort_unstable();
    let long = order[order.len() * 78 / 100].max(6);
    ways.iter()
        .map(|way| {
            let root = joined.root(way.doors.0);
            let length = lengths[root];
            if length == 4 && !root.is_multiple_of(3) || length == 3 {
                return Band {
                    width: tile * 0.3,
                    ink: hex(plan.inks[3]),
                    lines: 0,
                };
            }
            if length >= long {
                let ink = if root.is_multiple_of(2) {
                    plan.inks[0]
                } else {
                    plan.inks[1]
                };
                return Band {
                    width: tile * 0.56,
                    ink: hex(ink),
                    lines: 2,
                };
            }
            if length >= 5 {
                return Band {
                    width: tile * 0.36,
                    ink: hex(plan.inks[1 + root % 2]),
                    lines: 1,
                };
            }
            Band {
                width: tile * 0.16,
                ink: hex(plan.inks[2]),
                lines: 0,
            }
        })
        .collect()
}

fn lay(sheet: &mut Sheet, way: &Way, band: &Band, halo: f32) {
    let points = way.points();
    if halo > 0.0 {
        let paper = sheet.paper;
        sheet.brush(&points, &vec![band.width + halo * 2.0; points.len()], paper);
    }
    sheet.line(&points, band.width, band.ink);
    let paper = sheet.paper;
    for line in 0..band.lines {
        let side = (line as f32 - (band.lines as f32 - 1.0) * 0.5) * band.width * 0.42;
        let shifted: Vec<Point> = points
            .iter()
            .enumerate()
            .map(|(index, point)| {
                let before = points[index.saturating_sub(1)];
                let after = points[(index + 1).min(points.len() - 1)];
                let along = if index == 0 {
                    way.from_in
                } else if index + 1 == points.len() {
                    way.to_in * -1.0
                } else {
                    (after - before).normalised()
                };
                // Left and right mean the same from both ends of a band, or lines would jump.
                *point + along.turned_left() * side
            })
            .collect();
        sheet.line(&shifted, band.width * 0.075, paper);
    }
}

fn maze(sheet: &mut Sheet, plan: &Plan, area: Area, place: usize, rng: &mut Rng) {
    let columns = (plan.tiles * (area.width / area.width.min(area.height))).round() as usize;
    let tile = area.width / columns as f32;
    let rows = (area.height / tile) as usize;
    let top = area.top + (area.height - rows as f32 * tile) * 0.5;
    let mood = Noise::new(rng.seed());
    // Doors: first those in upright walls, then those in level ones.
    let upright = (columns + 1) * rows;
    let west = |x: usize, y: usize| y * (columns + 1) + x;
    let north = |x: usize, y: usize| upright + y * columns + x;
    let mut joined = Joined::new(upright + columns * (rows + 1));
    let (mut ways, mut crossing) = (Vec::new(), Vec::new());
    let (mut hole_x, mut hole_y) = (usize::MAX, usize::MAX);
    if place == 9 {
        (hole_x, hole_y) = (columns * 2 / 3, rows / 3);
    }
    for y in 0..rows {
        for x in 0..columns {
            let gap = (x as f32 - hole_x as f32).hypot(y as f32 - hole_y as f32);
            if hole_x != usize::MAX && gap < 2.3 {
                continue;
            }
            let origin = at(area.left + x as f32 * tile, top + y as f32 * tile);
            let doors = [west(x, y), north(x, y), west(x + 1, y), north(x, y + 1)];
            let places = [(0.0, 0.5), (0.5, 0.0), (1.0, 0.5), (0.5, 1.0)].map(|(dx, dy)| origin + at(dx, dy) * tile);
            let inward = [at(1.0, 0.0), at(0.0, 1.0), at(-1.0, 0.0), at(0.0, -1.0)];
            let mut order = plan.order;
            if order < 0.0 {
                order = 1.0 - smoothstep(0.25, 0.75, x as f32 / columns as f32);
            } else {
                order += mood.at(x as f32 / 5.0, y as f32 / 5.0) * 0.7;
            }
            let ring = (x + y) % 2 == 0;
            let turned = if rng.chance(order) { ring } else { rng.chance(0.5) };
            let crosses = rng.chance(plan.crossings * (1.0 - order).clamp(0.0, 1.0));
            let pairs = match (crosses, turned) {
                (true, true) => [(0, 2), (1, 3)],
                (true, false) => [(1, 3), (0, 2)],
                (false, true) => [(0, 1), (2, 3)],
                (false, false) => [(1, 2), (3, 0)],
            };
            for (index, (a, b)) in pairs.into_iter().enumerate() {
                joined.join(doors[a], doors[b]);
                ways.push(Way {
                    doors: (doors[a], doors[b]),
                    from: places[a],
                    from_in: inward[a],
                    to: places[b],
                    to_in: inward[b],
                });
                crossing.push(crosses && index == 1);
            }
        }
    }
    let bands = weigh(&ways, &mut joined, plan, tile);
    for over in [false, true] {
        for ((way, band), crosses) in ways.iter().zip(&bands).zip(&crossing) {
            if *crosses == over {
                lay(sheet, way, band, if over { tile * 0.07 } else { 0.0 });
            }
        }
    }
}

/// Hexagonal rooms with six doors, joined two by two, over and under.
fn rooms(sheet: &mut Sheet, plan: &Plan, area: Area, rng: &mut Rng) {
    let radius = area.width / plan.tiles / 3f32.sqrt();
    let (wide, high) = (radius * 3f32.sqrt(), radius * 1.5);
    let mut doors: Vec<Point> = Vec::new();
    let mut ways = Vec::new();
    let mut door_at = |point: Point| {
        if let Some(index) = doors.iter().position(|door| door.distance(point) < 1.0) {
            return index;
        }
        doors.push(point);
        doors.len() - 1
    };
    let rows = ((area.height - radius * 2.0) / high) as i32;
    let used = rows as f32 * high + radius * 2.0;
    for row in 0..=rows {
        let columns = plan.tiles as i32 - row % 2;
        for column in 0..columns {
            let centre = at(
                area.left + wide * (column as f32 + 0.5 + if row % 2 == 1 { 0.5 } else { 0.0 }),
                area.top + (area.height - used) * 0.5 + radius + row as f32 * high,
            );
            let outward: Vec<Point> = (0..6)
                .map(|side| Point::polar(side as f32 * std::f32::consts::FRAC_PI_3))
                .collect();
            let mut sides = [0, 1, 2, 3, 4, 5];
            // Small turns are more pleasant than long straights: mostly neighbours are joined.
            if rng.chance(0.62) {
                let start = rng.below(2);
                sides.rotate_left(start);
                if rng.chance(0.5) {
                    sides.swap(1, 2);
                }
                sides.rotate_left(rng.below(3) * 2);
            } else {
                rng.shuffle(&mut sides);
            }
            for pair in sides.chunks_exact(2) {
                let [from, to] = [pair[0], pair[1]].map(|side| centre + outward[side] * (wide * 0.5));
                ways.push(Way {
                    doors: (door_at(from), door_at(to)),
                    from,
                    from_in: outward[pair[0]] * -1.0,
                    to,
                    to_in: outward[pair[1]] * -1.0,
                });
            }
        }
    }
    let mut joined = Joined::new(doors.len());
    for way in &ways {
        joined.join(way.doors.0, way.doors.1);
    }
    let bands = weigh(&ways, &mut joined, plan, wide * 0.52);
    for (way, band) in ways.iter().zip(&bands) {
        lay(sheet, way, band, wide * 0.035);
    }
}

/// One tile at several scales: at each step down, figure and ground change places.
fn nested(sheet: &mut Sheet, plan: &Plan, area: Area, place: usize, rng: &mut Rng) {
    let columns = (plan.tiles * (area.width / area.width.min(area.height))).round();
    let tile = area.width / columns;
    let rows = (area.height / tile).floor();
    let top = area.top + (area.height - rows * tile) * 0.5;
    let focus: Vec<Point> = (0..if place == 5 { 3 } else { 2 })
        .map(|_| area.place(rng.range(0.12, 0.88), rng.range(0.12, 0.88)))
        .collect();
    let mut levels: [Vec<(Point, f32)>; 4] = Default::default();
    let mut open: Vec<(Point, f32, usize)> = (0..(columns * rows) as usize)
        .map(|index| {
            let (x, y) = (index % columns as usize, index / columns as usize);
            (at(area.left + x as f32 * tile, top + y as f32 * tile), tile, 0)
        })
        .collect();
    while let Some((corner, side, level)) = open.pop() {
        let middle = corner + at(side, side) * 0.5;
        let near = focus
            .iter()
            .map(|point| point.distance(middle))
            .fold(f32::MAX, f32::min);
        let reach = [0.34, 0.2, 0.1][level.min(2)] * area.width.max(area.height);
        let split = level < 3 && rng.chance(1.0 - smoothstep(reach * 0.5, reach * 1.2, near));
        if split {
            for (dx, dy) in [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5)] {
                open.push((corner + at(dx, dy) * side, side * 0.5, level + 1));
            }
        } else {
            levels[level].push((corner, side));
        }
    }
    let (ink, paper) = (hex(plan.inks[0]), sheet.paper);
    for (level, tiles) in levels.iter().enumerate() {
        let (figure, ground) = if level % 2 == 0 { (ink, paper) } else { (paper, ink) };
        for (corner, side) in tiles {
            winged(sheet, *corner, *side, figure, ground, rng);
        }
    }
}

fn winged(sheet: &mut Sheet, corner: Point, side: f32, figure: Rgb, ground: Rgb, rng: &mut Rng) {
    let tile = Area::new(corner.x, corner.y, side, side);
    let corners = tile.corners();
    let middles = [0, 1, 2, 3].map(|index| corners[index].towards(corners[(index + 1) % 4], 0.5));
    // A hair larger than it is, or seams would show between neighbours.
    sheet.block(tile.inset(-0.3), ground);
    let weight = side / 3.0;
    sheet.clip_to(&tile.inset(-0.3).corners());
    match rng.below(9) {
        0..=2 => [0, 2]
            .into_iter()
            .for_each(|index| sheet.circle(corners[index], side * 0.5, weight, figure)),
        3..=5 => [1, 3]
            .into_iter()
            .for_each(|index| sheet.circle(corners[index], side * 0.5, weight, figure)),
        6 => sheet.line(&[middles[0], middles[2]], weight, figure),
        7 => {
            sheet.line(&[middles[0], middles[2]], weight, figure);
            sheet.line(&[middles[1], middles[3]], weight, figure);
        }
        _ => {}
    }
    sheet.unclip();
    middles
        .into_iter()
        .for_each(|middle| sheet.disc(middle, side / 6.0, figure));
    corners
        .into_iter()
        .for_each(|corner| sheet.disc(corner, side / 3.0, ground));
}
