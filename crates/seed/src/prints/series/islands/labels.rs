//! What is written and drawn over the land: frame, title, rose and names.

use crate::prints::{
    colour::{Rgb, hex},
    geometry::{Area, Point, at},
    lettering::Lettering,
    rng::Rng,
    sheet::Sheet,
};

use super::{charts::Chart, field::Field};

pub(super) const LEGEND: &str = "SURVEY OF ABSENT ISLANDS  1 : 50 000";

pub(super) fn frame(sheet: &mut Sheet, chart: &Chart, area: Area) {
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
pub(super) struct Labels {
    pub(super) taken: Vec<Area>,
    pub(super) area: Area,
}

impl Labels {
    pub(super) fn free(&self, wanted: Area) -> bool {
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

    pub(super) fn place(&mut self, middle: Point, width: f32, height: f32) -> bool {
        let wanted = Area::new(middle.x - width * 0.5, middle.y - height * 0.5, width, height);
        let free = self.free(wanted);
        if free {
            self.taken.push(wanted.inset(-12.0));
        }
        free
    }
}

/// Title and scale, in the corner that has the most sea.
pub(super) fn cartouche(sheet: &mut Sheet, chart: &Chart, field: &Field, labels: &mut Labels, side: f32) {
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
    let (width, height) = (title.width(chart.name).max(small.width(LEGEND)) + 70.0, side * 0.125);
    let area = labels.area.inset(30.0);
    let corners = [(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0), (0.5, 1.0), (0.5, 0.0)];
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
            .filter(|index| field.at(tile.place((index % 20) as f32 / 19.0, (index / 20) as f32 / 9.0)) < 0.0)
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
    title.centred(sheet, chart.name, at(middle.x, best.top + height * 0.34), line);
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
pub(super) fn rose(sheet: &mut Sheet, chart: &Chart, offshore: &Field, labels: &mut Labels) {
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
            let tile = Area::new(point.x - radius, point.y - radius, radius * 2.0, radius * 2.0).inset(-10.0);
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

pub(super) const FIRST: [&str; 24] = [
    "ALDER", "BRACK", "CORM", "DUN", "ELVER", "FALLOW", "GANNET", "HARR", "ISK", "KELD", "LARK", "MOR", "NESS",
    "OTTER", "PIKE", "QUERN", "RAVEN", "SALT", "TARN", "ULF", "VESPER", "WHIN", "YARROW", "HERON",
];
pub(super) const LAST: [&str; 10] = [
    "WICK", "FORD", "MERE", "STEAD", "HOLT", "BURY", "THORPE", "GARTH", "HAVEN", "TON",
];
pub(super) const WATERS: [&str; 8] = ["BAY", "SOUND", "DEEP", "ROADS", "REACH", "STRAIT", "BANK", "WATER"];
pub(super) const TOPS: [&str; 6] = ["FELL", "PIKE", "HEAD", "LAW", "STONE", "BEACON"];

pub(super) fn name_places(
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
            let point = field.area.place(rng.range(0.06, 0.94), rng.range(0.06, 0.94));
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
                &[point + at(0.0, -8.0), point + at(7.0, 5.0), point + at(-7.0, 5.0)],
                line,
            );
            text.centred(sheet, &name, point + at(0.0, 22.0), line);
            text.centred(sheet, &figure, point + at(0.0, 22.0 + text.height * 1.9), line);
        }
    }
    let mut towns = 0;
    for _ in 0..3000 {
        let point = field.area.place(rng.range(0.05, 0.95), rng.range(0.05, 0.95));
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
        if labels.place(point + at(width * 0.5 + 14.0, 0.0), width + 28.0, text.height * 2.6) {
            names.next();
            towns += 1;
            sheet.disc(point, 6.5, sheet.paper);
            sheet.circle(point, 6.0, 2.2, hex(chart.accent));
            text.write(sheet, &name, point + at(15.0, text.height * 0.5), line);
        }
    }
    let mut waters = 0;
    for _ in 0..3000 {
        let point = field.area.place(rng.range(0.08, 0.92), rng.range(0.05, 0.95));
        if waters >= 5 || offshore.at(point) < 42.0 {
            continue;
        }
        let Some(first) = names.clone().next() else {
            break;
        };
        let name = format!("{first} {}", WATERS[waters]);
        let width = sea.width(&name);
        let clear = (0..9).all(|step| offshore.at(point + at(width * (step as f32 / 8.0 - 0.5), 0.0)) > 26.0);
        if clear && labels.place(point, width + 30.0, sea.height * 4.5) {
            names.next();
            waters += 1;
            sea.centred(sheet, &name, point, water);
        }
    }
    soundings(sheet, chart, field, offshore, labels, rng);
}

/// Depths, thinly strewn.
pub(super) fn soundings(
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
