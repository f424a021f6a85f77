//! Two line screens, each dull by itself, printed over each other.

use std::f32::consts::TAU;

use super::super::{
    Category, Series,
    colour::{Rgb, hex},
    geometry::{Area, Point, at, smoothstep},
    measures::Taste,
    rng::Rng,
    sheet::{Sheet, format},
    work,
};

/// The series.
pub(super) const SERIES: Series = Series {
    name: "screens",
    artist: "Jonas Brandt",
    technique: "Risograph, two drums",
    category: Category::Line,
    years: (2017, 2025),
    price_cents: 9_500,
    taste: Taste {
        entropy_min: 0.6,
        contrast_min: 0.03,
        ..Taste::BROAD
    },
    works: [
        work(
            "Two Ponds",
            "Rings in blue, rings in red. What happens between them was not drawn by anybody.",
        ),
        work(
            "Sphere, Implied",
            "Straight lines throughout; the second screen is only a little late.",
        ),
        work(
            "Crossing at Four Degrees",
            "The smallest angle at which two lattices stop being polite to each other.",
        ),
        work("Pulse", "Rays against rings. Hold it at arm's length and breathe."),
        work(
            "Flag in a Light Wind",
            "Stripes over the same stripes, one of them out in the weather.",
        ),
        work("Iris", "Two fans of lines, a finger's breadth apart."),
        work("Sound of One Drum", "A single wave and its echo from the wall."),
        work("Column", "It turns, although both of its screens stand still."),
        work(
            "Three Lenses",
            "Discs that bend the lines that they lie on, as water glasses bend a newspaper.",
        ),
        work(
            "Night Bus",
            "Fluorescent orange over dark blue: the colours of the last ride home.",
        ),
    ],
    draw,
};

/// (paper, first drum, second drum)
const INKS: [(u32, u32, u32); 10] = [
    (0xF5F1E6, 0x2B5FA8, 0xE2533F),
    (0xF3EDE0, 0x1F2A33, 0xE5A83B),
    (0xF6F2E8, 0x0F766E, 0xE2604A),
    (0xF4EFE3, 0xC7372F, 0x243B6B),
    (0xF6F0E2, 0x2C3E8C, 0xF2A900),
    (0xF3EEE5, 0x5B3A78, 0x3FA08A),
    (0xF5F0E4, 0x1E1E22, 0xC8452F),
    (0xF2EFE6, 0x22577A, 0x6AA84F),
    (0xF6EFE4, 0xD9577A, 0x2F6FB0),
    (0xF1ECE0, 0x182848, 0xF26B3A),
];

/// One screen: for every point the phase of its lines and how much of the pitch is inked.
type Screen = Box<dyn Fn(Point) -> Option<(f32, f32)>>;

fn rings(centre: Point, pitch: f32, weight: impl Fn(f32) -> f32 + 'static) -> Screen {
    Box::new(move |point| {
        let radius = point.distance(centre);
        Some((radius / pitch, weight(radius)))
    })
}

fn stripes(
    angle: f32,
    pitch: f32,
    bend: impl Fn(Point) -> f32 + 'static,
    weight: impl Fn(Point) -> f32 + 'static,
) -> Screen {
    let across = Point::polar(angle);
    Box::new(move |point| Some(((point.dot(across) + bend(point)) / pitch, weight(point))))
}

fn within(shape: impl Fn(Point) -> bool + 'static, screen: Screen) -> Screen {
    Box::new(move |point| if shape(point) { screen(point) } else { None })
}

fn disc(centre: Point, radius: f32) -> impl Fn(Point) -> bool {
    move |point| point.distance(centre) < radius
}

fn screens(place: usize, area: Area, rng: &mut Rng) -> [Screen; 2] {
    let centre = area.centre();
    let side = area.width.min(area.height);
    match place {
        0 => {
            let lean = rng.range(-0.5, 0.5);
            let gap = Point::polar(0.6 + lean) * (side * 0.125);
            let (a, b) = (centre - gap, centre + gap);
            let fade = move |radius: f32| 0.62 - 0.4 * radius / (side * 0.5);
            [
                within(disc(a, side * 0.355), rings(a, 17.0, fade)),
                within(disc(b, side * 0.355), rings(b, 17.0, fade)),
            ]
        }
        1 => {
            let radius = side * 0.38;
            let focus = centre + at(0.0, -side * 0.03);
            let bulge = move |point: Point| {
                let offset = point - focus;
                let share = (offset.length() / radius).min(1.0);
                -offset.x * (1.0 - share * share).powf(0.8) * 0.36
            };
            [
                stripes(0.0, 18.0, |_| 0.0, |_| 0.34),
                stripes(0.0, 18.0, bulge, move |point| {
                    if point.distance(focus) < radius { 0.56 } else { 0.0 }
                }),
            ]
        }
        2 => {
            let tilt = 0.07 + rng.range(0.0, 0.03);
            [
                lattice(at(0.0, 0.0), 0.0, 26.0, centre),
                lattice(centre, tilt, 26.0, centre),
            ]
        }
        3 => {
            let count = 92.0;
            let focus = area.place(0.5, 0.47);
            let rays: Screen = Box::new(move |point| {
                let offset = point - focus;
                let angle = offset.y.atan2(offset.x) / TAU;
                let swirl = (offset.length() / side * 5.0).sin() * 0.02;
                Some(((angle + swirl) * count, 0.5))
            });
            [
                within(disc(focus, side * 0.47), rays),
                within(
                    disc(focus, side * 0.47),
                    rings(focus, 21.0, move |radius| 0.5 + 0.3 * (radius / side * 14.0).cos()),
                ),
            ]
        }
        4 => {
            let phase = rng.angle();
            let wind = move |point: Point| {
                let x = (point.x - centre.x) / side;
                let y = (point.y - centre.y) / side;
                (x * 4.2 + y * 2.0 + phase).sin() * 34.0 * (0.4 + x.max(-0.4)) + (x * 9.0 - y * 3.0).sin() * 9.0
            };
            [
                stripes(TAU / 4.0, 16.0, |_| 0.0, |_| 0.42),
                stripes(TAU / 4.0, 16.0, wind, |_| 0.5),
            ]
        }
        5 => {
            let fan = |foot: Point| -> Screen {
                Box::new(move |point| {
                    let offset = point - foot;
                    Some((offset.y.atan2(offset.x) / TAU * 260.0, 0.5))
                })
            };
            let shape = move |point: Point| {
                let half = side * 0.7;
                let (x, y) = ((point.x - centre.x) / half, (point.y - centre.y) / (half * 0.52));
                x * x < 1.0 && y.abs() < 1.0 - x * x
            };
            let gap = side * 0.05;
            [
                within(shape, fan(centre - at(gap, 0.0))),
                within(shape, fan(centre + at(gap, 0.0))),
            ]
        }
        6 => {
            let drum = area.place(0.24, 0.5);
            let echo = area.place(1.32, 0.5);
            [
                rings(drum, 18.0, move |radius| {
                    0.66 - 0.5 * smoothstep(0.0, side * 1.3, radius)
                }),
                rings(echo, 18.0, move |radius| {
                    0.2 + 0.36 * smoothstep(side * 1.4, side * 0.5, radius)
                }),
            ]
        }
        7 => {
            let half = area.width * 0.3;
            let round = move |sign: f32| {
                move |point: Point| {
                    let x = ((point.x - centre.x) / half).clamp(-1.0, 1.0);
                    sign * (x.asin().powi(2) * half * 0.16 + ((point.y - centre.y) / side * 3.0).sin() * 12.0)
                }
            };
            let shape = move |point: Point| (point.x - centre.x).abs() < half;
            let shade = move |point: Point| 0.42 + 0.3 * ((point.x - centre.x) / half);
            [
                within(shape, stripes(TAU / 4.0 - 0.05, 17.0, round(1.0), shade)),
                within(shape, stripes(TAU / 4.0 + 0.05, 17.0, round(-1.0), |_| 0.42)),
            ]
        }
        8 => {
            let glasses = [(0.34, 0.3, 0.26), (0.68, 0.52, 0.22), (0.36, 0.74, 0.19)]
                .map(|(x, y, radius)| (area.place(x, y), side * radius));
            let lens = move |point: Point| {
                glasses
                    .iter()
                    .find_map(|(middle, radius)| {
                        let offset = point - *middle;
                        let share = offset.length() / radius;
                        (share < 1.0).then(|| offset.dot(Point::polar(0.8)) * (1.0 - share * share).sqrt() * -0.55)
                    })
                    .unwrap_or(0.0)
            };
            let inside = move |point: Point| glasses.iter().any(|(middle, radius)| point.distance(*middle) < *radius);
            [
                stripes(0.8, 19.0, lens, |_| 0.42),
                within(inside, stripes(0.8 + 0.06, 19.0, lens, |_| 0.46)),
            ]
        }
        _ => {
            let horizon = area.place(0.5, 0.42);
            let road: Screen = Box::new(move |point| {
                let depth = (point.y - horizon.y).abs() + 24.0;
                let x = (point.x - horizon.x) / depth;
                Some((x * 7.5, 0.5))
            });
            [
                stripes(
                    TAU / 4.0,
                    17.0,
                    move |point: Point| {
                        let depth = (point.y - horizon.y) / side;
                        depth.abs().sqrt() * depth.signum() * 130.0
                    },
                    move |point| 0.72 - 0.5 * smoothstep(0.0, side * 0.6, (point.y - horizon.y).abs()),
                ),
                within(
                    move |point| point.y > horizon.y || point.distance(horizon) < side * 0.3,
                    road,
                ),
            ]
        }
    }
}

/// Squares in rows and columns, turned about the centre: its phase is not that of lines but of dots.
fn lattice(_origin: Point, tilt: f32, pitch: f32, centre: Point) -> Screen {
    Box::new(move |point| {
        let local = (point - centre).rotated(tilt);
        let (u, v) = ((local.x / pitch * TAU).cos(), (local.y / pitch * TAU).cos());
        // A dot is where both waves are high; told as the phase of a line so that one rule inks all.
        let swell = ((u + v) * 0.25 + 0.5).clamp(0.0, 1.0);
        let size = 0.62 - 0.32 * (local.length() / (pitch * 30.0)).min(1.0);
        Some((0.5 - swell * 0.5, size))
    })
}

fn draw(place: usize, rng: &mut Rng, scale: f32) -> Sheet {
    let ratio = [
        (1.0, 1.0),
        (4.0, 5.0),
        (1.0, 1.0),
        (4.0, 5.0),
        (3.0, 2.0),
        (3.0, 2.0),
        (16.0, 10.0),
        (2.0, 3.0),
        (3.0, 4.0),
        (4.0, 5.0),
    ][place];
    let size = format(ratio.0, ratio.1);
    let (paper, first, second) = INKS[place];
    let (paper, first, second) = (hex(paper), hex(first), hex(second));
    let mut sheet = Sheet::new(size, scale, paper);
    let area = sheet.area().inset(size.0.min(size.1) * 0.095);
    let [below, above] = screens(place, area, rng);
    // The second drum is never quite in register.
    let slip = at(rng.normal(), rng.normal()) * 1.6;
    let inked = |screen: &Screen, point: Point| -> bool {
        screen(point).is_some_and(|(phase, share)| (phase - phase.round()).abs() < share * 0.5)
    };
    sheet.shade(area, 3, |point| {
        let mut colour: Rgb = paper;
        if inked(&below, point) {
            colour = first.over(colour.blend(hex(0xFFFFFF), 0.7));
        }
        if inked(&above, point + slip) {
            colour = second.over(colour.blend(hex(0xFFFFFF), 0.12));
        }
        Some(colour)
    });
    sheet.grain(1.6, rng.seed());
    sheet
}
