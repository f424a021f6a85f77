//! Heights on a grid, and the lines that join equal ones.

use std::f32::consts::SQRT_2;

use crate::prints::geometry::{Area, Point, at};

pub(super) const STEP: f32 = 4.5;

/// Steps to the cells before this one, and how long they are: knight's moves make the circles round.
pub(super) const NEIGHBOURS: [(i32, i32, f32); 8] = [
    (-1, 0, 1.0),
    (0, -1, 1.0),
    (-1, -1, SQRT_2),
    (1, -1, SQRT_2),
    (-2, -1, 2.2361),
    (2, -1, 2.2361),
    (-1, -2, 2.2361),
    (1, -2, 2.2361),
];

/// Heights on a grid; the sea is below 0.
pub(super) struct Field {
    pub(super) area: Area,
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) values: Vec<f32>,
}

impl Field {
    pub(super) fn new(area: Area, height: impl Fn(Point) -> f32) -> Self {
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

    pub(super) fn at(&self, point: Point) -> f32 {
        let x = ((point.x - self.area.left) / STEP).clamp(0.0, self.columns as f32 - 1.001);
        let y = ((point.y - self.area.top) / STEP).clamp(0.0, self.rows as f32 - 1.001);
        let (column, row) = (x as usize, y as usize);
        let value = |dx: usize, dy: usize| {
            self.values[(row + dy).min(self.rows - 1) * self.columns + (column + dx).min(self.columns - 1)]
        };
        let (u, v) = (x.fract(), y.fract());
        let upper = value(0, 0) * (1.0 - u) + value(1, 0) * u;
        let lower = value(0, 1) * (1.0 - u) + value(1, 1) * u;
        upper * (1.0 - v) + lower * v
    }

    pub(super) fn slope(&self, point: Point) -> Point {
        let reach = STEP;
        at(
            self.at(point + at(reach, 0.0)) - self.at(point - at(reach, 0.0)),
            self.at(point + at(0.0, reach)) - self.at(point - at(0.0, reach)),
        ) * (1.0 / (2.0 * reach))
    }

    /// The line on which the field has this value, in short pieces (marching squares).
    pub(super) fn contour(&self, level: f32) -> Vec<[Point; 2]> {
        let mut pieces = Vec::new();
        for row in 0..self.rows - 1 {
            for column in 0..self.columns - 1 {
                let corner = |dx: usize, dy: usize| self.values[(row + dy) * self.columns + column + dx] - level;
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
    pub(super) fn offshore(&self) -> Self {
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
