//! The sheet of paper that a print is drawn on.
//!
//! Everything is drawn in sheet units: the long side is [`LONG_SIDE`] whatever the size in pixels, so that
//! a small proof shows the same picture as the edition.

use tiny_skia::{
    BlendMode, Color, FillRule, LineCap, LineJoin, Mask, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, Transform,
};

use super::{
    colour::Rgb,
    geometry::{Area, Point},
    noise::Noise,
};

/// The long side of every sheet, in sheet units.
pub const LONG_SIDE: f32 = 1800.0;

/// A colour, how thick it lies, and whether what is below shines through as with printing ink.
#[derive(Clone, Copy, Debug)]
pub struct Ink {
    colour: Rgb,
    alpha: f32,
    multiply: bool,
}

impl Ink {
    /// An ink through which one sees what lies below.
    pub fn glaze(colour: Rgb) -> Self {
        Self {
            colour,
            alpha: 1.0,
            multiply: true,
        }
    }

    /// The same, thinner.
    pub fn thin(self, alpha: f32) -> Self {
        Self {
            alpha: self.alpha * alpha,
            ..self
        }
    }

    fn paint(self) -> Paint<'static> {
        let mut paint = Paint::default();
        let Rgb { r, g, b } = self.colour;
        let [r, g, b, a] = [r, g, b, self.alpha].map(|value| value.clamp(0.0, 1.0));
        paint.set_color(Color::from_rgba(r, g, b, a).unwrap_or(Color::BLACK));
        paint.anti_alias = true;
        if self.multiply {
            paint.blend_mode = BlendMode::Multiply;
        }
        paint
    }
}

impl From<Rgb> for Ink {
    fn from(colour: Rgb) -> Self {
        Self {
            colour,
            alpha: 1.0,
            multiply: false,
        }
    }
}

impl Rgb {
    /// Thinned down, so that a share of what is below stays.
    pub fn thin(self, alpha: f32) -> Ink {
        Ink::from(self).thin(alpha)
    }
}

/// A picture in the making.
pub struct Sheet {
    pixmap: Pixmap,
    scale: f32,
    clip: Option<Mask>,
    /// Width in sheet units.
    pub width: f32,
    /// Height in sheet units.
    pub height: f32,
    /// The colour of the bare paper.
    pub paper: Rgb,
}

/// The size of a sheet with these proportions: its long side is [`LONG_SIDE`].
pub fn format(width: f32, height: f32) -> (f32, f32) {
    let scale = LONG_SIDE / width.max(height);
    (width * scale, height * scale)
}

fn outline(points: &[Point], close: bool) -> Option<Path> {
    let mut builder = PathBuilder::with_capacity(points.len() + 1, points.len() + 1);
    let (first, rest) = points.split_first()?;
    builder.move_to(first.x, first.y);
    for point in rest {
        builder.line_to(point.x, point.y);
    }
    if close {
        builder.close();
    }
    builder.finish()
}

/// Where in a pixel to look: a grid with its rows and columns shifted against each other, so that upright and level
/// edges get as many steps as there are samples.
fn sample_places(samples: u32) -> Vec<Point> {
    let (side, count) = (samples as f32, samples * samples);
    (0..count)
        .map(|index| {
            let (column, row) = ((index % samples) as f32, (index / samples) as f32);
            Point {
                x: (column + (row + 0.5) / side) / side,
                y: (row + (column + 0.5) / side) / side,
            }
        })
        .collect()
}

impl Sheet {
    /// Bare paper of `(width, height)` sheet units, drawn with `scale` pixels a unit.
    pub fn new((width, height): (f32, f32), scale: f32, paper: Rgb) -> Self {
        let pixels = |units: f32| ((units * scale).round() as u32).clamp(1, 8192);
        let mut pixmap =
            Pixmap::new(pixels(width), pixels(height)).expect("a pixmap of 1 to 8192 pixels a side can be made");
        pixmap.fill(Color::from_rgba(paper.r, paper.g, paper.b, 1.0).unwrap_or(Color::WHITE));
        Self {
            pixmap,
            scale,
            clip: None,
            width,
            height,
            paper,
        }
    }

    /// The finished picture.
    pub fn into_pixmap(self) -> Pixmap {
        self.pixmap
    }

    /// The picture so far.
    pub fn pixmap(&self) -> &Pixmap {
        &self.pixmap
    }

    /// Pixels a sheet unit.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The whole sheet.
    pub fn area(&self) -> Area {
        Area::new(0.0, 0.0, self.width, self.height)
    }

    /// From now on only what falls into the polygon is drawn.
    pub fn clip_to(&mut self, polygon: &[Point]) {
        let Some(path) = outline(polygon, true) else {
            return;
        };
        let Some(mut mask) = Mask::new(self.pixmap.width(), self.pixmap.height()) else {
            return;
        };
        mask.fill_path(&path, FillRule::Winding, true, self.transform());
        self.clip = Some(mask);
    }

    /// Everything is drawn again.
    pub fn unclip(&mut self) {
        self.clip = None;
    }

    fn transform(&self) -> Transform {
        Transform::from_scale(self.scale, self.scale)
    }

    /// Fills any path.
    pub fn fill_path(&mut self, path: &Path, ink: impl Into<Ink>) {
        let (paint, transform) = (ink.into().paint(), self.transform());
        self.pixmap
            .fill_path(path, &paint, FillRule::Winding, transform, self.clip.as_ref());
    }

    /// Strokes any path.
    pub fn stroke_path(&mut self, path: &Path, width: f32, ink: impl Into<Ink>) {
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        let (paint, transform) = (ink.into().paint(), self.transform());
        self.pixmap
            .stroke_path(path, &paint, &stroke, transform, self.clip.as_ref());
    }

    /// Fills a polygon.
    pub fn fill(&mut self, points: &[Point], ink: impl Into<Ink>) {
        if let Some(path) = outline(points, true) {
            self.fill_path(&path, ink);
        }
    }

    /// Draws round a polygon.
    pub fn ring(&mut self, points: &[Point], width: f32, ink: impl Into<Ink>) {
        if let Some(path) = outline(points, true) {
            self.stroke_path(&path, width, ink);
        }
    }

    /// Draws along points.
    pub fn line(&mut self, points: &[Point], width: f32, ink: impl Into<Ink>) {
        if let Some(path) = outline(points, false) {
            self.stroke_path(&path, width, ink);
        }
    }

    /// Draws many lines at once: quicker, and crossings don't darken.
    pub fn lines(&mut self, lines: &[[Point; 2]], width: f32, ink: impl Into<Ink>) {
        let mut builder = PathBuilder::new();
        for [from, to] in lines {
            builder.move_to(from.x, from.y);
            builder.line_to(to.x, to.y);
        }
        if let Some(path) = builder.finish() {
            self.stroke_path(&path, width, ink);
        }
    }

    /// A line whose width changes on the way: `widths` has one entry a point.
    pub fn brush(&mut self, points: &[Point], widths: &[f32], ink: impl Into<Ink>) {
        let count = points.len().min(widths.len());
        if count < 2 {
            return;
        }
        let mut left = Vec::with_capacity(count * 2);
        let mut right = Vec::with_capacity(count);
        for index in 0..count {
            let before = points[index.saturating_sub(1)];
            let after = points[(index + 1).min(count - 1)];
            let across = (after - before).normalised().turned_left() * (widths[index] * 0.5);
            left.push(points[index] + across);
            right.push(points[index] - across);
        }
        right.reverse();
        left.extend(right);
        self.fill(&left, ink);
    }

    /// A disc.
    pub fn disc(&mut self, centre: Point, radius: f32, ink: impl Into<Ink>) {
        if let Some(path) = PathBuilder::from_circle(centre.x, centre.y, radius) {
            self.fill_path(&path, ink);
        }
    }

    /// A circle.
    pub fn circle(&mut self, centre: Point, radius: f32, width: f32, ink: impl Into<Ink>) {
        if let Some(path) = PathBuilder::from_circle(centre.x, centre.y, radius) {
            self.stroke_path(&path, width, ink);
        }
    }

    /// An upright rectangle.
    pub fn block(&mut self, area: Area, ink: impl Into<Ink>) {
        if let Some(rect) = Rect::from_xywh(area.left, area.top, area.width, area.height) {
            self.fill_path(&PathBuilder::from_rect(rect), ink);
        }
    }

    /// Bare paper again outside `area`: the margin of the print.
    pub fn trim(&mut self, area: Area, paper: Rgb) {
        let (width, height) = (self.width, self.height);
        self.block(Area::new(-2.0, -2.0, width + 4.0, area.top + 2.0), paper);
        self.block(
            Area::new(-2.0, area.bottom(), width + 4.0, height - area.bottom() + 2.0),
            paper,
        );
        self.block(Area::new(-2.0, -2.0, area.left + 2.0, height + 4.0), paper);
        self.block(
            Area::new(area.right(), -2.0, width - area.right() + 2.0, height + 4.0),
            paper,
        );
    }

    /// Asks `colour` for every pixel of `area`, `samples` times `samples` times, and lays the mean over
    /// what is there. `None` leaves the sheet as it is.
    pub fn shade(&mut self, area: Area, samples: u32, colour: impl Fn(Point) -> Option<Rgb>) {
        self.shade_with(area, samples, |_| (), |point, ()| colour(point));
    }

    /// The same with something that changes so slowly that it is worked out once for each pixel.
    pub fn shade_with<T>(
        &mut self,
        area: Area,
        samples: u32,
        slow: impl Fn(Point) -> T,
        colour: impl Fn(Point, &T) -> Option<Rgb>,
    ) {
        let (columns, rows) = (self.pixmap.width(), self.pixmap.height());
        let bound = |units: f32, limit: u32| ((units * self.scale).max(0.0) as u32).min(limit);
        let (left, right) = (bound(area.left - 1.0, columns), bound(area.right() + 2.0, columns));
        let (top, bottom) = (bound(area.top - 1.0, rows), bound(area.bottom() + 2.0, rows));
        let unit = 1.0 / self.scale;
        let places = sample_places(samples);
        let share = 1.0 / places.len() as f32;
        for row in top..bottom {
            for column in left..right {
                let place = |within: Point| Point {
                    x: (column as f32 + within.x) * unit,
                    y: (row as f32 + within.y) * unit,
                };
                let known = slow(place(Point { x: 0.5, y: 0.5 }));
                let (mut r, mut g, mut b, mut cover) = (0.0, 0.0, 0.0, 0.0);
                for point in places.iter().map(|within| place(*within)) {
                    let found = area.contains(point).then(|| colour(point, &known)).flatten();
                    if let Some(found) = found {
                        r += found.r * share;
                        g += found.g * share;
                        b += found.b * share;
                        cover += share;
                    }
                }
                if cover > 0.0 {
                    self.put(column, row, Rgb { r, g, b }, 1.0 - cover);
                }
            }
        }
    }

    /// Changes every pixel by what `change` makes of its place and colour.
    pub fn retouch(&mut self, change: impl Fn(Point, Rgb) -> Rgb) {
        let unit = 1.0 / self.scale;
        for row in 0..self.pixmap.height() {
            for column in 0..self.pixmap.width() {
                let point = Point {
                    x: (column as f32 + 0.5) * unit,
                    y: (row as f32 + 0.5) * unit,
                };
                let changed = change(point, self.pixel(column, row));
                self.put(column, row, changed, 0.0);
            }
        }
    }

    fn pixel(&self, column: u32, row: u32) -> Rgb {
        let index = (row * self.pixmap.width() + column) as usize * 4;
        let data = &self.pixmap.data()[index..index + 3];
        let [r, g, b] = [data[0], data[1], data[2]].map(|value| f32::from(value) / 255.0);
        Rgb { r, g, b }
    }

    fn put(&mut self, column: u32, row: u32, colour: Rgb, keep: f32) {
        let index = (row * self.pixmap.width() + column) as usize * 4;
        let data = &mut self.pixmap.data_mut()[index..index + 3];
        for (byte, channel) in data.iter_mut().zip([colour.r, colour.g, colour.b]) {
            let value = channel * 255.0 + f32::from(*byte) * keep;
            *byte = (value + 0.5).clamp(0.0, 255.0) as u8;
        }
    }

    /// The tooth of the paper: fibres and grain, so faint that one feels rather than sees them.
    pub fn grain(&mut self, strength: f32, seed: u32) {
        let (coarse, fine) = (Noise::new(seed), Noise::new(seed ^ 0x5bd1_e995));
        let scale = self.scale;
        self.retouch(|point, colour| {
            let cloud =
                coarse.at(point.x / 90.0, point.y / 130.0) * 0.5 + coarse.at(point.x / 5.0, point.y / 7.0) * 0.5;
            let speck = fine.cell((point.x * scale) as i32, (point.y * scale) as i32) - 0.5;
            colour.scaled(1.0 + strength * (cloud * 0.016 + speck * 0.028))
        });
    }
}
