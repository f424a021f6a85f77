//! Cloth: every thread over or under the next, as on the loom.

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
    name: "cloth",
    artist: "Adaeze Nwosu",
    technique: "Pigment print of a study for the loom",
    category: Category::Pattern,
    years: (2012, 2024),
    price_cents: 26_000,
    taste: Taste {
        contrast_min: 0.05,
        ..Taste::BROAD
    },
    works: [
        work(
            "Broken Check",
            "A houndstooth that somebody could not leave alone: every so often the order of the threads is turned.",
        ),
        work(
            "Sett for a Wet Summer",
            "A tartan of peat, lichen and one thin line of rowan red.",
        ),
        work(
            "Weimar Study",
            "Blocks of four colours, each allowed to cross each. Ten colours come of it.",
        ),
        work(
            "One Red Thread",
            "Grey herringbone from edge to edge, and a single red end that the weaver did not take out.",
        ),
        work(
            "Ikat, Indigo",
            "The threads were tied and dyed before they met. That is why the edges breathe.",
        ),
        work("Lozenge Twill", "Two colours and one rule, reflected both ways."),
        work(
            "Stepped Kilim",
            "A slit tapestry: each colour turns back where it meets its neighbour, and leaves a step.",
        ),
        work("Gauze", "As few threads as will still be called cloth."),
        work("Hills, Woven", "A landscape in the only lines a loom will draw."),
        work(
            "Shadow Weave",
            "Light and dark take turns in both directions, and the order changes places. The pattern is nothing but that.",
        ),
    ],
    draw,
};

/// The colour of the weft at a crossing: column and row.
type Patch = Box<dyn Fn(usize, usize) -> Rgb>;

/// The colour of the warp on its way: column, and how far down.
type Dye = Box<dyn Fn(usize, f32) -> Rgb>;

/// Threads and the order in which they cross.
struct Draft {
    warp: Vec<Rgb>,
    weft: Vec<Rgb>,
    kind: usize,
    pitch: f32,
    /// Where one sees through between threads: 0 is dense.
    open: f32,
    /// The colour of the weft where it isn't the same for the whole row.
    patch: Option<Patch>,
    /// The colour of the warp where it isn't the same for the whole column.
    dyed: Option<Dye>,
}

impl Draft {
    /// Whether the warp lies on top.
    fn over(&self, column: i32, row: i32) -> bool {
        let twill = |x: i32, y: i32| (x + y).rem_euclid(4) < 2;
        let fold = |value: i32, period: i32| {
            let turn = value.rem_euclid(period * 2);
            if turn < period { turn } else { period * 2 - 1 - turn }
        };
        match self.kind {
            0 | 1 => twill(column, row),
            3 => twill(fold(column, 10), row),
            5 => (fold(column, 13) + fold(row, 13)).rem_euclid(4) < 2,
            // Weft-faced: the warp shows only as ribs.
            6 | 8 => (column + row * 2).rem_euclid(5) == 0 && column % 2 == 0,
            // Warp-faced, for the dyed warp to show.
            4 => (column * 2 + row).rem_euclid(5) != 0,
            _ => (column + row).rem_euclid(2) == 0,
        }
    }
}

fn repeat(order: &[(u32, usize)], count: usize) -> Vec<Rgb> {
    let once: Vec<Rgb> = order
        .iter()
        .flat_map(|(code, times)| std::iter::repeat_n(hex(*code), *times))
        .collect();
    (0..count).map(|index| once[index % once.len()]).collect()
}

/// An order of threads and the same backwards, as a tartan has it.
fn mirrored(order: &[(u32, usize)]) -> Vec<(u32, usize)> {
    order.iter().chain(order.iter().rev().skip(1)).copied().collect()
}

fn draft(place: usize, columns: usize, rows: usize, rng: &mut Rng) -> Draft {
    let (mut kind, mut pitch, mut open) = (place, 13.0, 0.0);
    let mut patch: Option<Patch> = None;
    let mut dyed: Option<Dye> = None;
    let (warp, weft) = match place {
        0 => {
            let mut check = |count: usize| {
                let (mut list, mut turn) = (Vec::new(), 0usize);
                while list.len() < count {
                    let tone = if turn.is_multiple_of(2) { 0x24262B } else { 0xEFE6D3 };
                    let times = if rng.chance(0.14) { rng.pick(&[2, 6, 8]) } else { 4 };
                    list.extend(std::iter::repeat_n(hex(tone), times));
                    turn += 1;
                }
                list
            };
            (check(columns), check(rows))
        }
        1 => {
            let sett = mirrored(&[
                (0x2F3B33, 14),
                (0x5F6B45, 6),
                (0x2B2A28, 8),
                (0x8C8B62, 4),
                (0x2F3B33, 4),
                (0xA83A2A, 2),
                (0x39525A, 16),
                (0xD9CFA8, 1),
                (0x39525A, 6),
                (0x2B2A28, 8),
            ]);
            (repeat(&sett, columns), repeat(&sett, rows))
        }
        2 => {
            let tones = [0xC8492E, 0x1F3F4E, 0xE2B24C, 0xE9DFCB];
            let mut blocks = |count: usize| {
                let (mut list, mut last) = (Vec::new(), 9);
                while list.len() < count {
                    let next = rng.below(4);
                    if next == last {
                        continue;
                    }
                    last = next;
                    list.extend(std::iter::repeat_n(hex(tones[next]), rng.pick(&[5, 8, 13, 21, 21])));
                }
                list
            };
            (blocks(columns), blocks(rows))
        }
        3 => {
            pitch = 12.0;
            let mut warp = repeat(&[(0xC9C6BE, 1)], columns);
            let red = columns * 62 / 100;
            warp[red] = hex(0xC3352B);
            warp[red + 1] = hex(0xC3352B);
            (warp, repeat(&[(0x55585C, 1)], rows))
        }
        4 => {
            pitch = 10.0;
            let bleed = Noise::new(rng.seed());
            let dye = move |column: usize, y: f32| {
                let period = 54.0;
                let across = (column as f32 % period - period * 0.5).abs() / (period * 0.5);
                let shift = bleed.at(column as f32 * 0.9, 3.0) * 26.0 + bleed.at(column as f32 * 0.21, 9.0) * 14.0;
                let band = ((y + shift) / 560.0).rem_euclid(1.0);
                let along = (band - 0.5).abs() * 2.0;
                let figure = across + along;
                let ring = (figure * 3.2).fract();
                let white = smoothstep(0.12, 0.22, ring) * (1.0 - smoothstep(0.48, 0.6, ring));
                let heart = 1.0 - smoothstep(0.22, 0.3, figure);
                let tone = hex(0x1C2F5C).mix(hex(0xEDE6D6), white * 0.92);
                tone.mix(hex(0xB2452F), heart * 0.9)
            };
            dyed = Some(Box::new(dye));
            (repeat(&[(0x1C2F5C, 1)], columns), repeat(&[(0x14224A, 1)], rows))
        }
        5 => (
            repeat(&[(0xEDE3CD, 1)], columns),
            repeat(&[(0x7A2E3A, 30), (0x7A2E3A, 30), (0xB8862F, 4), (0x7A2E3A, 20)], rows),
        ),
        6 => {
            pitch = 11.0;
            let tones = [0xA33B2A, 0x243B53, 0xE0C48A, 0x5B6B3F, 0x2B2320, 0xD98A3D].map(hex);
            let order: Vec<usize> = (0..40).map(|_| rng.below(6)).collect();
            let figure = move |column: usize, row: usize| {
                let (middle_x, middle_y) = (columns as i32 / 2, rows as i32 / 2);
                let (x, y) = ((column as i32 - middle_x).abs() / 4, (row as i32 - middle_y).abs() / 6);
                let border = columns as i32 / 8 - 2;
                if x > border || y > rows as i32 / 12 - 3 {
                    let step = (row / 12 + column / 8) % 3;
                    return tones[[4, 0, 2][step]];
                }
                let fold_y = (y + 4) % 11;
                let ring = (x + fold_y.min(11 - fold_y) * 2) as usize;
                tones[order[(ring / 2 + (y as usize + 4) / 11 * 5) % order.len()]]
            };
            patch = Some(Box::new(figure));
            (repeat(&[(0xD9CBAF, 1)], columns), repeat(&[(0xA33B2A, 1)], rows))
        }
        7 => {
            pitch = 21.0;
            open = 0.52;
            let thin = [(0x7E8C86, 5), (0xB6A98F, 3), (0x51635F, 2), (0xC9BFA9, 6)];
            (
                repeat(&thin, columns),
                repeat(&[(0x8C9A94, 9), (0xC07F4A, 1), (0xA9B3AA, 7)], rows),
            )
        }
        8 => {
            pitch = 10.0;
            let ridge = Noise::new(rng.seed());
            let tones = [
                0xEAD9B8, 0xE3B88A, 0xC9907A, 0x97777F, 0x63687D, 0x3F5468, 0x2C3D4C, 0x1D2A33,
            ]
            .map(hex);
            let hills = move |column: usize, row: usize| {
                let (x, y) = (column as f32 / columns as f32, row as f32 / rows as f32);
                if (x - 0.66).hypot((y - 0.24) * rows as f32 / columns as f32) < 0.105 {
                    return hex(0xF6E7B4);
                }
                let mut found = if y < 0.16 { 0 } else { usize::from(y > 0.3) };
                for layer in 2..8 {
                    let crest = 0.1
                        + layer as f32 * 0.105
                        + ridge.fractal(x * (1.2 + layer as f32 * 0.35), layer as f32 * 7.3, 3) * 0.13;
                    if y > crest {
                        found = layer;
                    }
                }
                tones[found]
            };
            patch = Some(Box::new(hills));
            (repeat(&[(0xCDBB98, 1)], columns), repeat(&[(0xCDBB98, 1)], rows))
        }
        _ => {
            kind = 9;
            pitch = 12.0;
            let mut shadow = |count: usize| {
                let mut list = Vec::new();
                let mut dark = false;
                while list.len() < count {
                    for _ in 0..rng.pick(&[4, 6, 10, 14, 22]) {
                        list.push(hex(if dark { 0x23333D } else { 0xE9D9B9 }));
                        dark = !dark;
                    }
                    // Two of a kind in a row, and the pattern turns.
                    dark = !dark;
                }
                list
            };
            (shadow(columns), shadow(rows))
        }
    };
    Draft {
        warp,
        weft,
        kind,
        pitch,
        open,
        patch,
        dyed,
    }
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let ratio = [
        (4.0, 5.0),
        (1.0, 1.0),
        (4.0, 5.0),
        (5.0, 4.0),
        (3.0, 4.0),
        (1.0, 1.0),
        (2.0, 3.0),
        (4.0, 5.0),
        (5.0, 4.0),
        (3.0, 4.0),
    ][place];
    let size = format(ratio.0, ratio.1);
    let mut sheet = Sheet::new(size, scale, hex(0xF6F2EA));
    let margin = size.0.min(size.1) * 0.105;
    let whole = sheet.area();
    let area = Area::new(
        margin,
        margin * 1.25,
        whole.width - margin * 2.0,
        whole.height - margin * 2.5,
    );
    let draft = draft(place, 220, 220, rng);
    // The count of threads follows from the area; a second draft knows it.
    let columns = (area.width / draft.pitch) as usize;
    let rows = (area.height / draft.pitch) as usize;
    let draft = self::draft(place, columns, rows, rng);
    let wobble = Noise::new(rng.seed());
    let fibre = Noise::new(rng.seed());

    if draft.open == 0.0 {
        for step in 0..10 {
            let grow = step as f32 * 2.2;
            let shadow = Area::new(
                area.left + 10.0 - grow,
                area.top + 14.0 - grow,
                area.width + grow * 2.0,
                area.height + grow * 2.0,
            );
            sheet.block(shadow, hex(0x3A332B).thin(0.02));
        }
    }
    fringe(&mut sheet, area, &draft, columns, &wobble, rng);
    let cloth = Cloth {
        area,
        draft: &draft,
        columns,
        rows,
        wobble,
        fibre,
    };
    let around = Area::new(area.left - 12.0, area.top - 12.0, area.width + 24.0, area.height + 24.0);
    sheet.shade(around, 2, |point| cloth.colour(point));
    sheet.grain(0.6, rng.seed());
    sheet
}

/// The ends of the warp hang out at the top and at the bottom.
fn fringe(sheet: &mut Sheet, area: Area, draft: &Draft, columns: usize, wobble: &Noise, rng: &mut Rng) {
    for column in 0..columns {
        let x = area.left + (column as f32 + 0.5) * draft.pitch;
        for (edge, sign) in [(area.top, -1.0), (area.bottom(), 1.0)] {
            let colour = match &draft.dyed {
                Some(dye) => dye(column, edge),
                None => draft.warp[column],
            };
            let length = area.left * rng.range(0.36, 0.5);
            let sway = wobble.at(column as f32 * 0.35, edge) * 14.0 + rng.normal() * 4.0;
            let points: Vec<Point> = (0..8)
                .map(|step| {
                    let share = step as f32 / 7.0;
                    at(x + sway * share * share, edge + sign * (length * share - 6.0))
                })
                .collect();
            let widths: Vec<f32> = (0..8).map(|step| draft.pitch * (0.62 - 0.045 * step as f32)).collect();
            sheet.brush(&points, &widths, colour.scaled(rng.range(0.86, 1.0)));
        }
    }
}

struct Cloth<'a> {
    area: Area,
    draft: &'a Draft,
    columns: usize,
    rows: usize,
    wobble: Noise,
    fibre: Noise,
}

impl Cloth<'_> {
    fn colour(&self, point: Point) -> Option<Rgb> {
        let draft = self.draft;
        let pitch = draft.pitch;
        let loose = if draft.open > 0.0 { 0.9 } else { 0.22 };
        let x = (point.x - self.area.left) / pitch + self.wobble.at(point.x / 60.0, point.y / 170.0) * loose;
        let y = (point.y - self.area.top) / pitch + self.wobble.at(point.x / 170.0 + 80.0, point.y / 60.0) * loose;
        if x < 0.0 || y < 0.0 || x >= self.columns as f32 || y >= self.rows as f32 {
            return None;
        }
        let (column, row) = (x as usize, y as usize);
        let (u, v) = (x.fract() - 0.5, y.fract() - 0.5);
        let half = (1.0 - draft.open) * 0.5;
        let warp_on_top = draft.over(column as i32, row as i32);
        let (warp_here, weft_here) = (u.abs() < half, v.abs() < half);
        let warp_seen = match (warp_here, weft_here) {
            (true, true) => warp_on_top,
            (true, false) => true,
            (false, true) => false,
            (false, false) => return None,
        };
        let (across, along) = if warp_seen {
            (u / half * 0.5, v)
        } else {
            (v / half * 0.5, u)
        };
        let (back, ahead) = if warp_seen {
            (
                draft.over(column as i32, row as i32 - 1),
                draft.over(column as i32, row as i32 + 1),
            )
        } else {
            (
                !draft.over(column as i32 - 1, row as i32),
                !draft.over(column as i32 + 1, row as i32),
            )
        };
        let dives = if along < 0.0 { !back } else { !ahead };
        let base = if warp_seen {
            match &draft.dyed {
                Some(dye) => dye(column, point.y),
                None => match &draft.patch {
                    // Where the weft makes the picture, the warp takes some of its colour, as under a
                    // thick weft it would.
                    Some(patch) => patch(column, row).blend(draft.warp[column], 0.3),
                    None => draft.warp[column],
                },
            }
        } else {
            match &draft.patch {
                Some(patch) => patch(column, row),
                None => draft.weft[row],
            }
        };
        let round = 1.0 - 1.35 * across * across;
        let dip = if dives {
            1.0 - 0.42 * smoothstep(0.18, 0.5, along.abs())
        } else {
            1.0
        };
        let thread = if warp_seen { column as i32 } else { row as i32 + 5000 };
        let (run, side) = if warp_seen { (point.y, u) } else { (point.x, v) };
        let twist = ((run / pitch * 2.4 + side * 1.8) * std::f32::consts::TAU).sin() * 0.035;
        let uneven = (self.fibre.cell(thread, 0) - 0.5) * 0.09 + self.fibre.at(run / 120.0, thread as f32 * 3.7) * 0.05;
        let seam = smoothstep(0.5, 0.40, across.abs());
        Some(base.scaled((0.42 + 0.62 * round * dip * (0.7 + 0.3 * seam)) * (1.0 + twist + uneven) * 1.03))
    }
}
