//! Capital letters of a single stroke, as engravers cut them on maps.

use super::{
    geometry::{Point, at},
    sheet::{Ink, Sheet},
};

/// Each letter as strokes of points on a grid: x from 0, y from 0 (top) to 9 (base line).
fn strokes(letter: char) -> &'static str {
    match letter {
        'A' => "09 30 69|16 56",
        'B' => "04 44 53 51 40 00 09 49 58 55 44",
        'C' => "61 40 20 02 07 29 49 68",
        'D' => "00 09 39 58 66 63 51 30 00",
        'E' => "50 00 09 59|04 44",
        'F' => "50 00 09|04 44",
        'G' => "61 40 20 02 07 29 49 67 65 35",
        'H' => "00 09|60 69|04 64",
        'I' => "00 09",
        'J' => "40 47 39 19 08",
        'K' => "00 09|50 05|23 59",
        'L' => "00 09 59",
        'M' => "09 00 46 80 89",
        'N' => "09 00 69 60",
        'O' => "20 02 07 29 49 67 62 40 20",
        'P' => "09 00 40 51 54 45 05",
        'Q' => "20 02 07 29 49 67 62 40 20|46 69",
        'R' => "09 00 40 51 54 45 05|35 59",
        'S' => "51 40 10 01 03 14 45 56 58 49 19 08",
        'T' => "00 60|30 39",
        'U' => "00 07 29 49 67 60",
        'V' => "00 39 60",
        'W' => "00 29 42 69 80",
        'X' => "00 59|50 09",
        'Y' => "00 34 60|34 39",
        'Z' => "00 60 09 69",
        '0' => "20 02 07 29 39 57 52 30 20",
        '1' => "02 20 29",
        '2' => "02 10 40 52 54 09 59",
        '3' => "00 50 24 44 56 57 49 19 08",
        '4' => "49 40 06 56",
        '5' => "50 10 04 34 45 57 39 09",
        '6' => "40 20 03 07 19 39 57 55 44 14 05",
        '7' => "00 50 19",
        '8' => "14 03 01 10 40 51 53 44 14 05 08 19 49 58 55 44",
        '9' => "19 39 56 52 40 10 02 04 15 45 54",
        '-' => "05 35",
        '.' => "08 09",
        ':' => "03 04|07 08",
        '\'' => "00 02",
        _ => "",
    }
}

/// How a line of letters is set.
#[derive(Clone, Copy, Debug)]
pub struct Lettering {
    /// Height of the capitals in sheet units.
    pub height: f32,
    /// Space between letters, as a share of the height.
    pub spacing: f32,
    /// How far letters lean: 0 is upright, 0.25 an italic for water.
    pub slant: f32,
    /// Thickness of the stroke, as a share of the height.
    pub weight: f32,
}

impl Lettering {
    fn advance(&self, letter: char) -> f32 {
        let wide = strokes(letter)
            .split([' ', '|'])
            .filter_map(|pair| pair.as_bytes().first())
            .map(|digit| f32::from(digit - b'0'))
            .fold(if letter == ' ' { 3.0 } else { 0.0 }, f32::max);
        wide / 9.0 * self.height + self.spacing * self.height
    }

    /// How long the line will be.
    pub fn width(&self, text: &str) -> f32 {
        text.chars().map(|letter| self.advance(letter)).sum::<f32>() - self.spacing * self.height
    }

    /// Writes a line that begins at `start`, its base line there.
    pub fn write(&self, sheet: &mut Sheet, text: &str, start: Point, ink: impl Into<Ink>) {
        let ink = ink.into();
        let mut pen = start.x;
        for letter in text.chars() {
            for stroke in strokes(letter).split('|').filter(|stroke| !stroke.is_empty()) {
                let points: Vec<Point> = stroke
                    .split(' ')
                    .filter_map(|pair| match pair.as_bytes() {
                        [x, y] => Some((f32::from(x - b'0') / 9.0, f32::from(y - b'0') / 9.0)),
                        _ => None,
                    })
                    .map(|(x, y)| {
                        let up = (1.0 - y) * self.height;
                        at(pen + x * self.height + up * self.slant, start.y - up)
                    })
                    .collect();
                sheet.line(&points, self.weight * self.height, ink);
            }
            pen += self.advance(letter);
        }
    }

    /// Writes a line whose middle is at `middle`.
    pub fn centred(&self, sheet: &mut Sheet, text: &str, middle: Point, ink: impl Into<Ink>) {
        let left = middle.x - self.width(text) * 0.5;
        self.write(sheet, text, at(left, middle.y + self.height * 0.5), ink);
    }
}
