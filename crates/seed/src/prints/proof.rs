//! Proofs: prints drawn to files, to look at them.

use std::fs;

use anyhow::{Context as _, Result, bail};
use tiny_skia::Pixmap;

use super::{PRINTS_PER_SERIES, draw as draw_print, number_of, series::SERIES};
use crate::config::Draw;

const COLUMNS: usize = 5;
const CELL_PX: u32 = 400;

/// Draws what was asked for.
pub fn draw(wanted: &Draw) -> Result<()> {
    let names: Vec<&str> = SERIES.iter().map(|series| series.name).collect();
    if let Some(name) = wanted.series.as_deref().filter(|name| !names.contains(name)) {
        bail!("there is no series {name}; there are {}", names.join(", "));
    }
    let mut pictures = Vec::new();
    for (index, name) in names.iter().enumerate() {
        if wanted.series.as_deref().is_some_and(|series| series != *name) {
            continue;
        }
        for place in 0..PRINTS_PER_SERIES.min(wanted.count as usize) {
            let picture = draw_print(number_of(index, place), wanted.size);
            if let Some(folder) = &wanted.out {
                fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
                let path = folder.join(format!("{name}-{:02}.png", place + 1));
                picture
                    .save_png(&path)
                    .with_context(|| format!("writing {}", path.display()))?;
            }
            pictures.push(if wanted.sheet.is_some() {
                smaller(picture, CELL_PX)
            } else {
                picture
            });
        }
    }
    if let Some(path) = &wanted.sheet {
        let sheet = contact_sheet(&pictures, COLUMNS, CELL_PX).context("the sheet would be too large")?;
        sheet
            .save_png(path)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// Half the size, as often as it takes: one step of a bilinear filter over a far larger picture would flicker.
fn smaller(mut picture: Pixmap, long_side_px: u32) -> Pixmap {
    while picture.width().max(picture.height()) >= long_side_px * 2 {
        let Some(half) = halved(&picture) else { break };
        picture = half;
    }
    picture
}

fn halved(picture: &Pixmap) -> Option<Pixmap> {
    let mut half = Pixmap::new(picture.width() / 2, picture.height() / 2)?;
    half.draw_pixmap(
        0,
        0,
        picture.as_ref(),
        &tiny_skia::PixmapPaint {
            quality: tiny_skia::FilterQuality::Bilinear,
            ..Default::default()
        },
        tiny_skia::Transform::from_scale(0.5, 0.5),
        None,
    );
    Some(half)
}

/// Pictures side by side, `columns` in a row.
fn contact_sheet(pictures: &[Pixmap], columns: usize, cell_px: u32) -> Option<Pixmap> {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns) as u32;
    let gap = cell_px / 16 + 1;
    let step = cell_px + gap;
    let mut sheet = Pixmap::new(columns as u32 * step + gap, rows * step + gap)?;
    sheet.fill(tiny_skia::Color::from_rgba8(214, 212, 207, 255));
    for (index, picture) in pictures.iter().enumerate() {
        let fit = cell_px as f32 / picture.width().max(picture.height()) as f32;
        let (column, row) = ((index % columns) as u32, (index / columns) as u32);
        let spare = |side: u32| (cell_px as f32 - side as f32 * fit) / 2.0;
        let left = (gap + column * step) as f32 + spare(picture.width());
        let top = (gap + row * step) as f32 + spare(picture.height());
        let paint = tiny_skia::PixmapPaint {
            quality: tiny_skia::FilterQuality::Bilinear,
            ..Default::default()
        };
        let placed = tiny_skia::Transform::from_row(fit, 0.0, 0.0, fit, left, top);
        sheet.draw_pixmap(0, 0, picture.as_ref(), &paint, placed, None);
    }
    Some(sheet)
}
