//! The reaction: Gray and Scott's model, with diffusion that may prefer a direction.

use crate::prints::rng::Rng;

use super::subjects::Cut;

/// Two chemicals on a grid (Gray and Scott's model, with diffusion that may prefer a direction).
pub(super) struct Bath {
    pub(super) columns: usize,
    pub(super) rows: usize,
    pub(super) a: Vec<f32>,
    pub(super) b: Vec<f32>,
}

impl Bath {
    pub(super) fn new(columns: usize, rows: usize, rng: &mut Rng) -> Self {
        let mut b = vec![0.0; columns * rows];
        for _ in 0..columns * rows / 55 {
            let (x, y) = (2 + rng.below(columns - 5), 2 + rng.below(rows - 5));
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)] {
                b[(y + dy) * columns + x + dx] = 0.5;
            }
        }
        Self {
            columns,
            rows,
            a: b.iter().map(|b| 1.0 - b).collect(),
            b,
        }
    }

    pub(super) fn react(&mut self, cuts: &[Cut], steps: usize) {
        let list = |of: &dyn Fn(&Cut) -> f32| -> Vec<f32> { cuts.iter().map(of).collect() };
        let stretch = |cut: &Cut, part: usize| {
            let (sin, cos) = cut.angle.sin_cos();
            let (along, across) = (1.0 + cut.pull * 0.8, 1.0 - cut.pull * 0.8);
            // More than this, and the explicit step would blow up.
            let size = cut.size.min(1.6);
            size * match part {
                0 => along * cos * cos + across * sin * sin,
                1 => along * sin * sin + across * cos * cos,
                _ => (along - across) * sin * cos * 0.5,
            }
        };
        let level = list(&|cut| stretch(cut, 0));
        let upright = list(&|cut| stretch(cut, 1));
        let slanted = list(&|cut| stretch(cut, 2));
        let feed = list(&|cut| cut.feed);
        let drain = list(&|cut| cut.feed + cut.kill);
        let columns = self.columns;
        let (mut next_a, mut next_b) = (self.a.clone(), self.b.clone());
        for _ in 0..steps {
            for row in 1..self.rows - 1 {
                let line = |row: usize| row * columns..(row + 1) * columns;
                let (three, here) = ([line(row - 1), line(row), line(row + 1)], line(row));
                react_line(
                    &mut next_a[here.clone()],
                    &mut next_b[here.clone()],
                    three.clone().map(|range| &self.a[range]),
                    three.map(|range| &self.b[range]),
                    [&level, &upright, &slanted, &feed, &drain].map(|list| &list[here.clone()]),
                );
            }
            std::mem::swap(&mut self.a, &mut next_a);
            std::mem::swap(&mut self.b, &mut next_b);
        }
    }

    pub(super) fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (
            x.clamp(1.0, self.columns as f32 - 3.0),
            y.clamp(1.0, self.rows as f32 - 3.0),
        );
        let (column, row) = (x as usize, y as usize);
        let (u, v) = (x.fract(), y.fract());
        // Cubic, since straight interpolation would show the grid in the edges of the cuts.
        let weights = |t: f32| {
            let s = 1.0 - t;
            [
                s * s * s / 6.0,
                (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0,
                t * t * t / 6.0,
            ]
        };
        let (across, down) = (weights(u), weights(v));
        let mut sum = 0.0;
        for (dy, weight_y) in down.iter().enumerate() {
            for (dx, weight_x) in across.iter().enumerate() {
                sum += self.b[(row + dy - 1) * self.columns + column + dx - 1] * weight_x * weight_y;
            }
        }
        sum
    }
}

/// One line of cells, one step on. A function of its own, so that the compiler knows that what is written
/// isn't what is read, and works on several cells at once.
pub(super) fn react_line(out_a: &mut [f32], out_b: &mut [f32], a: [&[f32]; 3], b: [&[f32]; 3], weights: [&[f32]; 5]) {
    let count = out_a.len() - 2;
    // Left, middle and right neighbours as slices of one length: nothing to check inside the loop.
    let (left, middle, right) = (0..count, 1..count + 1, 2..count + 2);
    let [[a_nw, a_n, a_ne], [a_w, a_0, a_e], [a_sw, a_s, a_se]] = a.map(|line| {
        [
            &line[left.clone()][..count],
            &line[middle.clone()][..count],
            &line[right.clone()][..count],
        ]
    });
    let [[b_nw, b_n, b_ne], [b_w, b_0, b_e], [b_sw, b_s, b_se]] = b.map(|line| {
        [
            &line[left.clone()][..count],
            &line[middle.clone()][..count],
            &line[right.clone()][..count],
        ]
    });
    let [level, upright, slanted, feed, drain] = weights.map(|line| &line[middle.clone()][..count]);
    let (out_a, out_b) = (&mut out_a[middle.clone()][..count], &mut out_b[middle][..count]);
    for x in 0..count {
        let (here_a, here_b) = (a_0[x], b_0[x]);
        let spread_a = level[x] * (a_w[x] + a_e[x] - 2.0 * here_a)
            + upright[x] * (a_n[x] + a_s[x] - 2.0 * here_a)
            + slanted[x] * (a_nw[x] + a_se[x] - a_ne[x] - a_sw[x]);
        let spread_b = level[x] * (b_w[x] + b_e[x] - 2.0 * here_b)
            + upright[x] * (b_n[x] + b_s[x] - 2.0 * here_b)
            + slanted[x] * (b_nw[x] + b_se[x] - b_ne[x] - b_sw[x]);
        let change = here_a * here_b * here_b;
        out_a[x] = here_a + 0.13 * spread_a - change + feed[x] * (1.0 - here_a);
        // Never quite nothing: numbers too small to be normal are slow.
        out_b[x] = (here_b + 0.065 * spread_b + change - drain[x] * here_b).max(1e-9);
    }
}
