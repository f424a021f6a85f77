//! Points, polygons and the few constructions that several series share.

use std::ops::{Add, Mul, Sub};

use super::rng::Rng;

/// A point or a direction on the sheet, in sheet units (the long side is 1800).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// To the right.
    pub x: f32,
    /// Downwards.
    pub y: f32,
}

/// Short for a point.
pub const fn at(x: f32, y: f32) -> Point {
    Point { x, y }
}

impl Add for Point {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        at(self.x + other.x, self.y + other.y)
    }
}

impl Sub for Point {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        at(self.x - other.x, self.y - other.y)
    }
}

impl Mul<f32> for Point {
    type Output = Self;
    fn mul(self, factor: f32) -> Self {
        at(self.x * factor, self.y * factor)
    }
}

impl Point {
    /// The direction at `angle`, of length 1.
    pub fn polar(angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        at(cos, sin)
    }

    /// The distance from the origin.
    pub fn length(self) -> f32 {
        self.x.hypot(self.y)
    }

    /// The distance to another point.
    pub fn distance(self, other: Self) -> f32 {
        (self - other).length()
    }

    /// The same direction with length 1 (or nothing, for nothing).
    pub fn normalised(self) -> Self {
        let length = self.length();
        if length > 1e-9 { self * (1.0 / length) } else { self }
    }

    /// A quarter turn.
    pub fn turned_left(self) -> Self {
        at(self.y, -self.x)
    }

    /// The product that is 0 for directions at right angles.
    pub fn dot(self, other: Self) -> f32 {
        self.x * other.x + self.y * other.y
    }

    /// Turned about the origin.
    pub fn rotated(self, angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        at(self.x * cos - self.y * sin, self.x * sin + self.y * cos)
    }

    /// Part of the way to another point.
    pub fn towards(self, other: Self, share: f32) -> Self {
        self + (other - self) * share
    }
}

/// An upright rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Its left edge.
    pub left: f32,
    /// Its upper edge.
    pub top: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
}

impl Area {
    /// From its upper left corner and size.
    pub const fn new(left: f32, top: f32, width: f32, height: f32) -> Self {
        Self {
            left,
            top,
            width,
            height,
        }
    }

    /// The right edge.
    pub fn right(&self) -> f32 {
        self.left + self.width
    }

    /// The lower edge.
    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// The middle.
    pub fn centre(&self) -> Point {
        self.place(0.5, 0.5)
    }

    /// The point at these shares of width and height.
    pub fn place(&self, x: f32, y: f32) -> Point {
        at(self.left + self.width * x, self.top + self.height * y)
    }

    /// Smaller by `distance` on every side.
    pub fn inset(&self, distance: f32) -> Self {
        Self::new(
            self.left + distance,
            self.top + distance,
            self.width - 2.0 * distance,
            self.height - 2.0 * distance,
        )
    }

    /// Whether the point lies inside.
    pub fn contains(&self, point: Point) -> bool {
        point.x >= self.left && point.x <= self.right() && point.y >= self.top && point.y <= self.bottom()
    }

    /// Its corners, clockwise.
    pub fn corners(&self) -> [Point; 4] {
        [
            self.place(0.0, 0.0),
            self.place(1.0, 0.0),
            self.place(1.0, 1.0),
            self.place(0.0, 1.0),
        ]
    }
}

/// Moves evenly from 0 to 1 while `value` goes from `low` to `high`, with soft ends.
pub fn smoothstep(low: f32, high: f32, value: f32) -> f32 {
    let t = ((value - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Straight interpolation.
pub fn lerp(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

/// A closed curve through `points`, `steps` points a span.
pub fn closed_curve(points: &[Point], steps: usize) -> Vec<Point> {
    let count = points.len();
    let mut curve = Vec::with_capacity(count * steps);
    for index in 0..count {
        let [before, from, to, after] = [count - 1, 0, 1, 2].map(|offset| points[(index + offset) % count]);
        for step in 0..steps {
            let t = step as f32 / steps as f32;
            let bend = |a: f32, b: f32, c: f32, d: f32| {
                0.5 * (2.0 * b
                    + (c - a) * t
                    + (2.0 * a - 5.0 * b + 4.0 * c - d) * t * t
                    + (3.0 * b - a - 3.0 * c + d) * t * t * t)
            };
            curve.push(at(
                bend(before.x, from.x, to.x, after.x),
                bend(before.y, from.y, to.y, after.y),
            ));
        }
    }
    curve
}

/// Whether the point lies inside the polygon.
pub fn inside(polygon: &[Point], point: Point) -> bool {
    let mut within = false;
    let mut previous = polygon.len().wrapping_sub(1);
    for index in 0..polygon.len() {
        let (a, b) = (polygon[index], polygon[previous]);
        if (a.y > point.y) != (b.y > point.y) && point.x < (b.x - a.x) * (point.y - a.y) / (b.y - a.y) + a.x {
            within = !within;
        }
        previous = index;
    }
    within
}

/// Parallel lines at `angle`, `spacing` apart, cut to a polygon.
pub fn hatch(polygon: &[Point], angle: f32, spacing: f32) -> Vec<[Point; 2]> {
    let direction = Point::polar(angle);
    let across = direction.turned_left();
    let (mut low, mut high) = (f32::MAX, f32::MIN);
    for corner in polygon {
        low = low.min(corner.dot(across));
        high = high.max(corner.dot(across));
    }
    let mut lines = Vec::new();
    // Lines lie on a grid of the whole sheet, so that neighbouring polygons continue each other.
    let mut offset = (low / spacing).ceil() * spacing;
    while offset < high {
        let mut crossings = Vec::new();
        for index in 0..polygon.len() {
            let (a, b) = (polygon[index], polygon[(index + 1) % polygon.len()]);
            let (from, to) = (a.dot(across) - offset, b.dot(across) - offset);
            if (from > 0.0) != (to > 0.0) {
                crossings.push(a.towards(b, from / (from - to)).dot(direction));
            }
        }
        crossings.sort_by(f32::total_cmp);
        for pair in crossings.chunks_exact(2) {
            lines.push([
                direction * pair[0] + across * offset,
                direction * pair[1] + across * offset,
            ]);
        }
        offset += spacing;
    }
    lines
}

/// Points no closer to each other than `distance`, filling the area: throws of a dart that keep their
/// distance.
pub fn scatter(area: Area, distance: f32, rng: &mut Rng) -> Vec<Point> {
    let mut grid = Crowd::new(area, distance);
    let mut points = Vec::new();
    let throws = (area.width * area.height / (distance * distance) * 12.0) as usize;
    for _ in 0..throws.min(400_000) {
        let point = area.place(rng.unit(), rng.unit());
        if !grid.near(point, distance) {
            grid.add(point);
            points.push(point);
        }
    }
    points
}

/// Points sorted into cells, to ask quickly what is near.
#[derive(Debug)]
pub struct Crowd {
    area: Area,
    cell: f32,
    columns: usize,
    rows: usize,
    cells: Vec<Vec<Point>>,
}

impl Crowd {
    /// An empty crowd; questions should be about distances of around `cell`.
    pub fn new(area: Area, cell: f32) -> Self {
        let columns = (area.width / cell) as usize + 1;
        let rows = (area.height / cell) as usize + 1;
        Self {
            area,
            cell,
            columns,
            rows,
            cells: vec![Vec::new(); columns * rows],
        }
    }

    fn column_row(&self, point: Point) -> (usize, usize) {
        let column = ((point.x - self.area.left) / self.cell).max(0.0) as usize;
        let row = ((point.y - self.area.top) / self.cell).max(0.0) as usize;
        (column.min(self.columns - 1), row.min(self.rows - 1))
    }

    /// One more.
    pub fn add(&mut self, point: Point) {
        let (column, row) = self.column_row(point);
        self.cells[row * self.columns + column].push(point);
    }

    /// Whether anybody is closer than `distance`.
    pub fn near(&self, point: Point, distance: f32) -> bool {
        let reach = (distance / self.cell).ceil() as usize;
        let (column, row) = self.column_row(point);
        let limit = distance * distance;
        for y in row.saturating_sub(reach)..=(row + reach).min(self.rows - 1) {
            for x in column.saturating_sub(reach)..=(column + reach).min(self.columns - 1) {
                for other in &self.cells[y * self.columns + x] {
                    let gap = *other - point;
                    if gap.dot(gap) < limit {
                        return true;
                    }
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hatching_stays_inside_and_covers_the_polygon() {
        let square = Area::new(0.0, 0.0, 100.0, 100.0).corners();
        let lines = hatch(&square, 0.0, 10.0);
        assert_eq!(lines.len(), 9 + usize::from(lines.len() == 10));
        for [from, to] in lines {
            assert!((from.distance(to) - 100.0).abs() < 0.01);
        }
    }

    #[test]
    fn scattered_points_keep_their_distance() {
        let points = scatter(Area::new(0.0, 0.0, 300.0, 200.0), 20.0, &mut Rng::new(1));
        assert!(points.len() > 80, "{}", points.len());
        for (index, point) in points.iter().enumerate() {
            for other in &points[..index] {
                assert!(point.distance(*other) >= 20.0);
            }
        }
    }
}
